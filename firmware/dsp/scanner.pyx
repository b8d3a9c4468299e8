# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Line scanner: electrical facts once per ms become debounced, timestamped events (L2).

Theory of operation
-------------------
FXO ring: half-waves must alternate with half-periods of 6 to 39 ms (13 to 70 Hz) for 200 ms. What counts as a half-wave is the chip's threshold
(13.5 Vrms at least, so hum is none); a reversal of the line or a neon pulse makes a single one. The burst ends when nothing alternates for
300 ms. Its two events carry the instants of the first and of the last alternation. A hook that closes into alternations has answered: then
they are told as a burst at once.
FXO battery: lost after 64 ms below 3 V, back after 300 ms; polarity: 64 ms of the other sign, the first reading is kept and not
reported. Both stand still while ringing voltage is there.
Voltage, FXO and FXS: a reading that stays within 2 V for 400 ms and differs by more than 2 V from the last one told is told as another
`Battery` with the instant of the reading, so that core knows 48 V at rest, 8 V under a parallel telephone, and a change of sign. Loop current counts off-hook only: flowing from 5 mA on, a loss
is reported after 20 ms, a return after 4 ms, both with the instant of the edge; a current that settles (within 10 % for 60 ms) at another value,
20 % off at least, is told again: a telephone in parallel. While pulses are dialled current says nothing.
FXS loop: closed when the chip says so, 4 ms debounce, the instant is that of the edge, so pulses and flashes can be measured to the ms. The
closure is told with a current that was read after it.
FXS ringing: a ring trip is seen twice, then told; the chip has fed the line by itself, and the caller sees that it goes on.
A slot that is watched already goes on as it is when core watches it again: what stands is in the snapshot.
These functions are called for each ms, by the decoder of a chip's registers or from the facts of a world without chips.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit_from
from firmware.dsp.state cimport *

cdef enum:
    HALF_LEAST = 6              # ms; 70 Hz is 7.14, sampled at 1 ms
    HALF_MOST = 39
    RING_MS = 200
    RING_OFF_MS = 300
    GLARE_TURNS = 2             # half-waves of a ring that was not proven yet when the hook closed
    BATTERY_DV = 30
    LOST_MS = 64
    BACK_MS = 300
    POLARITY_MS = 64
    LEVEL_DV = 20
    LEVEL_MS = 400
    FLOW_DMA = 50
    FLOW_LOST_MS = 20
    DEBOUNCE_MS = 4
    TRIP_SCANS = 2
    CURRENT_WAIT_MS = 12        # for a reading of the current after the loop closed
    SETTLED_MS = 60
    STEP_DMA = 15               # readings of a settled current differ by less, or by 10 %
    UNKNOWN = 2


cdef void _say(EngineState* e, int slot, int kind, int64_t at, int on, float value) noexcept nogil:
    cdef pay_line d
    memset(&d, 0, sizeof(d))
    d.on = on
    d.value = value
    emit_from(e, &e.scan_lane, kind, slot, at, &d, sizeof(d))


cdef void _ring(EngineState* e, int slot, Line* n, int sign, int64_t now) noexcept nogil:
    cdef int64_t half
    if sign and sign != n.sign:
        half = now - n.turn
        if n.sign == 0 or half < HALF_LEAST or half > HALF_MOST:
            n.turns = 1
            if not n.ringing:
                n.ring_from = now
        else:
            n.turns += 1
        n.sign = sign
        n.turn = now
        if not n.ringing and n.turns >= 4 and now - n.ring_from >= RING_MS:
            storei32(&n.ringing, 1)
            _say(e, slot, EVT_RING_BURST, n.ring_from, 1, 0)
    elif n.sign and now - n.turn > HALF_MOST:
        if not n.ringing:
            n.sign = 0
            n.turns = 0
        elif now - n.turn >= RING_OFF_MS:
            n.sign = 0
            n.turns = 0
            storei32(&n.ringing, 0)
            _say(e, slot, EVT_RING_BURST, n.turn, 0, 0)


cdef void _level(EngineState* e, int slot, Line* n, int dc, int64_t now) noexcept nogil:
    """Tell a settled voltage that is new."""
    if dc > n.level_dv + LEVEL_DV or dc < n.level_dv - LEVEL_DV:
        n.level_dv = dc
        n.level_since = now
    elif now - n.level_since >= LEVEL_MS and (not n.level_told or dc > n.told_dv + LEVEL_DV or dc < n.told_dv - LEVEL_DV):
        n.told_dv = dc
        n.level_told = 1
        _say(e, slot, EVT_BATTERY, now, 1, n.volts)


cdef void _battery(EngineState* e, int slot, Line* n, int dc, int64_t now) noexcept nogil:
    cdef int size = dc if dc >= 0 else -dc
    cdef int raw = size >= BATTERY_DV
    cdef int sign
    n.volts = <float>dc / 10
    if n.turns >= 2 or n.ringing:       # ringing voltage makes false readings; a single half-wave may be a reversal
        n.battery_since = now
        n.polarity_since = now
        n.level_since = now
        return
    if raw != n.battery_raw:
        n.battery_raw = raw
        n.battery_since = now
    if raw != n.battery and now - n.battery_since >= (BACK_MS if raw else LOST_MS):
        storei32(&n.battery, raw)
        _say(e, slot, EVT_BATTERY, n.battery_since, raw, n.volts)
    if not raw:
        n.polarity_raw = UNKNOWN
        n.level_since = now
        return
    _level(e, slot, n, dc, now)
    sign = dc < 0
    if sign != n.polarity_raw:
        n.polarity_raw = sign
        n.polarity_since = now
    if now - n.polarity_since >= POLARITY_MS and (sign != n.reversed or not n.polarity_known):
        storei32(&n.reversed, sign)
        if n.polarity_known:
            _say(e, slot, EVT_POLARITY, n.polarity_since, sign, 0)
        n.polarity_known = 1


cdef void _settled(EngineState* e, int slot, Line* n, int dma, int64_t now) noexcept nogil:
    """Tell a loop current that settled at another value than the one told last."""
    cdef int off = dma - n.flow_dma, step = n.flow_dma // 10
    if step < STEP_DMA:
        step = STEP_DMA
    if off > step or off < -step:
        n.flow_dma = dma
        n.flow_level_since = now
        return
    off = dma - n.told_dma
    if now - n.flow_level_since >= SETTLED_MS and (5 * off > n.told_dma or 5 * off < -n.told_dma):
        n.told_dma = dma
        _say(e, slot, EVT_LOOP_CURRENT, n.flow_level_since, 1, <float>dma / 10)


cdef void _flow(EngineState* e, int slot, Line* n, int off_hook, int dma, int64_t now) noexcept nogil:
    cdef int flow
    if not off_hook:
        storei32(&n.flowing, 0)
        n.flow_raw = 0
        n.flow_since = now
        return
    flow = dma >= FLOW_DMA
    if flow != n.flow_raw:
        n.flow_raw = flow
        n.flow_since = now
    if flow != n.flowing and now - n.flow_since >= (DEBOUNCE_MS if flow else FLOW_LOST_MS):
        storei32(&n.flowing, flow)
        n.told_dma = n.flow_dma = dma
        n.flow_level_since = now
        _say(e, slot, EVT_LOOP_CURRENT, n.flow_since, flow, <float>dma / 10)
    elif flow and n.flowing:
        _settled(e, slot, n, dma, now)


cdef void line_fxo(EngineState* e, int slot, Line* n, int sign, int dv, int has_dv, int dma, int off_hook, int dialling, int64_t now) noexcept nogil:
    """One ms of an exchange line: sign of a ringing half-wave (0 = none), 0.1 V, 0.1 mA, hook; `dialling`: pulses are under way."""
    if off_hook and n.turns >= GLARE_TURNS and not n.ringing:
        storei32(&n.ringing, 1)
        _say(e, slot, EVT_RING_BURST, n.ring_from, 1, 0)
    _ring(e, slot, n, sign, now)
    if has_dv:
        _battery(e, slot, n, dv, now)
    if dialling:
        n.flow_since = n.flow_level_since = now
    else:
        _flow(e, slot, n, off_hook, dma, now)


cdef void _loop(EngineState* e, int slot, Line* n, int closed, int dma, int64_t read_at, int64_t proven_at, int lag, int64_t now) noexcept nogil:
    if closed != n.loop_raw:
        n.loop_raw = closed
        n.loop_since = now
    if closed == n.closed or now - n.loop_since < DEBOUNCE_MS or proven_at < n.loop_since:
        return
    if closed and read_at < n.loop_since and now - n.loop_since < CURRENT_WAIT_MS:
        return
    storei32(&n.closed, closed)
    _say(e, slot, EVT_LOOP, n.loop_since - lag, closed, <float>dma / 10)


cdef int line_fxs(EngineState* e, int slot, Line* n, int closed, int trip, int dv, int has_dv, int dma, int64_t read_at, int64_t proven_at, int lag, int64_t now) noexcept nogil:
    """One ms of a telephone: what the chip detects (`lag` ms after it was), 0.1 V, 0.1 mA; the instants when the current was read and
    when a chip was last proven to speak. 1 = answered."""
    if has_dv:
        n.volts = <float>dv / 10
    if load32(&e.drive[slot]) == FEED_RINGING:
        n.loop_since = n.level_since = now
        n.loop_raw = n.closed
        n.trips = n.trips + 1 if trip else 0
        if n.trips == TRIP_SCANS:
            _say(e, slot, EVT_RING_TRIP, now, 1, <float>dma / 10)
        return n.trips >= TRIP_SCANS
    n.trips = 0
    if has_dv:
        _level(e, slot, n, dv, now)
    _loop(e, slot, n, closed, dma, read_at, proven_at, lag, now)
    return 0
