from libc.stdint cimport int64_t

from firmware.dsp.scan_state cimport ScanFault
from firmware.dsp.state cimport EngineState


cdef void hardware_flag(EngineState* e, int slot, int fault, int reg, int value) noexcept nogil
cdef int hardware_await(EngineState* e, int64_t until, ScanFault* out, int most) noexcept nogil
cdef void hardware_ring(EngineState* e) noexcept nogil
cdef void hardware_tick(EngineState* e, int lockstep) noexcept nogil
cdef int hardware_hold(EngineState* e, int slot, int on, int64_t wait_ns) noexcept nogil
