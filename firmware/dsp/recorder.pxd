from libc.stdint cimport int64_t, uint32_t

from firmware.dsp.state cimport EngineState, Port


cdef int recorder_start(EngineState* e, Port* p, uint32_t file, int64_t token) noexcept nogil
cdef int recorder_mask(EngineState* e, Port* p, int on) noexcept nogil
cdef void recorder_stop(EngineState* e, Port* p) noexcept nogil
cdef void recorder_push(EngineState* e, Port* p) noexcept nogil
cdef int recorder_work(EngineState* e) noexcept nogil
