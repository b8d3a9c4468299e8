# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a simulated Si3019 does with the copper in one millisecond: link, hook, meters, ring detector, interrupts.

Theory of operation. `fxo_step` takes what is on the wire (volts, current, instantaneous ringing voltage) and moves the chip:
* Link: needs clocks, PDL = 0 and `link_ms`; register 11's upper half and FDT follow it. Off hook the loop feeds the line side, so
  without current DOD rises at once and the link falls after `dropout_link_ms`; two milliseconds of current bring it back.
* Hook: closes with OH at once, opens within 1, 3 (OHS2) or 26 ms (OHS with spark quench). Audio is muted until the off-hook counter (FOH)
  and the calibrations that are not switched off (CALD, RCALD) are over.
* Meters: LCS 3.3 mA, LCS2 1.1 mA, LVS 1 V a bit behind a low-pass, so ringing shakes LVS; below the least current LCS is dice.
* Ring detector: ringing plus steps of the DC voltage through a high-pass, against the middle of RT/RT2's range times sqrt 2. So a
  reversal sets one bit for some 15 ms. With RNGV the gaps between half waves must lie within (RAS - RMX) * 2 .. RAS * 2 ms for RCC, then
  RDLY passes, then RDT; it ends RTO after the last valid half wave. Without RNGV RDT is a one-shot of 5 s.
Invariant: history notes follow the wire (`fact` and `closed`), never a register.
"""

from libc.math cimport exp, fabs
from libc.stdint cimport uint8_t

from firmware.sim.chip_base cimport (
    HIS_CURRENT,
    HIS_LINK,
    HIS_LOOP,
    HIS_POLARITY,
    HIS_RING,
    chip_chance,
    chip_history,
)
from firmware.sim.chip_fxo cimport (
    XP_ADC_CAL_MS,
    XP_BILLING_DV,
    XP_DROPOUT_LINK_MS,
    XP_DROPOUT_MA,
    XP_FAULT_CHATTER,
    XP_FAULT_HOOK,
    XP_FAULT_HOOK_CLOSED,
    XP_FAULT_LINK,
    XP_LCS_NOISE,
    XP_LINK_MS,
    XP_LVS_GAIN,
    XP_LVS_TAU_MS,
    XP_OVERLOAD_MA,
    XP_RCALD_BIT,
    XP_RDT_MS,
    XP_RELOCK_ALONE,
    XP_RES_CAL_MS,
    XP_STEP_TAU_MS,
    XP_THRESHOLD,
    XP_TIP_GROUND,
)

cdef double THRESHOLD_LOW[4]
cdef double THRESHOLD_HIGH[4]
cdef int CONFIRM_MS[8]
cdef int FOH_MS[4]
# RT2, RT: 00, 01, 10 (not listed: taken as 11), 11; Vrms
THRESHOLD_LOW[:] = [13.5, 19.35, 40.5, 40.5]
THRESHOLD_HIGH[:] = [16.5, 23.65, 49.5, 49.5]
CONFIRM_MS[:] = [100, 150, 200, 256, 384, 512, 640, 1024]
FOH_MS[:] = [512, 128, 64, 8]
cdef double SQRT2 = 1.4142135623730951


cdef double fxo_volts_needed(const fxo_chip *c, double amps) noexcept nogil:
    """DC characteristic of the closed chip: about 6 V + 50 ohm (DCR: 800 ohm), shifted by DCV."""
    cdef double base = 6.0
    cdef int dcv = c.reg[26] >> 6
    if dcv == 0:
        base = 5.6
    elif dcv == 1:
        base = 5.7
    return base + amps * (800.0 if c.reg[26] & 1 else 50.0)


cdef inline void link_down(fxo_chip *c) noexcept nogil:
    c.link_ms = 0
    if c.link:
        c.link = False
        c.reg[4] |= 0x20
        chip_history(c.room, c.index, HIS_LINK, 0, 0)


cdef void step_link(fxo_chip *c) noexcept nogil:
    cdef bint may = c.room.clocks and not c.dead and c.soft_left == 0 and not c.reg[6] & 0x10
    if not c.room.clocks and (c.link or c.link_ms > 0) and c.p[XP_RELOCK_ALONE] == 0:
        c.latched = 1 if c.latched == 0 else c.latched
    if not may or c.latched or c.p[XP_FAULT_LINK] != 0:
        link_down(c)
        return
    if c.link or c.dropped_ms >= c.p[XP_DROPOUT_LINK_MS] > 0:
        return
    c.link_ms += 1
    if c.link_ms >= c.p[XP_LINK_MS]:
        c.link = True
        chip_history(c.room, c.index, HIS_LINK, 1, 0)


cdef void step_hook(fxo_chip *c, double milliamps) noexcept nogil:
    cdef bint want = c.reg[5] & 1 and (c.link or (c.closed and c.dropped)) and c.p[XP_FAULT_HOOK] == 0
    if c.p[XP_FAULT_HOOK_CLOSED] != 0:
        want = True
    if want:
        c.fall_left = -1
        if not c.closed:
            c.closed = True
            c.hook_ms = 0
            c.dropped_ms = 0
            c.back_left = 0
            c.settle_left = FOH_MS[(c.reg[31] >> 5) & 3]
            if not c.reg[17] & 0x20:
                c.settle_left += <int>c.p[XP_ADC_CAL_MS]
            if not c.reg[25] >> <int>c.p[XP_RCALD_BIT] & 1:
                c.settle_left += <int>c.p[XP_RES_CAL_MS]
    elif c.closed:
        if c.fall_left < 0:
            if c.reg[16] & 0x40 and c.reg[59] & 0x50 == 0x50:
                c.fall_left = 26
            elif c.reg[31] & 0x08:
                c.fall_left = 3
            else:
                c.fall_left = 1
        c.fall_left -= 1
        if c.fall_left <= 0:
            c.closed = False
            c.fall_left = -1
    if c.closed:
        c.hook_ms += 1
        if c.settle_left > 0:
            c.settle_left -= 1
    else:
        c.settle_left = 0


cdef void step_current(fxo_chip *c, double milliamps) noexcept nogil:
    cdef int code
    cdef bint dropped
    c.milliamps = milliamps if c.closed else 0.0
    dropped = c.closed and c.hook_ms > 1 and milliamps < c.p[XP_DROPOUT_MA]
    if dropped:
        if not c.dropped:
            c.reg[4] |= 0x08
        c.dropped_ms += 1
        c.back_left = 2                                 # 16 samples
        if c.p[XP_DROPOUT_LINK_MS] > 0 and c.dropped_ms >= c.p[XP_DROPOUT_LINK_MS] and c.link:
            link_down(c)
        c.dropped = True
    else:
        if c.dropped_ms > 0 and c.back_left > 0:
            c.back_left -= 1
        elif c.dropped_ms > 0:
            c.dropped_ms = 0
            if not c.link and c.room.clocks and c.p[XP_FAULT_LINK] == 0 and not c.latched:
                c.link_ms = <int>c.p[XP_LINK_MS]        # the line side lives again
        c.dropped = c.closed and c.dropped_ms > 0
    c.overload = c.closed and milliamps >= c.p[XP_OVERLOAD_MA]
    if c.overload:
        c.reg[4] |= 0x04
        if c.reg[17] & 0x08:
            c.opd = True
    code = <int>(c.milliamps / 3.3)
    if c.p[XP_LCS_NOISE] != 0 and 0.0 < c.milliamps < 10.0 + 2.0 * ((c.reg[26] >> 4) & 3) - 1.0:
        code = <int>(chip_chance(c.room) * (code + 2))
    if code > 31 or c.overload:
        code = 31
    if not c.link or c.dropped:
        code = 0
    c.reg[12] = <uint8_t>code
    code = <int>(c.milliamps / 1.1 + 0.5)
    c.reg[28] = <uint8_t>(0 if not c.link or c.dropped else 255 if code > 255 else code)
    c.audio = c.closed and c.link and c.settle_left == 0 and not c.dropped and c.back_left == 0


cdef void step_volts(fxo_chip *c, double volts, double ac) noexcept nogil:
    cdef double tau = c.p[XP_LVS_TAU_MS], shown
    cdef int code, sign
    c.volts = volts
    c.lvs_state += (volts + ac - c.lvs_state) * (1.0 - exp(-1.0 / tau) if tau > 0 else 1.0)
    shown = c.lvs_state * c.p[XP_LVS_GAIN]
    code = <int>(shown + 0.5) if shown >= 0 else <int>(shown - 0.5)
    if not c.reg[31] & 1 and -3 <= code <= 3:
        code = 0
    if not c.link:
        code = 0
    code = 127 if code > 127 else -128 if code < -128 else code
    c.reg[29] = <uint8_t>(code & 0xFF)
    sign = 1 if code > 3 else -1 if code < -3 else 0
    if sign != 0:
        if c.polarity != 0 and sign != c.polarity:
            c.reg[4] |= 0x01
        c.polarity = sign
    shown = fabs(code) if c.reg[44] & 0x04 == 0 else <double>c.reg[28]
    if c.link and ((shown > c.reg[43]) if c.reg[44] & 0x01 else (shown < c.reg[43])):
        if c.reg[43]:
            c.reg[44] |= 0x08


cdef inline void ring_began(fxo_chip *c) noexcept nogil:
    if c.rdt_left <= 0:
        c.reg[4] |= 0x80


cdef void step_ring(fxo_chip *c, double volts, double ac) noexcept nogil:
    cdef int which = (c.reg[17] >> 3 & 2) | (c.reg[16] & 1), shortest, longest, event
    cdef double limit = THRESHOLD_LOW[which] + (THRESHOLD_HIGH[which] - THRESHOLD_LOW[which]) * c.p[XP_THRESHOLD], seen
    limit *= SQRT2
    if not c.had_fact:
        c.last_dc = volts
        c.had_fact = True
    c.step_state = c.step_state * exp(-1.0 / c.p[XP_STEP_TAU_MS]) + (volts - c.last_dc)
    c.last_dc = volts
    seen = ac + c.step_state
    if c.p[XP_FAULT_CHATTER] != 0 and chip_chance(c.room) < c.p[XP_FAULT_CHATTER]:
        seen = 1000.0 if c.p[XP_FAULT_CHATTER] < 1 or c.room.ms & 16 else seen
    if not c.link or c.closed:
        seen = 0.0
    c.was_p = c.ringing_p
    c.was_n = c.ringing_n
    c.ringing_p = seen > limit
    c.ringing_n = seen < -limit
    event = (c.ringing_p and not c.was_p) or (c.ringing_n and not c.was_n)
    if c.closed:
        c.rdt_left = 0
        c.valid = c.validated = False
        c.confirm = 0
        return
    if not c.reg[24] & 0x80:
        if c.rdt_left > 0:
            c.rdt_left -= 1
            if c.rdt_left == 0 and c.reg[2] & 0x04:
                c.reg[4] |= 0x80
        if event and (c.reg[18] & 2 or c.ringing_p):
            ring_began(c)
            c.rdt_left = <int>c.p[XP_RDT_MS]
        c.valid = c.validated = False
        c.gap = c.confirm = 0
        return
    longest = (c.reg[24] & 0x3F) * 2
    shortest = longest - (c.reg[22] & 0x3F) * 2
    if shortest < 1:
        shortest = 1
    c.gap += 1
    c.since_valid += 1
    if event:
        if shortest <= c.gap <= longest:
            c.confirm += c.gap
            c.since_valid = 0
        else:
            c.confirm = 0
        c.gap = 0
    elif c.gap > longest:
        c.confirm = 0
    if not c.validated:
        if c.confirm >= CONFIRM_MS[c.reg[23] & 7]:
            c.validated = True
            c.delay_left = 256 * ((c.reg[22] >> 6) | (c.reg[23] >> 5 & 4))
    elif c.since_valid > 128 * (c.reg[23] >> 3 & 15) or (c.since_valid > 128 and not c.reg[23] >> 3 & 15):
        c.validated = False
        c.confirm = 0
        if c.valid:
            c.valid = False
            c.rdt_left = 0
            if c.reg[2] & 0x04:
                c.reg[4] |= 0x80
    elif not c.valid:
        if c.delay_left > 0:
            c.delay_left -= 1
        if c.delay_left == 0:
            ring_began(c)
            c.valid = True
    if c.valid:
        c.rdt_left = 1


cdef void step_oracle(fxo_chip *c, const line_fact *fact) noexcept nogil:
    cdef bint flowing = c.closed and fact.current > 10
    cdef int sign = 1 if fact.dc_dv > 30 else -1 if fact.dc_dv < -30 else 0
    if c.closed != c.told_loop:
        c.told_loop = c.closed
        chip_history(c.room, c.index, HIS_LOOP, c.closed, fact.current)
    if flowing != c.told_current:
        c.told_current = flowing
        chip_history(c.room, c.index, HIS_CURRENT, flowing, fact.current)
    if sign != c.told_polarity:
        c.told_polarity = sign
        chip_history(c.room, c.index, HIS_POLARITY, sign, fact.dc_dv)
    c.quiet_ms = 0 if fact.ac_dv > 100 or fact.ac_dv < -100 else c.quiet_ms + 1
    if c.quiet_ms == 0 and not c.told_ring:
        c.told_ring = True
        chip_history(c.room, c.index, HIS_RING, 1, fact.ac_dv)
    elif c.told_ring and c.quiet_ms > 60:
        c.told_ring = False
        chip_history(c.room, c.index, HIS_RING, 0, 0)


cdef void fxo_step(fxo_chip *c, const line_fact *fact) noexcept nogil:
    """One millisecond with `fact` on the wire."""
    cdef double milliamps = fact.current / 10.0, volts = fact.dc_dv / 10.0, ac = fact.ac_dv / 10.0
    if c.reset:
        c.link = c.audio = c.ringing_p = c.ringing_n = False
    else:
        if c.soft_left > 0:
            c.soft_left -= 1
        step_link(c)
    step_hook(c, milliamps)
    if not c.reset:
        step_current(c, milliamps)
        step_volts(c, volts, ac)
        step_ring(c, volts, ac)
        if c.audio and c.p[XP_BILLING_DV] > 0:          # a billing tone saturates the receiver
            c.reg[4] |= 0x50
            c.reg[17] |= 0x02 | (1 if c.reg[17] & 0x04 else 0)
            if c.reg[17] & 0x04:
                c.audio = False
        elif c.reg[17] & 0x01:
            c.reg[17] &= 0xFE
        if c.p[XP_TIP_GROUND] != 0 and c.link:
            c.reg[4] |= 0x02
    step_oracle(c, fact)
