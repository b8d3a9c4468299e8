from libc.stdint cimport uint8_t, uint32_t, uint64_t

from firmware.dsp.address cimport net_address
from firmware.dsp.state cimport EngineState, Port, RtpCounts, RtpPort


cdef int rtp_alike(RtpPort* a, RtpPort* b) noexcept nogil
cdef RtpCounts rtp_counts(RtpPort* r) noexcept nogil
cdef void rtp_reset_sender(EngineState* e, RtpPort* r) noexcept nogil
cdef void rtp_receive(EngineState* e, Port* p, uint8_t* data, int n, const net_address* source) noexcept nogil
cdef void rtp_keys_expire(EngineState* e, Port* p) noexcept nogil
cdef void rtp_send_block(EngineState* e, Port* p, const short* samples) noexcept nogil
cdef int rtp_send_key(EngineState* e, Port* p, char digit, uint32_t ts, int duration, int marker, int end) noexcept nogil
cdef void rtp_take_packets(EngineState* e, Port* p) noexcept nogil
