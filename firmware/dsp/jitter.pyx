# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Adaptive jitter buffer: packets in, one block of 10 ms for every tick out (L2).

Theory of operation
-------------------
*Time.* Timestamps become *places*: 64-bit samples at 8 kHz on a time base of the stream's own, so that they neither wrap nor depend on
the RTP clock. The *transit* of a packet is tick time minus place; its least value of the last 4 s is the network's fixed part (and
follows the drift of the sender's crystal), what a packet has above it is its *delay*. Another SSRC, or a jump of timestamps (a newest
packet by sequence number that is more than 1 s early or already past; two in a line when the sequence number jumps too), continues at
the present end of the stream: what is buffered is still played.
*Target.* The play-out delay aims at the delay that all but LATE of the packets keep, from a histogram with a memory of MEMORY packets; a
packet beyond it lifts the target at once to its own delay, and this lift falls again slowly after HOLD ticks.
*Order.* Packets wait undecoded, sorted by place, and are decoded when they are played: codecs with a memory see them in order, and what
is missing is first restored from its successor (Opus FEC), else concealed by the codec, else by `conceal`. When nothing is there the sound
is continued and the stream's time stands still: a packet that comes then is played in full, only later. When a later packet is there
already, exactly the missing samples are made up, less what was made up before.
*Delay.* Too long or too short a delay is corrected by `stretch`: a pitch period less or more in sound, exact samples in quiet. Only a
delay beyond the greatest by 100 ms drops packets.
*Pauses.* A gap in time without a gap in sequence numbers is a pause of the sender, as is a comfort noise packet (RFC 3389); after 60 ms
without anything the sender is taken to pause too. Background is played then, and the next packet is played at the target delay again,
unless it continues exactly where the stream stopped.
Invariants: 80 samples come out of every call; no input makes it read or write outside its arrays (`count` <= slots, 0 <= head <= tail <=
JITTER_PCM); nothing waits longer than the greatest delay.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from firmware.dsp.codec cimport (CODEC_MOST_BYTES, CODEC_MOST_SAMPLES, CODEC_OPUS, CODEC_PCMA, CODEC_PCMU, Codec, codec_clock,
                                 codec_conceal, codec_decode, codec_recover, codec_restart, codec_span)
from firmware.dsp.conceal cimport Conceal, conceal_good, conceal_init, conceal_lost, conceal_quiet, conceal_told
from firmware.dsp.g711 cimport LAW_PCMA, LAW_PCMU, g711_decode
from firmware.dsp.stretch cimport StretchPlan, stretch_least, stretch_lengthen, stretch_shorten

cdef enum:
    BLOCK = 80
    PAST = 240                  # played samples kept, for time scaling
    AHEAD = 320                 # samples decoded before sound is shortened
    GIVE_UP = 480               # samples made up before the sender is taken to pause
    MEMORY = 500                # packets
    WINDOW = 100                # ticks of one of the four windows of the least transit
    HOLD = 100                  # ticks a lifted target stands
    FALL = 4                    # samples it falls a tick after that: 50 ms a second
    NEAR = 8000                 # a packet earlier than this has a new time base
    LATE_RUN = 10
    REST = 6                    # ticks between joins

cdef float LATE = 0.01          # share of packets the target may leave behind
cdef uint64_t TICKS = 0xFFFFFFFFFFFFF   # so that products with BLOCK do not overflow


cdef void jitter_init(Jitter* j, int least_ms, int most_ms) noexcept nogil:
    memset(j, 0, sizeof(Jitter))
    j.least = (least_ms if least_ms >= 10 else 10) * 8
    j.most = (most_ms if most_ms <= 500 else 500) * 8
    if j.most < j.least:
        j.most = j.least
    jitter_restart(j)


cdef void jitter_codec(Jitter* j, Codec* codec) noexcept nogil:
    """What decodes packets of its kind from now on; G.711 needs none."""
    j.codec = codec


cdef void jitter_restart(Jitter* j) noexcept nogil:
    """Forget the stream; bounds, codec and counters stay."""
    j.started = j.waiting = j.played = j.starved = 0
    j.has_old = j.seq_known = j.probation = j.late_run = j.has_transit = 0
    j.target = j.least
    j.count = 0
    j.taken[0] = j.taken[1] = 0
    memset(j.bin, 0, sizeof(j.bin))
    j.heard = j.window = j.rest = 0
    j.peak = j.peak_hold = 0
    memset(j.pcm, 0, PAST * sizeof(short))
    j.head = j.tail = PAST
    j.made = 0
    conceal_init(&j.conceal, 8000)


# --- packets -----------------------------------------------------------------------------------------------------------

cdef int _free_slot(Jitter* j) noexcept nogil:
    cdef int i
    for i in range(JITTER_SLOTS):
        if not (j.taken[i >> 6] >> (i & 63)) & 1:
            return i
    return -1


cdef void _drop_first(Jitter* j) noexcept nogil:
    cdef int at = j.order[0]
    j.taken[at >> 6] &= ~(<uint64_t>1 << (at & 63))
    j.count -= 1
    memmove(j.order, &j.order[1], j.count)


cdef int _span(int kind, const uint8_t* data, int n, int multiple) noexcept nogil:
    """Samples at 8 kHz a packet lasts; comfort noise lasts none; -1: malformed."""
    cdef int32_t span
    if kind == JITTER_NOISE:
        return 0
    if kind == CODEC_PCMU or kind == CODEC_PCMA:
        return n
    span = codec_span(kind, data, n)
    return span // multiple if span > 0 else -1


cdef void _new_base(Jitter* j, int64_t transit) noexcept nogil:
    cdef int i
    for i in range(4):
        j.window_base[i] = transit
    j.base = transit


cdef void _move(Jitter* j, int64_t now, uint32_t ts) noexcept nogil:
    """The stream goes on under other timestamps: this one is now, or right behind what is there."""
    j.ref_ts = ts
    j.ref_place = now - j.base if now - j.base > j.top else j.top
    j.probation = j.late_run = j.has_transit = 0
    j.figures.restarts += 1


cdef int64_t _place(Jitter* j, uint32_t ts) noexcept nogil:
    cdef int32_t away = <int32_t>(ts - j.ref_ts)
    cdef int64_t steps = away // j.multiple if away >= 0 else -((j.multiple - 1 - <int64_t>away) // j.multiple)
    return j.ref_place + steps


cdef void _refer(Jitter* j, uint32_t ts) noexcept nogil:
    """Keep the reference near the newest packet, on a whole sample."""
    cdef int32_t steps = <int32_t>(ts - j.ref_ts) // j.multiple
    if steps > 0:
        j.ref_ts += <uint32_t>(steps * j.multiple)
        j.ref_place += steps


cdef void _note_delay(Jitter* j, int64_t transit) noexcept nogil:
    cdef int64_t delay = transit - j.base, change
    cdef int i, at
    cdef float part
    if j.has_transit and delay <= j.most + NEAR:
        change = transit - j.last_transit
        change = -change if change < 0 else change
        if change < 80000:
            j.figures.jitter += (<float>change - j.figures.jitter) / <float>16.0
    j.last_transit = transit
    j.has_transit = 1
    if delay > j.most + NEAR:
        return                  # no delay: other timestamps
    delay = 0 if delay < 0 else delay
    at = <int>((delay + BLOCK - 1) // BLOCK) if delay < JITTER_BINS * BLOCK else JITTER_BINS - 1
    at = JITTER_BINS - 1 if at >= JITTER_BINS else at
    j.heard += 1 if j.heard < MEMORY else 0
    part = <float>1.0 / <float>j.heard
    for i in range(JITTER_BINS):
        j.bin[i] -= j.bin[i] * part
    j.bin[at] += part
    if delay > j.target:
        delay = delay if delay < j.most else j.most
        if delay > j.peak:
            j.peak = <int32_t>delay
        j.peak_hold = HOLD


cdef void jitter_put(Jitter* j, uint64_t tick, uint32_t ssrc, uint16_t seq, uint32_t ts, int marker, int kind, const uint8_t* data,
                     int n) noexcept nogil:
    """A packet came: n bytes of payload; kind = CODEC_* or JITTER_NOISE; ts in the codec's RTP clock. A malformed one is ignored."""
    cdef int64_t now = <int64_t>(tick & TICKS) * BLOCK, place, transit
    cdef int multiple, span, i, at, newest, moved = 0
    cdef JitterSlot* s
    multiple = j.multiple if kind == JITTER_NOISE and j.started else codec_clock(kind) // 8000 if kind != JITTER_NOISE else 1
    if n <= 0 or n > JITTER_BYTES or n > CODEC_MOST_BYTES or multiple < 1:
        j.figures.refused += 1
        return
    span = _span(kind, data, n, multiple)
    if span < 0 or (kind == JITTER_NOISE and data[0] > 127):
        j.figures.refused += 1
        return
    if not j.started:
        j.started = 1
        j.waiting = 1
        j.multiple = multiple
        j.ssrc = ssrc
        j.ref_ts = ts
        j.ref_place = j.top = j.play = now
        j.highest_seq = seq - 1
        j.base = 0
        _new_base(j, 0)
    elif ssrc != j.ssrc:
        if j.has_old and ssrc == j.old_ssrc and j.old_run < 3:
            j.old_run += 1
            j.figures.refused += 1
            return
        j.old_ssrc = j.ssrc
        j.has_old = 1
        j.old_run = 0
        j.ssrc = ssrc
        j.multiple = multiple
        j.seq_known = 0
        j.highest_seq = seq - 1
        _move(j, now, ts)
        moved = 1
    elif multiple != j.multiple:
        j.multiple = multiple
        _move(j, now, ts)
    else:
        j.old_run = 0
    place = _place(j, ts)
    newest = seq == <uint16_t>(j.highest_seq + 1)
    if now - place < j.base - NEAR or (newest and place + span <= j.play and span and j.played):
        if newest or marker or (j.probation and seq == j.probation_seq and ts - j.probation_ts < 80000):
            _move(j, now, ts)
            place = _place(j, ts)
        else:
            j.probation = 1
            j.probation_seq = seq + 1
            j.probation_ts = ts
            j.figures.refused += 1
            return
    elif place + span <= j.play and j.played and (span or place < j.play):
        _note_delay(j, now - place)
        j.late += 1
        j.late_run += 1
        if j.late_run < LATE_RUN:
            return
        _move(j, now, ts)       # everything is late: the timestamps jumped back
        place = _place(j, ts)
    j.late_run = 0
    j.probation = 0
    transit = now - place
    if transit - j.base > j.most + NEAR:
        _new_base(j, transit)   # the sender's clock stood still
        j.has_transit = 0
    if transit < j.window_base[0]:
        j.window_base[0] = transit
    if transit < j.base:
        j.base = transit
    i = j.count                 # where it belongs
    while i > 0 and j.slot[j.order[i - 1]].place > place:
        i -= 1
    if i > 0 and j.slot[j.order[i - 1]].place == place:
        s = &j.slot[j.order[i - 1]]
        if not (s.kind == JITTER_NOISE) ^ (kind == JITTER_NOISE):
            j.figures.duplicate += 1
            return
    _note_delay(j, transit)
    j.figures.received += 1
    if newest or <int16_t>(seq - j.highest_seq) > 0:
        j.highest_seq = seq
    elif <int16_t>(j.highest_seq - seq) > 1000:
        j.highest_seq = seq     # the sender counts from somewhere else
    if j.count >= JITTER_SLOTS:
        j.figures.refused += 1
        if i == 0:
            return
        _drop_first(j)
        i -= 1
    at = _free_slot(j)
    s = &j.slot[at]
    j.taken[at >> 6] |= <uint64_t>1 << (at & 63)
    memmove(&j.order[i + 1], &j.order[i], j.count - i)
    j.order[i] = at
    j.count += 1
    s.place = place
    s.seq = seq
    s.n = n
    s.kind = kind
    s.fresh = moved
    memcpy(s.data, data, n)
    if place + span > j.top:
        j.top = place + span
        _refer(j, ts)


# --- sound -------------------------------------------------------------------------------------------------------------

cdef void _room(Jitter* j, int n) noexcept nogil:
    if j.tail + n > JITTER_PCM:
        memmove(j.pcm, &j.pcm[j.head - PAST], (j.tail - j.head + PAST) * sizeof(short))
        j.tail -= j.head - PAST
        j.head = PAST


cdef int _own(Jitter* j, int kind) noexcept nogil:
    return j.codec != NULL and j.codec.kind == kind and j.codec.rate == 8000


cdef void _received(Jitter* j, int n) noexcept nogil:
    """n received samples stand at the tail."""
    conceal_good(&j.conceal, &j.pcm[j.tail], n)
    j.tail += n
    j.made = 0
    j.played = 1


cdef int _decode(Jitter* j) noexcept nogil:
    """The first packet, whose time has come, goes to the tail; 1, or 0 when it is comfort noise."""
    cdef JitterSlot* s = &j.slot[j.order[0]]
    cdef int n, skip, missed, most = CODEC_MOST_SAMPLES // 2
    if j.seq_known:
        missed = <uint16_t>(s.seq - j.next_seq)
        if missed < 1000:
            j.figures.missing += missed
    j.next_seq = s.seq + 1
    j.seq_known = 1
    if s.kind == JITTER_NOISE:
        conceal_told(&j.conceal, s.data, s.n)
        j.play = s.place if s.place > j.play else j.play
        j.waiting = 1
        j.starved = 0
        j.played = 1
        _drop_first(j)
        return 0
    _room(j, most)
    if s.kind == CODEC_PCMU or s.kind == CODEC_PCMA:
        n = s.n
        g711_decode(LAW_PCMA if s.kind == CODEC_PCMA else LAW_PCMU, s.data, &j.pcm[j.tail], n)
    elif _own(j, s.kind):
        if s.fresh:
            codec_restart(j.codec)
        n = codec_decode(j.codec, s.data, s.n, &j.pcm[j.tail], most)
    else:
        n = -1
    if n <= 0 or n > most:
        j.figures.refused += 1
        n = _span(s.kind, s.data, s.n, j.multiple)
        n = 0 if n < 0 else most if n > most else n
        conceal_lost(&j.conceal, &j.pcm[j.tail], n)
        j.tail += n
        j.figures.concealed += n
        j.play = s.place + n if s.place + n > j.play else j.play
        _drop_first(j)
        return 1
    skip = <int>(j.play - s.place) if j.play > s.place else 0       # it overlaps what was played
    j.play = s.place + n if s.place + n > j.play else j.play
    if skip >= n:
        skip = n
    elif skip:
        memmove(&j.pcm[j.tail], &j.pcm[j.tail + skip], (n - skip) * sizeof(short))
    _drop_first(j)
    if n > skip:
        _received(j, n - skip)
    return 1


cdef void _make_up(Jitter* j, int n) noexcept nogil:
    """n samples in place of lost ones."""
    cdef int got = 0
    _room(j, n)
    if j.codec != NULL and j.codec.rate == 8000 and not j.conceal.lost:
        got = codec_conceal(j.codec, &j.pcm[j.tail], n)
    if got == n:
        conceal_good(&j.conceal, &j.pcm[j.tail], n)
    else:
        conceal_lost(&j.conceal, &j.pcm[j.tail], n)
    if j.made == 0:
        j.figures.bursts += 1
    j.tail += n
    j.made += n
    j.figures.concealed += n
    if <uint32_t>j.made > j.figures.longest:
        j.figures.longest = j.made


cdef int _recover(Jitter* j, int gap) noexcept nogil:
    """Restore the one packet lost before the first, from the first (Opus FEC)."""
    cdef JitterSlot* s = &j.slot[j.order[0]]
    cdef int n
    if s.kind != CODEC_OPUS or not _own(j, s.kind) or gap > CODEC_MOST_SAMPLES // 2 or gap != _span(s.kind, s.data, s.n, j.multiple):
        return 0
    _room(j, gap)
    n = codec_recover(j.codec, s.data, s.n, &j.pcm[j.tail], gap)
    if n != gap:
        return 0
    _received(j, n)
    j.play = s.place
    j.figures.recovered += 1
    return 1


cdef int _due(Jitter* j, int64_t now) noexcept nogil:
    """May the first packet end the waiting?"""
    cdef JitterSlot* s = &j.slot[j.order[0]]
    if j.starved and j.played and s.place <= j.play and s.kind != JITTER_NOISE:
        return 1
    return now - s.place - j.base >= j.target


cdef int64_t _delay(const Jitter* j, int64_t now) noexcept nogil:
    """Of the next sample played beyond the fastest packet."""
    return now - (j.play + j.made - (j.tail - j.head)) - j.base


cdef void _aim(Jitter* j) noexcept nogil:
    cdef int i
    cdef float left = 0.0
    cdef int32_t target
    j.window += 1
    if j.window >= WINDOW:
        j.window = 0
        if j.window_base[0] < <int64_t>1 << 61:
            for i in range(3, 0, -1):
                j.window_base[i] = j.window_base[i - 1]
            j.window_base[0] = <int64_t>1 << 62
            j.base = j.window_base[1]
            for i in range(2, 4):
                if j.window_base[i] < j.base:
                    j.base = j.window_base[i]
    if j.peak_hold > 0:
        j.peak_hold -= 1
    elif j.peak > 0:
        j.peak -= FALL
    i = JITTER_BINS - 1
    while i > 0:
        left += j.bin[i]
        if left > LATE:
            break
        i -= 1
    target = i * BLOCK
    target = j.peak if j.peak > target else target
    target = j.least if target < j.least else target
    j.target = j.most if target > j.most else target


cdef void _correct(Jitter* j, int64_t now) noexcept nogil:
    """Bring the delay nearer to its target, if the sound allows it here."""
    cdef StretchPlan plan
    cdef int64_t error = _delay(j, now) - j.target
    cdef int n, quick = error > 800 or error < -800
    if j.rest > 0:
        j.rest -= 1
    if -40 < error < 40 or (j.rest > 0 and not (quick and j.rest < REST - 2)):
        return
    plan.rate = 8000
    plan.most = 120
    plan.match = <float>0.5 if quick else <float>0.8
    plan.quiet = <float>4.0 * j.conceal.floor
    plan.quiet = <float>16000.0 if plan.quiet > <float>16000.0 else plan.quiet
    if error > 0:
        while j.tail - j.head < AHEAD and j.count and j.slot[j.order[0]].place <= j.play and j.slot[j.order[0]].kind != JITTER_NOISE:
            _decode(j)
        plan.wanted = <int>(error if error < 120 else 120)
        if error < 100:         # a period more than needed would have to come back
            plan.most = plan.wanted + 20
        plan.least = stretch_least(8000, plan.wanted)
        n = stretch_shorten(&plan, &j.pcm[j.head], j.tail - j.head)
        j.tail -= n
        j.figures.removed += n
        j.dropped = j.figures.removed // BLOCK
    else:
        plan.wanted = <int>(-error if error > -120 else 120)
        if error > -100:
            plan.most = plan.wanted + 20
        _room(j, plan.most)
        plan.least = stretch_least(8000, plan.wanted)
        n = stretch_lengthen(&plan, &j.pcm[j.head], j.tail - j.head, PAST if j.head >= PAST else j.head)
        j.tail += n
        j.figures.added += n
        j.inserted = j.figures.added // BLOCK
    if n:
        j.rest = REST


cdef int jitter_get(Jitter* j, uint64_t tick, short* out) noexcept nogil:
    """The next 80 samples; returns 1 when received audio is in them, 2 when they are concealed, 0 for background or nothing."""
    cdef int64_t now = <int64_t>(tick & TICKS) * BLOCK, gap
    cdef int n, kind = 0
    cdef JitterSlot* s
    if not j.started:
        memset(out, 0, BLOCK * sizeof(short))
        return 0
    _aim(j)
    if j.tail > j.head:
        kind = 1 if not j.made else 2
    while j.tail - j.head < BLOCK:
        s = &j.slot[j.order[0]] if j.count else NULL
        n = BLOCK - (j.tail - j.head)
        if j.waiting:
            if s != NULL and _due(j, now):
                j.waiting = 0
                while j.count > 1 and now - s.place - j.base > j.most + 800:      # a stall longer than anybody wants to wait for
                    _drop_first(j)
                    s = &j.slot[j.order[0]]
                j.play = s.place
                j.made = 0
                j.seq_known = 0 if not j.starved else j.seq_known
                continue
            _room(j, n)
            if j.played:
                conceal_quiet(&j.conceal, &j.pcm[j.tail], n)
                j.figures.pause += n
            else:
                memset(&j.pcm[j.tail], 0, n * sizeof(short))
            j.tail += n
        elif s != NULL and s.place <= j.play:
            if _decode(j):
                kind = 1
        elif s != NULL:
            gap = s.place - j.play - j.made
            if gap <= 0:
                j.play = s.place
                j.made = 0
            elif (j.seq_known and s.seq == j.next_seq) or gap > GIVE_UP * 8:
                j.waiting = 1
                j.starved = 0
            elif _recover(j, <int>(gap if gap < 100000 else 100000)):
                kind = 1
            else:
                n = n if n < gap else <int>gap
                _make_up(j, n)
                kind = 2 if not kind else kind
        elif j.made >= GIVE_UP:
            j.waiting = 1
            j.starved = 1
        else:
            _make_up(j, n)
            kind = 2 if not kind else kind
    if not j.waiting and not j.made:
        if _delay(j, now) > j.most + 800 and j.top - j.play > j.target:
            while j.count > 1 and _delay(j, now) - j.target > BLOCK:
                gap = j.slot[j.order[1]].place - j.slot[j.order[0]].place
                j.figures.removed += <uint32_t>(gap if gap < 4000 else 4000)
                j.dropped = j.figures.removed // BLOCK
                _drop_first(j)
                j.play = j.slot[j.order[0]].place
            _room(j, 8)
            conceal_lost(&j.conceal, &j.pcm[j.tail], 8)     # so that the next packet is faded in
            j.tail += 8
        _correct(j, now)
    if j.tail - j.head < BLOCK:
        _room(j, BLOCK)
        memset(&j.pcm[j.tail], 0, (BLOCK - (j.tail - j.head)) * sizeof(short))
        j.tail = j.head + BLOCK
    j.figures.delay = 0 if j.waiting else <int32_t>_delay(j, now)
    j.figures.target = j.target
    memcpy(out, &j.pcm[j.head], BLOCK * sizeof(short))
    j.head += BLOCK
    if kind == 2:
        j.lost += 1
    return kind


cdef void jitter_figures(const Jitter* j, JitterFigures* out) noexcept nogil:
    out[0] = j.figures
