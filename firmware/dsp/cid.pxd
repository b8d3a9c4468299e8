# All caller-id receivers of one line at C level. No pointers in the struct.
from firmware.dsp.cas cimport CasDet, CasHit
from firmware.dsp.fsk cimport FskRx

cdef enum:
    CID_MESSAGE = 1             # rx.fsk.message, rx.fsk.length; rx.fsk.standard says which standard brought it
    CID_DAMAGED = 2             # a message came with a wrong checksum or was cut short
    CID_ALERT = 4               # an alerting tone ended: rx.alert

cdef struct CidReceivers:
    FskRx fsk
    CasDet cas
    CasHit alert

cdef int cid_rx_init(CidReceivers* rx, int rate) noexcept nogil
cdef int cid_rx_feed(CidReceivers* rx, const short* samples, int n) noexcept nogil      # CID_* bits; at most 80 ms at a time
