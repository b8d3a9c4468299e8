from libc.stdint cimport uint8_t

from firmware.dsp.address cimport net_address
from firmware.dsp.state cimport EngineState, RtpPort


cdef void secure_want(EngineState* e, RtpPort* r, int suite, const uint8_t* send, const uint8_t* receive) noexcept nogil
cdef void secure_wipe(RtpPort* r) noexcept nogil
cdef void secure_queue(EngineState* e, RtpPort* r, const uint8_t* packet, int n, const net_address* to) noexcept nogil
cdef int secure_waits(EngineState* e) noexcept nogil
cdef int secure_sync(RtpPort* r) noexcept nogil
cdef void secure_flush(EngineState* e) noexcept nogil
cdef void secure_send(RtpPort* r, const uint8_t* packet, int n, const net_address* to) noexcept nogil
cdef int secure_take(RtpPort* r, uint8_t* packet, int n) noexcept nogil
cdef void secure_drop(RtpPort* r) noexcept nogil
