from firmware.dsp.state cimport EngineState, Port


cdef void port_close(EngineState* e, Port* p) noexcept nogil
cdef int run_commands(EngineState* e) noexcept nogil
cdef void refuse_commands(EngineState* e) noexcept nogil
cdef void shut_all(EngineState* e) noexcept nogil
