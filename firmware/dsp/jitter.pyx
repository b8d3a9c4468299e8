# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Adaptive jitter buffer with concealment, on the tick's clock (L2).

Theory of operation. Samples are stored by RTP timestamp. The *transit* of a packet is tick time minus its timestamp; its
least value over 2 to 4 s is the fixed part (and follows clock drift), the greatest over 4 to 8 s the jitter. The play-out
delay aims at base + jitter + 10 ms, clamped to the configured bounds. The delay is corrected by whole blocks of 10 ms:
dropped or inserted where the speech pauses, or where a packet is missing anyway; if no pause comes within half a second,
at the next block. So a sender with another crystal costs one inaudible block now and then.
Missing audio is concealed by repeating the last pitch period, faded out over 60 ms (after ITU-T G.711 Appendix I, without
its overlap at the start), then silence. When nothing has come for 60 ms the sender is taken to pause: time stops until its
next packet. A packet far outside the buffer, or another SSRC, starts afresh.
Invariants: the delay never leaves [least - one block, most + one block] for longer than a correction takes; 80 samples
come out of every call; no input makes it read or write outside its arrays.
"""
from libc.string cimport memcpy, memmove, memset

from firmware.dsp.abi cimport *
from firmware.dsp.state cimport BLOCK, JITTER_SPAN, Jitter

cdef enum:
    WINDOW = 200                # ticks
    GIVE_UP = 6                 # blocks concealed before the sender is taken to pause
    QUIET = 200                 # mean magnitude of a block that counts as a pause (-44 dBm0)


cdef void jitter_init(Jitter* j, int least_ms, int most_ms) noexcept nogil:
    memset(j, 0, sizeof(Jitter))
    j.least = (least_ms if least_ms >= 10 else 10) * 8
    j.most = (most_ms if most_ms <= 500 else 500) * 8
    if j.most < j.least:
        j.most = j.least
    j.target = j.least


cdef void jitter_restart(Jitter* j) noexcept nogil:
    j.started = 0


cdef void _start(Jitter* j, uint64_t tick, uint32_t ssrc, uint32_t ts) noexcept nogil:
    memset(j.valid, 0, JITTER_SPAN)
    j.started = 1
    j.holding = 0
    j.ssrc = ssrc
    j.ref = <uint32_t>(tick * BLOCK) - ts
    j.base[0] = j.base[1] = 0
    j.peak[0] = j.peak[1] = 0
    j.window = 0
    j.target = j.least
    j.play_ts = ts - <uint32_t>j.target
    j.top_ts = ts
    j.over = j.under = j.late_run = 0
    j.missing = GIVE_UP + 1     # nothing to conceal yet


cdef void jitter_put(Jitter* j, uint64_t tick, uint32_t ssrc, uint32_t ts, const short* samples, int n) noexcept nogil:
    """Store n decoded samples (1..480) of the packet with this timestamp."""
    cdef int32_t ahead, transit
    cdef int i, at
    if n <= 0:
        return
    if not j.started or ssrc != j.ssrc:
        _start(j, tick, ssrc, ts)
    ahead = <int32_t>(ts - j.play_ts)
    if ahead > JITTER_SPAN - 480 - BLOCK or ahead < -JITTER_SPAN:
        _start(j, tick, ssrc, ts)
        ahead = j.target
    elif j.holding:
        if ahead >= 0:          # the sender resumes; its clock may have run on or not
            memset(j.valid, 0, JITTER_SPAN)
            j.play_ts = ts - <uint32_t>j.target
            ahead = j.target
        j.holding = 0
    transit = <int32_t>(<uint32_t>(tick * BLOCK) - ts - j.ref)
    if transit < j.base[0]:
        j.base[0] = transit
    if transit > j.peak[0]:
        j.peak[0] = transit
    if ahead + n <= 0:
        j.late += 1
        j.late_run += 1
        if j.late_run >= 10:    # everything is late: the sender's timestamps jumped back
            _start(j, tick, ssrc, ts)
        else:
            return
    j.late_run = 0
    for i in range(n):
        if ahead + i >= 0:
            at = (ts + i) & (JITTER_SPAN - 1)
            j.pcm[at] = samples[i]
            j.valid[at] = 1
    if <int32_t>(ts + n - j.top_ts) > 0:
        j.top_ts = ts + n


cdef void _remember(Jitter* j, const short* x) noexcept nogil:
    memmove(j.past, &j.past[BLOCK], 160 * sizeof(short))
    memcpy(&j.past[160], x, BLOCK * sizeof(short))


cdef void _conceal(Jitter* j, short* out) noexcept nogil:
    """One block that continues the past; the past itself goes on at full level, so that the fade is not applied twice."""
    cdef int i, lag, best = BLOCK
    cdef int64_t sum, top = 0
    cdef short whole[80]
    if j.missing >= GIVE_UP:
        memset(out, 0, BLOCK * sizeof(short))
        _remember(j, out)
        return
    if j.missing == 0:          # find the pitch (67 to 320 Hz) once per loss
        for lag in range(25, 121):
            sum = 0
            for i in range(0, BLOCK, 2):
                sum += <int32_t>j.past[240 - BLOCK + i] * j.past[240 - BLOCK + i - lag]
            if sum > top:
                top = sum
                best = lag
        j.pitch = best
    for i in range(BLOCK):
        whole[i] = j.past[240 - j.pitch + i % j.pitch]
        out[i] = <short>((<int>whole[i] * (256 - (j.missing * BLOCK + i) * 256 // (GIVE_UP * BLOCK))) >> 8)
    _remember(j, whole)


cdef int _quiet(const short* x) noexcept nogil:
    cdef int i, sum = 0
    for i in range(BLOCK):
        sum += x[i] if x[i] >= 0 else -x[i]
    return sum < QUIET * BLOCK


cdef int _peek(Jitter* j, uint32_t ts, short* out) noexcept nogil:
    cdef int i, at, n = 0
    for i in range(BLOCK):
        at = (ts + i) & (JITTER_SPAN - 1)
        if j.valid[at]:
            out[i] = j.pcm[at]
            n += 1
    return n


cdef void _forget(Jitter* j, uint32_t ts) noexcept nogil:
    cdef int i
    for i in range(BLOCK):
        j.valid[(ts + i) & (JITTER_SPAN - 1)] = 0


cdef int jitter_get(Jitter* j, uint64_t tick, short* out) noexcept nogil:
    """The next 80 samples; returns 1 for received audio, 2 concealed, 0 nothing."""
    cdef short fresh[80]
    cdef int32_t delay, base, peak, error
    cdef int n, i, quiet, extra, w
    if not j.started or j.holding:
        memset(out, 0, BLOCK * sizeof(short))
        return 0
    j.window += 1
    if j.window % WINDOW == 0:
        j.base[1] = j.base[0]
        j.base[0] = 0x3FFFFFFF
    if j.window % (2 * WINDOW) == 0:
        j.peak[1] = j.peak[0]
        j.peak[0] = -0x3FFFFFFF
    base = j.base[0] if j.base[0] < j.base[1] else j.base[1]
    peak = j.peak[0] if j.peak[0] > j.peak[1] else j.peak[1]
    if base < 0x3FFFFFFF and peak > -0x3FFFFFFF:
        j.target = peak - base + BLOCK
        if j.target < j.least:
            j.target = j.least
        if j.target > j.most:
            j.target = j.most
    else:
        base = <int32_t>(<uint32_t>(tick * BLOCK) - j.play_ts - j.ref) - j.target
    delay = <int32_t>(<uint32_t>(tick * BLOCK) - j.play_ts - j.ref)
    error = delay - base - j.target
    n = _peek(j, j.play_ts, fresh)
    quiet = _quiet(fresh) if n == BLOCK else 1
    j.over = j.over + 1 if error >= BLOCK else 0
    j.under = j.under + 1 if error <= -BLOCK else 0
    if j.over > 100 and (quiet or j.over > 150) or error > j.most:
        extra = error // BLOCK if quiet and error > 4 * BLOCK else 1
        for i in range(extra):
            _forget(j, j.play_ts)
            j.play_ts += BLOCK
        j.dropped += extra
        j.over = 50             # not again within half a second
        n = _peek(j, j.play_ts, fresh)
    elif j.under > 0 and (n < BLOCK or quiet or j.under > 50):
        _conceal(j, out)        # wait one block for a fuller buffer
        j.missing += 1 if j.missing <= GIVE_UP else 0
        j.inserted += 1
        j.under = 0
        return 2
    if n == BLOCK:
        memcpy(out, fresh, BLOCK * sizeof(short))
        if 0 < j.missing <= GIVE_UP:    # fade from the concealed signal to the real one over 4 ms
            _conceal(j, fresh)
            for i in range(32):
                w = i * 8
                out[i] = <short>((<int>fresh[i] * (256 - w) + <int>out[i] * w) >> 8)
            memcpy(&j.past[160], out, BLOCK * sizeof(short))
        else:
            _remember(j, out)
        j.missing = 0
    else:
        if <int32_t>(j.top_ts - j.play_ts) <= 0 and j.missing >= GIVE_UP:
            j.holding = 1
            memset(out, 0, BLOCK * sizeof(short))
            return 0
        _conceal(j, out)
        for i in range(BLOCK):
            if j.valid[(j.play_ts + i) & (JITTER_SPAN - 1)]:
                out[i] = j.pcm[(j.play_ts + i) & (JITTER_SPAN - 1)]
        if j.missing <= GIVE_UP:
            j.missing += 1
            j.lost += 1
    _forget(j, j.play_ts)
    j.play_ts += BLOCK
    return 1 if n else 2
