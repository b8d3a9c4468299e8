from firmware.dsp.state cimport EngineState, Port


cdef void detect_reset(Port* p) noexcept nogil
cdef void detect_block(EngineState* e, Port* p) noexcept nogil
cdef void learn_work(EngineState* e) noexcept nogil          # file thread
