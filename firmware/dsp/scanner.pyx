# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Line scanner: electrical facts once per ms become debounced, timestamped events (L2).

Theory of operation
-------------------
FXO ring: voltage beyond +-20 V must alternate with half-periods of 7 to 34 ms (15 to 68 Hz) for 200 ms; 10 Vrms is below the
threshold, so hum is not a ring. The burst ends when nothing alternates for 300 ms. Its two events carry the instants of the
first and of the last alternation.
FXO battery: lost after 64 ms below 3 V, back after 300 ms; polarity: 64 ms of the other sign, the first reading is kept and not
reported. Both stand still while ringing voltage is there.
Voltage, FXO and FXS: a reading that stays within 2 V for 400 ms and differs by more than 2 V from the last one told is told as another
`Battery` with the instant of the reading, so that core knows 48 V at rest, 8 V under a parallel telephone, and a change of sign. Loop current counts off-hook only: flowing from 5 mA on, a loss
is reported after 20 ms, a return after 4 ms, both with the instant of the edge.
FXS loop: closed from 10 mA on, 4 ms debounce, the instant is that of the edge, so pulses and flashes can be measured to the ms.
FXS ringing: more than 10 mA of DC for 100 ms is a ring trip; the scanner feeds the line at once (the chip does it by itself),
then reports. A slot that is watched already goes on as it is when core watches it again: what stands is in the snapshot.
The scan of a block runs in the scanner thread in real time, and within the tick under a virtual clock, so that events
belong to their tick; `scan_busy` keeps the two apart when the pace changes.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit_from
from firmware.dsp.state cimport *

cdef enum:
    RING_DV = 200
    HALF_LEAST = 6              # ms; 68 Hz is 7.35, sampled at 1 ms
    HALF_MOST = 34
    RING_MS = 200
    RING_OFF_MS = 300
    BATTERY_DV = 30
    LOST_MS = 64
    BACK_MS = 300
    POLARITY_MS = 64
    LEVEL_DV = 20
    LEVEL_MS = 400
    FLOW_DMA = 50
    FLOW_LOST_MS = 20
    LOOP_DMA = 100
    DEBOUNCE_MS = 4
    TRIP_MS = 100
    UNKNOWN = 2


cdef void _say(EngineState* e, int slot, int kind, int64_t at, int on, float value) noexcept nogil:
    cdef pay_line d
    memset(&d, 0, sizeof(d))
    d.on = on
    d.value = value
    emit_from(e, &e.scan_lane, kind, slot, at, &d, sizeof(d))


cdef void _ring(EngineState* e, int slot, Line* n, int ac, int64_t now) noexcept nogil:
    cdef int sign = 1 if ac > RING_DV else (-1 if ac < -RING_DV else 0)
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
    if n.sign:                  # ringing voltage makes false readings
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


cdef void _fxo(EngineState* e, int slot, Line* n, const line_fact* f, int64_t now) noexcept nogil:
    cdef int flow
    _ring(e, slot, n, f.ac_dv, now)
    _battery(e, slot, n, f.dc_dv, now)
    if load32(&e.drive[slot]) != LINE_OFF_HOOK:
        storei32(&n.flowing, 0)
        n.flow_raw = 0
        n.flow_since = now
        return
    flow = f.current >= FLOW_DMA
    if flow != n.flow_raw:
        n.flow_raw = flow
        n.flow_since = now
    if flow != n.flowing and now - n.flow_since >= (DEBOUNCE_MS if flow else FLOW_LOST_MS):
        storei32(&n.flowing, flow)
        _say(e, slot, EVT_LOOP_CURRENT, n.flow_since, flow, <float>f.current / 10)


cdef void _fxs(EngineState* e, int slot, Line* n, const line_fact* f, int64_t now) noexcept nogil:
    cdef int closed
    n.volts = <float>f.dc_dv / 10
    if load32(&e.drive[slot]) == FEED_RINGING:
        n.loop_since = now
        n.level_since = now
        if f.ring_dc <= LOOP_DMA:
            n.trip_since = now
        elif now - n.trip_since >= TRIP_MS:
            e.seam.drive(e, slot, FEED_ACTIVE)
            _say(e, slot, EVT_RING_TRIP, now, 1, <float>f.ring_dc / 10)
        return
    n.trip_since = now
    _level(e, slot, n, f.dc_dv, now)
    closed = f.current >= LOOP_DMA
    if closed != n.loop_raw:
        n.loop_raw = closed
        n.loop_since = now
    if closed != n.closed and now - n.loop_since >= DEBOUNCE_MS:
        storei32(&n.closed, closed)
        _say(e, slot, EVT_LOOP, n.loop_since, closed, <float>f.current / 10)


cdef int scan_blocks(EngineState* e) noexcept nogil:
    """Scan every block delivered and not yet scanned; returns whether there was one. Any engine thread, one at a time."""
    cdef line_fact facts[10]
    cdef uint64_t block, last
    cdef int slot, i, n, kind
    cdef int64_t at
    cdef Line* line
    if e.world == NULL or swap32(&e.scan_busy, 1):
        return 0
    last = e.seam.delivered(e)
    block = load64(&e.world.scanned)
    if block + WORLD_BLOCKS // 2 < last or block > last:
        block = last - 1 if last else 0         # too late, or another world: go on with what is there
    n = block < last
    while block < last:
        for slot in range(WORLD_PORTS):
            line = &e.line[slot]
            kind = loadi32(&line.kind)
            if kind == SCAN_OFF:
                continue
            at = <int64_t>block * 10
            e.seam.facts(e, block, slot, facts)
            for i in range(WORLD_FACTS):
                if kind == SCAN_FXO:
                    _fxo(e, slot, line, &facts[i], at + i)
                else:
                    _fxs(e, slot, line, &facts[i], at + i)
        block += 1
        store64(&e.world.scanned, block)
    store32(&e.scan_busy, 0)
    return n
