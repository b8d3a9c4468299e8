from firmware.dsp.state cimport EngineState, Port


cdef void player_end(EngineState* e, Port* p, int finished, char digit) noexcept nogil
cdef int player_fill(EngineState* e, Port* p, short* out) noexcept nogil
cdef int player_keys(EngineState* e, Port* p) noexcept nogil
cdef void player_digit(EngineState* e, Port* p, char digit) noexcept nogil
