from firmware.dsp.state cimport EngineState


cdef int scan_blocks(EngineState* e) noexcept nogil
