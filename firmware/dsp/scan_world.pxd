from firmware.dsp.state cimport EngineState


cdef void world_post(EngineState* e) noexcept nogil
cdef int scan_blocks(EngineState* e) noexcept nogil
