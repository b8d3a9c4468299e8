# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Small electrical models of exchange line and phone, for a board of simulated chips without a simulated town.

Theory of operation. A trunk is `feed_volts` behind `ohms`; the closed chip takes about 6 V + 50 ohm (ILIM: at most 60 mA), so a
normal line gives some 40 mA. On hook it shows the feed, or 8 V with a parallel phone lifted. Ringing is a sine in an optional cadence;
hum adds 50 Hz, `stray_ms` a one-sided pulse as a neon lamp gives it.
A phone is its resistance behind the loop's, on a feed of VOC behind 160 ohm up to the constant current. Ringing drives `ren` loads of
7 kohm and 8 uF, and a lifted phone draws the DC by which ring trip knows it. Leak, short and contact with earth are loads.
All numbers are those of a model line, not of a data sheet.
"""

from libc.math cimport M_PI, fabs, sin, sqrt
from libc.string cimport memset

from firmware.sim.chip_fxo_line cimport fxo_volts_needed
from firmware.sim.chip_fxs cimport SP_FEED_OHMS
from firmware.sim.chip_fxs_line cimport fxs_limit_ma, fxs_open_volts, fxs_powered, fxs_ring_hz

TRUNK_PARAMETERS = ("feed_volts", "ohms", "ring_volts", "ring_hz", "ringing", "ring_on_ms", "ring_off_ms", "hum_volts", "stray_ms",
                    "reversed", "opened", "parallel")
PHONE_PARAMETERS = ("lifted", "phone_ohms", "loop_ohms", "ren", "leak_ohms", "shorted", "earthed", "cut")
assert len(TRUNK_PARAMETERS) == TP_COUNT and len(PHONE_PARAMETERS) == PP_COUNT


cdef void trunk_init(trunk_loop *t) noexcept nogil:
    memset(t, 0, sizeof(trunk_loop))
    t.p[TP_FEED_VOLTS] = 48.0
    t.p[TP_OHMS] = 1000.0
    t.p[TP_RING_VOLTS] = 75.0
    t.p[TP_RING_HZ] = 25.0


cdef void trunk_step(trunk_loop *t, const fxo_chip *c, line_fact *fact) noexcept nogil:
    """One millisecond: what the chip on this line sees."""
    cdef double volts = t.p[TP_FEED_VOLTS], amps = 0.0, ac = 0.0
    cdef int period = <int>(t.p[TP_RING_ON_MS] + t.p[TP_RING_OFF_MS])
    cdef bint dead = t.p[TP_OPENED] != 0
    if c.closed and not dead:
        amps = (volts - fxo_volts_needed(c, 0.0)) / (t.p[TP_OHMS] + (fxo_volts_needed(c, 1.0) - fxo_volts_needed(c, 0.0)) + 1e-6)
        if c.opd:
            amps = (volts - 6.0) / (t.p[TP_OHMS] + 800.0)
        if amps < 0.0:
            amps = 0.0
        if c.reg[26] & 2 and amps > 0.060:
            amps = 0.060
        volts = fxo_volts_needed(c, amps)
        if t.p[TP_PARALLEL] != 0:
            amps *= 0.6
    elif t.p[TP_PARALLEL] != 0:
        volts = 8.0
    if dead:
        volts = 0.0
    if t.p[TP_RINGING] != 0:
        if period <= 0 or t.ring_ms % period < t.p[TP_RING_ON_MS]:
            ac = t.p[TP_RING_VOLTS] * sqrt(2.0) * sin(t.angle)
            t.angle += 2.0 * M_PI * t.p[TP_RING_HZ] / 1000.0
        else:
            t.angle = 0.0
        t.ring_ms += 1
    else:
        t.ring_ms = 0
        t.angle = 0.0
    if t.p[TP_HUM_VOLTS] > 0:
        ac += t.p[TP_HUM_VOLTS] * sqrt(2.0) * sin(t.hum_angle)
        t.hum_angle += 2.0 * M_PI * 50.0 / 1000.0
    if t.p[TP_STRAY_MS] > 0:
        ac += 70.0
        t.p[TP_STRAY_MS] -= 1
    if c.closed:
        ac *= 0.1
    if dead:
        ac = 0.0
    fact.dc_dv = <short>(-10.0 * volts if t.p[TP_REVERSED] != 0 else 10.0 * volts)
    fact.current = <short>(10000.0 * amps + 0.5 if amps < 3.0 else 30000)
    fact.ac_dv = <short>(10.0 * ac if fabs(ac) < 3000.0 else 0)
    fact.ring_dc = 0


cdef void phone_init(phone_loop *t) noexcept nogil:
    memset(t, 0, sizeof(phone_loop))
    t.p[PP_PHONE_OHMS] = 300.0
    t.p[PP_LOOP_OHMS] = 200.0
    t.p[PP_REN] = 1.0


cdef double phone_step(phone_loop *t, const fxs_chip *c, line_fact *fact) noexcept nogil:
    """One millisecond: what the chip on this loop sees. Returns the instantaneous ringing current in mA."""
    cdef double ohms = 1e9, volts = fxs_open_volts(c), amps = 0.0, z, hz, ring = 0.0
    cdef bint loaded = t.p[PP_LIFTED] != 0 and t.p[PP_CUT] == 0
    memset(fact, 0, sizeof(line_fact))
    if loaded:
        ohms = t.p[PP_PHONE_OHMS] + t.p[PP_LOOP_OHMS]
    if t.p[PP_LEAK_OHMS] > 0:
        ohms = ohms * t.p[PP_LEAK_OHMS] / (ohms + t.p[PP_LEAK_OHMS])
    if t.p[PP_SHORTED] != 0:
        ohms = 5.0
    if not fxs_powered(c) or c.lfs == 0:
        return 0.0
    if c.lfs == 4:
        hz = fxs_ring_hz(c)
        if t.p[PP_REN] > 0 and t.p[PP_CUT] == 0 and hz > 0:
            z = 1.0 / (2.0 * M_PI * hz * 8e-6 * t.p[PP_REN])
            ring = c.ring_volts / sqrt((7000.0 / t.p[PP_REN]) ** 2 + z * z)
        if ohms < 20000.0:
            ring += c.ring_volts / (ohms + 300.0)
            fact.ring_dc = <short>(10000.0 * 1.5 * (c.reg[72] & 0x3F) / (ohms + 300.0))
        if t.p[PP_EARTHED] != 0:
            fact.ring_dc = 900
        fact.dc_dv = <short>(15 * (c.reg[72] & 0x3F))
        return 1000.0 * ring
    amps = fabs(volts) / (c.p[SP_FEED_OHMS] + ohms)
    if amps > fxs_limit_ma(c) / 1000.0:
        amps = fxs_limit_ma(c) / 1000.0
        volts = amps * ohms if volts > 0 else -amps * ohms
    else:
        volts = volts * ohms / (c.p[SP_FEED_OHMS] + ohms)
    if t.p[PP_EARTHED] != 0:
        amps = 0.200                                    # no longer a current between the wires: the limit does not hold
        volts = 2.0 if volts > 0 else -2.0
    fact.dc_dv = <short>(10.0 * volts)
    fact.current = <short>(10000.0 * amps + 0.5)
    return 0.0
