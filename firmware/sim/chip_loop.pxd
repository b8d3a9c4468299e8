# Small electrical models of what is plugged in: an exchange line on an FXO jack, a phone on an FXS jack.
from firmware.sim.chip_base cimport line_fact
from firmware.sim.chip_fxo cimport fxo_chip
from firmware.sim.chip_fxs cimport fxs_chip

# In the order of TRUNK_PARAMETERS.
cdef enum:
    TP_FEED_VOLTS, TP_OHMS, TP_RING_VOLTS, TP_RING_HZ, TP_RINGING, TP_RING_ON_MS, TP_RING_OFF_MS, TP_HUM_VOLTS, TP_STRAY_MS
    TP_REVERSED, TP_OPENED, TP_PARALLEL, TP_COUNT

ctypedef struct trunk_loop:
    double p[TP_COUNT]
    double angle, hum_angle
    int ring_ms

# In the order of PHONE_PARAMETERS.
cdef enum:
    PP_LIFTED, PP_PHONE_OHMS, PP_LOOP_OHMS, PP_REN, PP_LEAK_OHMS, PP_SHORTED, PP_EARTHED, PP_CUT, PP_COUNT

ctypedef struct phone_loop:
    double p[PP_COUNT]

cdef void trunk_init(trunk_loop *t) noexcept nogil
cdef void trunk_step(trunk_loop *t, const fxo_chip *c, line_fact *fact) noexcept nogil
cdef void phone_init(phone_loop *t) noexcept nogil
cdef double phone_step(phone_loop *t, const fxs_chip *c, line_fact *fact) noexcept nogil
