from firmware.dsp.state cimport EngineState, Port


cdef void relay_end(EngineState* e, Port* p) noexcept nogil
cdef void mixer_tick(EngineState* e) noexcept nogil
