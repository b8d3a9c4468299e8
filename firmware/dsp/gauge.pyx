# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Levels, activity and echo of a port as core sees them, and the memory of echo filters (L2).

Theory of operation. Ports that core asked for are measured block by block: levels of both directions, talks (events with their instants), and
on lines the echo score of what our own sound left after the canceller. Figures go to the port's record in the ring segment
(`gauges.h`); those that cost transforms (delay, return loss) every half second, each port in a tick of its own.
What a canceller has learned belongs to the line: while it is proven it is written every five seconds and when the port closes to `learned` of its slot,
with the line's identity and the PCM alignment (rate, playback depth). When the line opens again, `learned`, else what core `offered` from its store,
is given to the canceller, which tries it before it is heard. A filter of another line or alignment is not used; an
event tells core what became of it.
Invariants: nothing here allocates or waits; a filter is never changed by being kept.
"""
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.activity cimport TALK_ENDED, TalkNews, activity_frame, activity_init, frame_power
from firmware.dsp.agc cimport agc_gain_db
from firmware.dsp.echo cimport EchoStats, echo_export, echo_import, echo_stats, echo_taps
from firmware.dsp.echo_score cimport score_frame, score_init
from firmware.dsp.emit cimport emit, emit_lossy, tick_ms
from firmware.dsp.meter cimport meter_feed, meter_init, meter_level, meter_peak
from firmware.dsp.state cimport *

cdef enum:
    OWN_BLOCKS = 13             # echo comes back within this many blocks
    SCORE_TAIL = 16             # frames
    FIGURES_EVERY = 50          # ticks
    KEEP_EVERY = 500
    RATE = 8000

cdef float UNKNOWN_RETURN = <float>0.25       # a hybrid nobody knows returns 6 dB less at the most
cdef float WORTH_KEEPING = <float>12.0        # dB of ERLE


cdef float own_power(EngineState* e, Port* p) noexcept nogil:
    cdef float power, most = 0
    cdef int back
    if p.rtp != NULL or p.echo == NULL:
        return 0
    for back in range(OWN_BLOCKS if e.depth + OWN_BLOCKS <= WORLD_BLOCKS else 1):
        power = p.sent_power[(e.tick - e.depth - back) % WORLD_BLOCKS]
        if power > most:
            most = power
    return most


cdef float echo_power(EngineState* e, Port* p) noexcept nogil:
    return p.echo_left * own_power(e, p)


cdef void _figures(EngineState* e, Port* p, port_gauge* g) noexcept nogil:
    """What costs transforms."""
    cdef EchoStats s
    cdef float loss
    cdef int i
    if p.echo == NULL:
        return
    echo_stats(p.echo, &s)
    p.echo_left = UNKNOWN_RETURN
    if s.converged and not p.clear:
        loss = s.erl_db + s.erle_db
        p.echo_left = 1.0
        for i in range(10):     # whole decades of the loss are enough for a bound
            if loss >= 10 * (i + 1):
                p.echo_left *= <float>0.1
        if p.echo_left > UNKNOWN_RETURN:
            p.echo_left = UNKNOWN_RETURN
    g.erl_db = s.erl_db
    g.erle_db = s.erle_db
    g.noise_dbm0 = s.noise_dbm0
    g.delay_ms = s.delay_ms
    g.converged = s.converged
    g.disabled = s.disabled
    g.mode = s.mode


cdef void _tell(EngineState* e, Port* p, const TalkNews* news) noexcept nogil:
    cdef pay_activity d
    cdef int64_t at
    memset(&d, 0, sizeof(d))
    d.talking = news.kind != TALK_ENDED
    d.start_at = p.measured_from + news.start_ms
    d.level_dbm0 = news.level_dbm0
    d.overlap_ms = news.overlap_ms
    at = p.measured_from + (news.start_ms if d.talking else news.end_ms)
    emit_lossy(e, EVT_ACTIVITY, p.id, at, &d, sizeof(d))


cdef void gauge_start(EngineState* e, Port* p, int levels, int activity) noexcept nogil:
    cdef port_gauge* g = &e.ring.gauges.port[p.id]
    cdef int wanted = (MEASURE_LEVELS if levels else 0) | (MEASURE_ACTIVITY if activity else 0)
    if wanted and not p.measure:
        meter_init(&p.in_meter, RATE)
        meter_init(&p.out_meter, RATE)
        activity_init(&p.activity)
        p.talk_ms = p.far_ms = p.overlap_ms = 0
        p.measured_from = <int64_t>e.tick * 10
        if p.rtp == NULL:
            score_init(&e.score[p.id], SCORE_TAIL)
    p.measure = wanted
    turn_begin(&g.turn)
    g.measured = wanted
    if not wanted:
        g.tick = e.tick
    turn_end(&g.turn)


cdef void gauge_block(EngineState* e, Port* p) noexcept nogil:
    cdef port_gauge* g = &e.ring.gauges.port[p.id]
    cdef TalkNews news[2]
    cdef float near, far
    cdef int i, n
    cdef int due = e.tick % FIGURES_EVERY == <uint64_t>(p.id * 3 % FIGURES_EVERY)
    if p.echo != NULL and e.tick % KEEP_EVERY == <uint64_t>(p.id * 7):
        learned_keep(e, p)
    if not p.measure:
        if due and (p.agc_on or p.voice.on) and p.echo != NULL:
            turn_begin(&g.turn)
            _figures(e, p, g)
            turn_end(&g.turn)
        return
    meter_feed(&p.in_meter, p.heard, BLOCK)
    meter_feed(&p.out_meter, p.out, BLOCK)
    near = frame_power(p.heard, BLOCK)
    far = frame_power(p.out, BLOCK)
    n = activity_frame(&p.activity, near, far, echo_power(e, p), news)
    if p.measure & MEASURE_ACTIVITY:
        for i in range(n):
            _tell(e, p, &news[i])
    p.talk_ms += 10 * p.activity.near.talking
    p.far_ms += 10 * p.activity.far.talking
    p.overlap_ms += 10 * (p.activity.near.talking & p.activity.far.talking)
    if p.rtp == NULL and p.echo != NULL:
        score_frame(&e.score[p.id], p.sent_power[(e.tick - e.depth) % WORLD_BLOCKS], near)
    turn_begin(&g.turn)
    g.measured = p.measure
    g.tick = e.tick
    g.in_dbm0 = meter_level(&p.in_meter)
    g.in_peak_dbm0 = meter_peak(&p.in_meter)
    g.out_dbm0 = meter_level(&p.out_meter)
    g.out_peak_dbm0 = meter_peak(&p.out_meter)
    g.in_clipped = p.in_meter.clipped
    g.out_clipped = p.out_meter.clipped
    g.agc_db = agc_gain_db(&p.agc) if p.agc_on and not p.clear else <float>0.0
    g.canceller = p.echo != NULL
    g.clear = p.clear
    g.talking = p.activity.near.talking
    g.far_talking = p.activity.far.talking
    g.talk_ms = p.talk_ms
    g.far_ms = p.far_ms
    g.overlap_ms = p.overlap_ms
    if p.rtp == NULL and p.echo != NULL:
        g.echo_db = e.score[p.id].word.residual_db
        g.echo_worst_db = e.score[p.id].worst_db
        g.words = e.score[p.id].words
        g.words_audible = e.score[p.id].audible
        g.words_masked = e.score[p.id].masked
    if due:
        _figures(e, p, g)
    turn_end(&g.turn)


# --- what the cancellers know --------------------------------------------------------------------------------------------

cdef void _outcome(EngineState* e, Port* p, int outcome, float erle) noexcept nogil:
    cdef pay_line d
    memset(&d, 0, sizeof(d))
    d.on = outcome
    d.value = erle
    emit(e, EVT_ECHO_FILTER, p.id, tick_ms(e), &d, sizeof(d))


cdef int _try(EngineState* e, Port* p, const echo_memory* m) noexcept nogil:
    """ECHO_FILTER_*: what became of a filter; ECHO_FILTER_NONE when there is none of this line."""
    cdef echo_memory* copy = &e.memory
    cdef int want = echo_taps(p.echo)
    if not turn_copy(copy, m, sizeof(echo_memory)) or copy.taps == 0 or copy.line != p.line:
        return ECHO_FILTER_NONE
    if copy.rate != RATE or copy.depth != e.depth:
        return ECHO_FILTER_ALIGNMENT
    if copy.taps > GAUGE_TAPS or want > GAUGE_TAPS:
        return ECHO_FILTER_BAD
    if <int>copy.taps < want:   # a longer tail than last time
        memset(&copy.tap[copy.taps], 0, (want - copy.taps) * sizeof(float))
    return ECHO_FILTER_BAD if echo_import(p.echo, copy.tap, want) else ECHO_FILTER_TAKEN


cdef void learned_use(EngineState* e, Port* p) noexcept nogil:
    cdef int outcome, second
    p.echo_left = UNKNOWN_RETURN
    if p.echo == NULL or p.line == 0 or p.rtp != NULL:
        return
    outcome = _try(e, p, &e.ring.gauges.learned[p.id])
    if outcome != ECHO_FILTER_TAKEN:
        second = _try(e, p, &e.ring.gauges.offered[p.id])
        if second != ECHO_FILTER_NONE:
            outcome = second
    if outcome != ECHO_FILTER_NONE:
        _outcome(e, p, outcome, e.memory.erle_db)


cdef void learned_keep(EngineState* e, Port* p) noexcept nogil:
    cdef echo_memory* copy = &e.memory
    cdef echo_memory* m
    cdef EchoStats s
    cdef int n
    if p.echo == NULL or p.line == 0 or p.rtp != NULL or p.clear:
        return
    echo_stats(p.echo, &s)
    if s.converged < 2 or s.disabled or s.mode or s.erle_db < WORTH_KEEPING:
        return
    n = echo_export(p.echo, copy.tap, GAUGE_TAPS)
    if n <= 0:
        return
    m = &e.ring.gauges.learned[p.id]
    turn_begin(&m.turn)
    memcpy(m.tap, copy.tap, n * sizeof(float))
    m.taps = n
    m.rate = RATE
    m.depth = e.depth
    m.line = p.line
    m.tick = e.tick
    m.erl_db = s.erl_db
    m.erle_db = s.erle_db
    turn_end(&m.turn)
