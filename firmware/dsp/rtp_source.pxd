from libc.stdint cimport uint16_t, uint32_t

from firmware.dsp.address cimport net_address
from firmware.dsp.state cimport EngineState, RtpPort


cdef int source_foreign(EngineState* e, RtpPort* r, const net_address* at) noexcept nogil
cdef int source_judge(EngineState* e, RtpPort* r, const net_address* at, uint32_t ssrc, uint16_t seq, int genuine) noexcept nogil
cdef void source_answer(RtpPort* r, net_address* to) noexcept nogil
cdef void source_follow(RtpPort* r, net_address* to) noexcept nogil
