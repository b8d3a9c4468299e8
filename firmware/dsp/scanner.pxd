from libc.stdint cimport int64_t

from firmware.dsp.state cimport EngineState, Line


cdef void line_fxo(EngineState* e, int slot, Line* n, int sign, int dv, int has_dv, int dma, int off_hook, int dialling, int64_t now) noexcept nogil
cdef int line_fxs(EngineState* e, int slot, Line* n, int closed, int trip, int dv, int has_dv, int dma, int64_t read_at, int64_t proven_at, int lag, int64_t now) noexcept nogil
