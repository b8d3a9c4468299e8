from firmware.dsp.abi cimport event_lane
from firmware.dsp.state cimport EngineState

cdef enum:
    THREADS = 4

ctypedef void* (*thread_entry)(void*) noexcept nogil

cdef void engine_gather(EngineState* e, event_lane* lane) noexcept nogil
cdef void engine_reset_echo(EngineState* e) noexcept nogil
cdef void engine_align(EngineState* e) noexcept nogil
cdef void engine_wall(EngineState* e) noexcept nogil
cdef void engine_warm(EngineState* e) noexcept nogil
cdef void engine_threads(thread_entry* entry) noexcept nogil
