from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.address cimport net_address
from firmware.dsp.state cimport EngineState, Port


cdef uint64_t rtcp_clock(EngineState* e) noexcept nogil
cdef void rtcp_count(EngineState* e, Port* p, uint32_t ssrc, uint16_t seq, uint32_t ts, int payload, int timed) noexcept nogil
cdef void rtcp_leave(EngineState* e, Port* p) noexcept nogil
cdef void rtcp_leave_all(EngineState* e) noexcept nogil
cdef void rtcp_run(EngineState* e, Port* p) noexcept nogil
cdef void rtcp_receive(EngineState* e, Port* p, uint8_t* data, int n, const net_address* source, int own_socket) noexcept nogil
