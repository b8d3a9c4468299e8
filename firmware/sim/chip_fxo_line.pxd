# The line side of a simulated Si3050 + Si3019: one millisecond of copper.
from firmware.sim.chip_base cimport line_fact
from firmware.sim.chip_fxo cimport fxo_chip

cdef void fxo_step(fxo_chip *c, const line_fact *fact) noexcept nogil
cdef double fxo_volts_needed(const fxo_chip *c, double amps) noexcept nogil
