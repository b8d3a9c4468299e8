# The linefeed of a simulated Si3210 / Si3215: one millisecond of copper.
from firmware.sim.chip_base cimport line_fact
from firmware.sim.chip_fxs cimport fxs_chip

cdef void fxs_step(fxs_chip *c, const line_fact *fact, double ring_ma) noexcept nogil
cdef double fxs_ring_hz(const fxs_chip *c) noexcept nogil
cdef double fxs_ring_peak(const fxs_chip *c) noexcept nogil
cdef double fxs_open_volts(const fxs_chip *c) noexcept nogil
cdef double fxs_limit_ma(const fxs_chip *c) noexcept nogil
cdef bint fxs_powered(const fxs_chip *c) noexcept nogil
