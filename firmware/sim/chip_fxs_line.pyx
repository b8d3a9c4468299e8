# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a simulated Si3210 or Si3215 does with the copper in one millisecond: supply, linefeed, detectors, ringing, alarms, calibration.

Theory of operation. `fxs_step` takes what is on the loop (volts, current, DC of the loop while ringing, and the instantaneous ringing
current where the caller knows it) and moves the chip:
* DC-DC: needs clocks and DCOF = 0; VBAT rises by `rise_volts_per_ms` to VBATH, tracks an off-hook loop down (66 b0), and decays with
  `decay_ms` when off, with `leak_decay_ms` where there is a leak.
* Linefeed: LFS follows LF; AORD makes an active line of a ringing one that tripped, AOLD one of on-hook transmission that was lifted,
  AOPN opens after a power alarm until LF is written again. With both cadence timers LFS alternates between ringing and on-hook feed.
* Loop closure: current through filter 35 against LCRT (43 below, when HYSTEN), held for register 69. Ring trip: DC plus rectified AC
  through filter 36 against RPTP, held for register 70. A filter word of 0x8000 passes everything at once.
* Power: what the fed transistors turn into heat against 32..34 behind filters 37..39 raises the alarms of register 19; without AOPN,
  more than 4 W for `overheat_ms` is noted by the oracle as destruction.
Invariant: history notes follow volts and currents, never a register.
"""

from libc.math cimport M_PI, acos, exp, fabs, pow, sin, sqrt
from libc.stdint cimport uint8_t

from firmware.sim.chip_base cimport (
    HIS_ALARM,
    HIS_BATTERY,
    HIS_FEED,
    HIS_LOOP,
    HIS_POLARITY,
    HIS_RING,
    ILL_OVERHEATED,
    ILL_RING_INTO_LIFTED,
    chip_dice,
    chip_history,
    chip_illegal,
)
from firmware.sim.chip_fxs cimport (
    SP_DECAY_MS,
    SP_FAULT_ALARM,
    SP_FAULT_HOOK,
    SP_FAULT_LEAK,
    SP_FAULT_NO_FALL,
    SP_FAULT_NO_RISE,
    SP_FEED_OHMS,
    SP_LEAK_MS,
    SP_MANUAL_98,
    SP_MANUAL_99,
    SP_OVERHEAD_V,
    SP_OVERHEAT_MS,
    SP_RECTIFY,
    SP_RISE_V_PER_MS,
    fxs_settle,
)


cdef bint fxs_powered(const fxs_chip *c) noexcept nogil:
    """True while the linefeed can feed anything."""
    return not c.reset and not c.reg[14] & 0x03 and c.vbat > 10.0 and c.room.clocks


cdef double fxs_ring_hz(const fxs_chip *c) noexcept nogil:
    """Frequency of the ringing generator, from RCO, or from RNGY for a trapezoid."""
    cdef double cosine = c.ind[20] / 32768.0
    if c.reg[34] & 1:
        return 4000.0 / c.ind[22] if c.ind[22] else 0.0
    if c.ind[20] >= 32768:
        cosine -= 2.0
    return acos(cosine) * 1000.0 / (2.0 * M_PI)


cdef double fxs_ring_peak(const fxs_chip *c) noexcept nogil:
    """Peak volts of the ringing generator, as far as VBATH carries them."""
    cdef double cosine = c.ind[20] / 32768.0, peak, most = c.vbat - c.p[SP_OVERHEAD_V]
    if c.reg[34] & 1:
        peak = c.ind[21] * 96.0 / 32768.0
    elif cosine >= 1.0 or cosine < 0.0:
        return 0.0
    else:
        peak = 4.0 * c.ind[21] / 32768.0 * 96.0 * sqrt((1.0 + cosine) / (1.0 - cosine))
    if most < 0.0:
        most = 0.0
    return most if peak > most else peak


cdef double fxs_open_volts(const fxs_chip *c) noexcept nogil:
    """Volts the chip feeds an open loop with; the sign is the polarity."""
    cdef double volts = 1.5 * (c.reg[72] & 0x3F), most = c.vbat - 1.5 * (c.reg[73] & 0x3F) - 4.0
    if not fxs_powered(c) or c.lfs & 3 == 0 or c.lfs & 3 == 3:
        return 0.0
    if most < 0.0:
        most = 0.0
    if volts > most:
        volts = most
    return -volts if (c.lfs >= 4) != ((c.reg[72] & 0x40) != 0) else volts


cdef double fxs_limit_ma(const fxs_chip *c) noexcept nogil:
    """The constant current of register 71."""
    return 20.0 + 3.0 * (c.reg[71] & 7)


cdef double _share[0x8001]


cdef void _fill():
    cdef int word
    for word in range(0x8001):
        _share[word] = 1.0 - pow(1.0 - word / 32768.0, 1.0 / 1.25)


_fill()


cdef inline double share(int word) noexcept nogil:
    """How far a filter word, which is meant for steps of 1.25 ms, moves in one ms."""
    return _share[word] if word < 0x8000 else 1.0


cdef void step_supply(fxs_chip *c) noexcept nogil:
    cdef bint on = not c.reset and not c.reg[14] & 0x10 and c.room.clocks and c.reg[92] != 0
    cdef double target = 1.5 * (c.reg[74] & 0x3F), low
    cdef bint good
    if on and c.p[SP_FAULT_NO_RISE] == 0:
        if c.reg[66] & 1 and not c.reg[66] & 8 and c.lcr and (c.lfs & 3 == 1 or c.lfs & 3 == 2):
            low = 1.5 * (c.reg[75] & 0x3F)
            # enough for the loop and the feed resistance, so that the constant current of register 71 is reached on a short loop
            target = fabs(c.volts) + c.milliamps * c.p[SP_FEED_OHMS] / 1000.0 + 1.5 * (c.reg[73] & 0x3F) + c.p[SP_OVERHEAD_V]
            if target > 1.5 * (c.reg[74] & 0x3F):
                target = 1.5 * (c.reg[74] & 0x3F)
            if target < low:
                target = low
        if c.vbat < target:
            c.vbat += c.p[SP_RISE_V_PER_MS]
            if c.vbat > target:
                c.vbat = target
        else:
            c.vbat -= 1.0 if c.vbat - target > 1.0 else c.vbat - target
    elif c.p[SP_FAULT_NO_FALL] == 0:
        c.vbat *= exp(-1.0 / (c.p[SP_LEAK_MS] if c.p[SP_FAULT_LEAK] != 0 else c.p[SP_DECAY_MS]))
    c.reg[82] = c.reg[83] = <uint8_t>(c.vbat / 0.376 if c.vbat < 95.0 else 255)
    c.reg[94] = 0x10 if on else 0
    good = c.vbat >= 40.0 if not c.told_battery else c.vbat >= 15.0
    if good != c.told_battery:
        c.told_battery = good
        chip_history(c.room, c.index, HIS_BATTERY, good, <int>(c.vbat * 10.0))


cdef void step_calibration(fxs_chip *c) noexcept nogil:
    cdef int k
    if c.dccal_left > 0:
        c.dccal_left -= 1
        if c.dccal_left == 0:
            c.reg[107] = <uint8_t>(0 if c.vbat < 20.0 else 5 + chip_dice(c.room) % 6)
    if c.calibrating and c.cal_left > 0 and c.room.clocks:
        c.cal_left -= 1
        if c.cal_left == 0:
            c.calibrating = False
            c.calibrated = True
            c.reg[96] = 0
            if c.lcr or c.vbat < 20.0:                  # what is calibrated on a line in use is not
                for k in range(98, 108):
                    c.reg[k] = 0xFF
            elif c.reg[97] & 0x07:
                c.reg[98] = <uint8_t>c.p[SP_MANUAL_98]
                c.reg[99] = <uint8_t>c.p[SP_MANUAL_99]
                for k in range(100, 107):
                    c.reg[k] = <uint8_t>(8 + chip_dice(c.room) % 16)
                c.reg[107] = <uint8_t>(4 + chip_dice(c.room) % 8)


cdef void step_ringing(fxs_chip *c) noexcept nogil:
    cdef bint timed = c.reg[34] & 0x18 == 0x18
    if c.lfs == 4 or c.ring_pause:
        if timed:
            c.ring_left -= 1
            if c.ring_left <= 0:
                if c.ring_left < 0 and not c.ring_pause and c.ring_phase == 0.0:
                    c.ring_left = (c.reg[48] | c.reg[49] << 8) // 8
                else:
                    c.ring_pause = not c.ring_pause
                    c.lfs = 2 if c.ring_pause else 4
                    c.reg[18] |= 0x20 if c.ring_pause else 0x10
                    c.ring_left = (c.reg[50] | c.reg[51] << 8) // 8 if c.ring_pause else (c.reg[48] | c.reg[49] << 8) // 8
    else:
        c.ring_pause = False
    if c.lfs == 4 and fxs_powered(c):
        c.ring_phase += 2.0 * M_PI * fxs_ring_hz(c) / 1000.0
        if c.ring_phase > 2.0 * M_PI:
            c.ring_phase -= 2.0 * M_PI
        c.ring_volts = fxs_ring_peak(c) * sin(c.ring_phase)
        c.reg[34] |= 0x80
    else:
        c.ring_volts = 0.0
        if c.lfs != 4 and not c.ring_pause:
            c.ring_phase = 0.0
        c.reg[34] &= 0x7F


cdef void step_detectors(fxs_chip *c, const line_fact *fact, double ring_ma) noexcept nogil:
    cdef double threshold, seen
    cdef bint over
    # loop closure, in the four fed states and the two of ground start
    seen = fabs(fact.current / 10.0)
    if c.lfs == 0 or c.lfs == 4 or not fxs_powered(c):
        seen = 0.0
    c.loop_filter += (seen - c.loop_filter) * share(c.ind[35])
    threshold = 1.27 * (c.ind[28] >> 9 & 63)
    if c.lcr and c.reg[108] & 1:
        threshold = 1.27 * (c.ind[43] >> 9 & 63)
    over = c.loop_filter > threshold
    if c.lfs == 4:
        over = False
    c.debounce = c.debounce + 1.0 if over != c.lcr else 0.0
    if over != c.lcr and c.debounce >= 1.25 * (c.reg[69] & 0x7F):
        c.lcr = over
        c.debounce = 0.0
        c.reg[19] |= 0x02
        if over and c.reg[67] & 0x02 and (c.lfs == 2 or c.lfs == 6) and not c.ring_pause:
            c.lfs -= 1
    if c.p[SP_FAULT_HOOK] != 0:
        c.lcr = True
    # ring trip
    seen = 0.0
    if c.lfs == 4 and fxs_powered(c):
        seen = fact.ring_dc / 10.0 + ring_ma
        if c.p[SP_RECTIFY] != 0:
            seen = fabs(seen)
    c.trip_filter += (seen - c.trip_filter) * share(c.ind[36])
    if c.lfs != 4:
        c.trip_filter = 0.0
        c.trip_debounce = 0.0
        c.rtp = c.tripped and c.lfs != 0
        if c.lfs == c.reg[64]:
            c.rtp = False
    else:
        c.raw = not c.trip_filter > 1.27 * (c.ind[29] >> 9 & 63)
        c.trip_debounce = 0.0 if c.raw else c.trip_debounce + 1.0
        if not c.raw and c.trip_debounce >= 1.25 * (c.reg[70] & 0x7F) and not c.rtp:
            c.rtp = True
            c.reg[19] |= 0x01
            if c.reg[67] & 0x04:
                c.tripped = True
                c.lfs = 1
        elif c.raw:
            c.rtp = False
    if c.lfs != 4:
        c.raw = not over


cdef void step_power(fxs_chip *c, const line_fact *fact) noexcept nogil:
    cdef double limit, amps = fact.current / 10000.0, lost = c.vbat - fabs(fact.dc_dv / 10.0)
    cdef int pair, alarms = 0
    cdef bint hot = False
    if not fxs_powered(c) or c.lfs == 0:
        lost = amps = 0.0
    if lost < 0.0:
        lost = 0.0
    c.power_q[0] = c.power_q[1] = amps * 3.0            # the switched side drops about 3 V
    c.power_q[2] = c.power_q[3] = amps * 0.7
    c.power_q[4] = c.power_q[5] = amps * lost
    for pair in range(3):
        c.power_f[pair] += (c.power_q[2 * pair] - c.power_f[pair]) * share(c.ind[37 + pair])
        limit = (c.ind[32 + pair] >> 7) * (0.00362 if pair == 1 else 0.0304)
        if c.power_f[pair] > limit:
            alarms |= 0x0C << 2 * pair
        hot = hot or c.power_q[2 * pair] > 4.0
    if c.p[SP_FAULT_ALARM] != 0 and c.lfs != 0:
        alarms |= 0x80
    c.reg[77] = <uint8_t>(c.power_q[c.reg[76] % 6] / 0.0304 if c.power_q[c.reg[76] % 6] < 7.7 else 255)
    if alarms:
        c.reg[19] |= <uint8_t>alarms
        if c.reg[67] & 1 and c.lfs != 0:
            c.alarm_open = True
            c.lfs = 0
    c.hot_ms = c.hot_ms + 1 if hot else 0
    if c.hot_ms == <int>c.p[SP_OVERHEAT_MS]:
        chip_illegal(c.room, c.index, ILL_OVERHEATED, -1, <int>(c.power_q[4] * 1000.0))
    if (alarms != 0) != c.told_alarm:
        c.told_alarm = alarms != 0
        if alarms:
            chip_history(c.room, c.index, HIS_ALARM, alarms, fact.current)


cdef inline uint8_t bias_current(const fxs_chip *c, int setting, int balance) noexcept nogil:
    return <uint8_t>(4 * (setting - balance)) if balance < setting < 64 and c.lfs == 0 else 0


cdef void step_meters(fxs_chip *c, const line_fact *fact) noexcept nogil:
    cdef double volts = fact.dc_dv / 10.0, common = 1.5 * (c.reg[73] & 0x3F), current = fact.current / 10.0
    cdef int code
    if c.lfs == 0 or c.lfs == 4 or not fxs_powered(c):
        volts = current = 0.0
    c.volts = volts
    c.milliamps = current
    code = <int>(fabs(volts) / 1.5 + 0.5)
    c.reg[78] = <uint8_t>((63 if code > 63 else code) | (0x40 if volts < 0 else 0))
    code = <int>(current / 1.25 + 0.5)
    c.reg[79] = <uint8_t>((63 if code > 63 else code) | (0x40 if volts < 0 else 0))
    if volts == 0.0:
        common = 0.0
    c.reg[80] = <uint8_t>((common + (fabs(volts) if volts < 0 else 0.0)) / 0.376)
    c.reg[81] = <uint8_t>((common + (volts if volts > 0 else 0.0)) / 0.376)
    c.reg[84] = c.reg[85] = c.reg[86] = c.reg[87] = <uint8_t>(current / 1.25 if current < 300 else 255)
    # The bias search of the manual calibration: current flows while the setting is above the balance.
    c.reg[88] = bias_current(c, c.reg[98], <int>c.p[SP_MANUAL_98])
    c.reg[89] = bias_current(c, c.reg[99], <int>c.p[SP_MANUAL_99])


cdef void step_oracle(fxs_chip *c, const line_fact *fact) noexcept nogil:
    cdef bint powered = fxs_powered(c), flowing, ringing
    cdef int feed = c.lfs if powered else 0, sign
    sign = 0 if feed == 0 or feed == 4 else 1 if fact.dc_dv > 30 else -1 if fact.dc_dv < -30 else 0
    flowing = feed != 0 and (fact.current > 50 or fact.ring_dc > 50)
    ringing = feed == 4 and fxs_ring_peak(c) > 20.0
    c.lifted_ms = c.lifted_ms + 1 if feed == 4 and fact.ring_dc > 200 else 0
    if c.lifted_ms == 300:                              # the ringer is at somebody's ear
        chip_illegal(c.room, c.index, ILL_RING_INTO_LIFTED, -1, fact.ring_dc)
    if feed != c.told_feed:
        c.told_feed = feed
        chip_history(c.room, c.index, HIS_FEED, feed, fact.dc_dv)
    if sign != 0 and sign != c.told_polarity:
        c.told_polarity = sign
        chip_history(c.room, c.index, HIS_POLARITY, sign, fact.dc_dv)
    if flowing != c.told_loop:
        c.told_loop = flowing
        chip_history(c.room, c.index, HIS_LOOP, flowing, fact.current if feed != 4 else fact.ring_dc)
    if ringing != c.told_ring:
        c.told_ring = ringing
        chip_history(c.room, c.index, HIS_RING, ringing, <int>(fxs_ring_peak(c) * 10.0))


cdef void fxs_step(fxs_chip *c, const line_fact *fact, double ring_ma) noexcept nogil:
    """One millisecond with `fact` on the loop and `ring_ma` of ringing current in it."""
    step_supply(c)
    if not c.reset:
        fxs_settle(c)
        step_calibration(c)
        step_ringing(c)
        step_detectors(c, fact, ring_ma)
        step_power(c, fact)
        step_meters(c, fact)
    step_oracle(c, fact)
