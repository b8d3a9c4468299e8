from libc.stdint cimport uint8_t

from firmware.dsp.address cimport net_address
from firmware.dsp.state cimport EngineState, Port, RtpPort, SideAsk


cdef int side_kind(const uint8_t* data, int n) noexcept nogil
cdef void side_put(EngineState* e, Port* p, const uint8_t* data, int n, const net_address* source) noexcept nogil
cdef int side_ask(EngineState* e, const SideAsk* ask) noexcept nogil
cdef void side_run(EngineState* e) noexcept nogil
cdef void rtp_generation(RtpPort* r) noexcept nogil
