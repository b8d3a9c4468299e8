# What is measured of a port in the tick, and what its canceller learned.
from libc.stdint cimport uint64_t

from firmware.dsp.state cimport EngineState, Port

cdef void gauge_start(EngineState* e, Port* p, int levels, int activity) noexcept nogil     # both 0: stop
cdef void gauge_block(EngineState* e, Port* p) noexcept nogil               # once per tick, after the port has spoken
cdef void learned_use(EngineState* e, Port* p) noexcept nogil               # give the canceller what is known of its line
cdef void learned_keep(EngineState* e, Port* p) noexcept nogil              # remember what it has learned
cdef float own_power(EngineState* e, Port* p) noexcept nogil                # loudest late block that the line played: mean square
cdef float echo_power(EngineState* e, Port* p) noexcept nogil               # what of it may be left in `heard`
