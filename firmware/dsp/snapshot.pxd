from firmware.dsp.state cimport EngineState


cdef void snapshot(EngineState* e) noexcept nogil
