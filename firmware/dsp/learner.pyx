# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A line's disconnect tone derived from one natural hang-up.

Theory of operation. While a call runs, `learn_keep` stores the last 24 s of what the tone front end (`tone_track.pyx`) has high-passed, one
byte per sample under a scale per 10 ms: 40 dB is more than any decision below needs. When the call has ended and the line may have
told it by tone, `learn_tone` looks at it once, outside the tick, and without any idea of the country:

1. Spectra of 30 ms every 10 ms. A frame whose energy lies about one or two peaks is a candidate; frequencies that stay the same for
   50 ms and more vote, and the strongest accumulations (at most four) are tried.
2. The frequencies of a candidate from its longest bursts: the highest of the tapered spectrum, sought to 0.1 Hz; what remains after its
   removal may hold a second one within 12 dB, and both are sought again without the other (relaxation). Two frequencies 25 Hz apart
   are told apart in 100 ms. Median over up to eight bursts; they must agree within 1.5 %.
3. Bursts as the detector sees them (`tone_track.pyx`): share of the tone in 20 ms windows, quiet between, edges from energy.
4. Rhythm: for 1 to 4 bursts per cycle the longest run in which lengths, pauses and levels repeat (15 % of the running mean, 22 % while that
   is of one or two, so that a cheap exchange's 10 % jitter passes); the shortest cycle that explains nearly as much as the best one wins.

Nothing is learnt from what has no repeating pattern, from continuous tones, from ringback (pauses over 1.6 s), from keys (pairs of the
DTMF plan), from a hum and its octave, from notes that decay, or when other sound goes on after the tone: who has left does not speak. Confidence halves its
doubt with each repetition and falls with impurity and jitter. Levels as everywhere: 0 dBm0 is a sine of peak 22 750.
Sources: ITU-T E.180 (cadences of busy and congestion: period 300 to 1600 ms, national ones to 4 s).
Invariants: bounded memory given by the caller, no allocation; the result depends on the samples only, not on how they were fed.
"""
from libc.math cimport fabs, log10
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from firmware.dsp.learner_pitch cimport *
from firmware.dsp.tone_track cimport ToneFront, tone_basis_add, tone_front_feed, tone_front_init

cdef extern from "kernels.h" nogil:
    float kernel_energy(const float* a, int n)

cdef extern from "tone_kernels.h" nogil:
    float tone_fold(const float* w, float* even, float* odd)
    void tone_dot2(const float* a, const float* b, const float* x, float* out_a, float* out_b)

cdef extern from "learner_kernels.h" nogil:
    float learn_pack(const float* x, signed char* out)

cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef float FLOOR = 22750.0 * 22750.0 / 2.0 * 5.0e-5     # -43 dBm0
cdef float QUIET = 22750.0 * 22750.0 / 2.0 * 2.51e-5    # -46 dBm0
cdef float LOUDEST = 1.0e12
cdef float PURE = 0.80
cdef int DOUBT_FRAMES = 3
cdef double LONGEST_PAUSE = 1600.0
cdef double LONGEST_BURST = 3500.0
cdef int AFTER_FRAMES = 150                             # other sound after the tone: 1.5 s of "hello?"


cdef void learn_reset(LearnRing* ring) noexcept nogil:
    ring.frames = 0             # no frame is looked at that was not kept since: neither cleared nor touched before its turn


cdef void learn_keep(LearnRing* ring, const ToneFront* front) noexcept nogil:
    """Store the frame that the front end has just completed."""
    cdef LearnFrame* f = &ring.frame[ring.frames % LEARN_FRAMES]
    f.power = kernel_energy(front.window, 80) / 80
    f.scale = learn_pack(front.window, f.sample)
    ring.frames += 1


cdef void _basis(LearnWork* w, const LearntTone* tone) noexcept nogil:
    cdef int i, k
    w.dims = 0
    for i in range(tone.nfreq):
        for k in range(2):
            if tone_basis_add(w.even, w.odd, w.dims, tone.freqs[i] + (k * 2 - 1) * 12.0) == 0:
                w.dims += 1


cdef int _close(LearnWork* w, int from_, int to, float before, float after) noexcept nogil:
    """Measure the burst of frames from_..to-1 (powers in `share`) between its edge frames; 0 when it is none."""
    cdef double steady = 0.0, moment = 0.0, power = before + after, centre = before * (from_ - 1.0) + after * to, at, n = 0
    cdef LearnBurst* b = &w.burst[w.bursts]
    cdef int i
    for i in range(from_, to):
        power += w.share[i]
        centre += <double>w.share[i] * i
        if from_ < i < to - 1:
            steady += w.share[i]
            moment += <double>w.share[i] * n
            n += 1
    if n < 2 or w.bursts >= LEARN_BURSTS:
        return 0
    at = moment / steady - 0.5 * (n - 1)
    if n >= 6 and fabs(at) > 0.06 * n:                  # it decays or swells
        return 0
    steady /= n
    b.start = 10.0 * (centre / power) - 5.0 * power / steady
    b.end = b.start + 10.0 * power / steady
    b.dbm0 = <float>(10.0 * log10(steady / POWER_0DBM0))
    return 1


cdef float _ceiling(const LearnRing* ring, const LearnWork* w, int count, double near) noexcept nogil:
    """10 dB above the middle one of the frames that have the pitch `near`."""
    cdef int of_db[64]
    cdef int i, db, have = 0, below = 0
    memset(of_db, 0, sizeof(of_db))
    for i in range(count):
        if w.pitch[i] > 0 and fabs(w.pitch[i] - near) < 14.0:
            db = <int>(10.0 * log10(learn_frame(ring, count, i).power / FLOOR))
            of_db[db if 0 <= db < 64 else 63 if db > 0 else 0] += 1
            have += 1
    for db in range(64):
        below += of_db[db]
        if 2 * below >= have:
            break
    return <float>(FLOOR * 10.0 ** (0.1 * db + 1.0))


cdef void _find_bursts(const LearnRing* ring, LearnWork* w, int count, float ceiling) noexcept nogil:
    """Bursts of the tone in the basis, with what lay between them. What is louder than `ceiling` is other sound."""
    cdef float window[160]
    cdef float even[80]
    cdef float odd[80]
    cdef float total, share, a, b, c, d, before = 0.0, purity = 0.0, reference = 0.0
    cdef int i, k, state = 0, doubt = 0, from_ = 0, last = 0, broken = 1, pure = 0
    cdef bint tone, quiet
    w.bursts = w.tonal = w.other = w.quiet = 0
    for i in range(1, count):
        learn_sound(ring, count, i - 1, 160, window)
        total = tone_fold(window, even, odd)
        w.share[i] = total / 160
        share = 0.0
        if w.share[i] > FLOOR:
            k = 0
            while k < w.dims:
                tone_dot2(w.even[k], w.even[k + 1], even, &a, &b)
                tone_dot2(w.odd[k], w.odd[k + 1], odd, &c, &d)
                share += a * a + b * b + c * c + d * d
                k += 2
            share /= total
        tone = share >= PURE and w.share[i] < ceiling and not (state == 0 and w.share[i] < <float>0.01 * reference)
        quiet = not tone and (w.share[i] < QUIET or w.share[i] < <float>0.1 * reference)
        w.tonal += tone
        w.quiet += quiet
        w.other += not tone and not quiet
        w.first[i] = 1 if tone else 0 if quiet else 2
        if state == 1:
            if tone:
                last = i
                doubt = 0
                purity += share
                pure += 1
                if i - from_ >= 2 and w.share[i] > reference:
                    reference = w.share[i]
            elif quiet:
                if _close(w, from_, last + 1, before, w.share[last + 1]):
                    w.burst[w.bursts].broken = broken
                    w.burst[w.bursts].purity = purity / pure
                    w.bursts += 1
                    broken = 0
                else:
                    broken = 1
                state = 0
                doubt = 0
            else:
                doubt += 1
                if doubt > DOUBT_FRAMES:
                    state = 2
                    broken = 1
        elif tone:
            state = 1
            from_ = last = i
            doubt = 0
            before = w.share[i - 1] if not w.first[i - 1] == 1 and i > 1 else 0.0
            purity = share
            pure = 1
            reference = w.share[i]
        elif quiet:
            state = 0
            doubt = 0
        else:
            doubt += 1
            if doubt > DOUBT_FRAMES:
                state = 2
                broken = 1
                reference = 0.0
    if state == 1 and last + 1 >= count - 1 and last - from_ > 100 and _close(w, from_, last + 1, before, 0.0):
        w.burst[w.bursts].broken = broken               # still sounding: it may be a continuous tone
        w.burst[w.bursts].purity = purity / pure
        w.bursts += 1


cdef int _run(const LearnWork* w, int first, int k, LearntTone* out) noexcept nogil:
    """Bursts from `first` on that repeat every `k`; fills cadence and levels with their means."""
    cdef double on[4]
    cdef double off[4]
    cdef double level[4]
    cdef int ons[4]
    cdef int offs[4]
    cdef double length, pause, worst = 0.0, mean
    cdef int j, slot, n = 0
    for j in range(4):
        on[j] = off[j] = level[j] = 0.0
        ons[j] = offs[j] = 0
    for j in range(first, w.bursts):
        slot = (j - first) % k
        if j > first:
            if w.burst[j].broken:
                break
            pause = w.burst[j].start - w.burst[j - 1].end
            mean = off[(slot + k - 1) % k] / offs[(slot + k - 1) % k] if offs[(slot + k - 1) % k] else pause
            if fabs(pause - mean) > (0.15 if offs[(slot + k - 1) % k] > 2 else 0.22) * mean + 10.0 or pause > 6000.0:
                break
        length = w.burst[j].end - w.burst[j].start
        if ons[slot]:
            mean = on[slot] / ons[slot]
            if fabs(length - mean) > (0.15 if ons[slot] > 2 else 0.22) * mean + 10.0 or fabs(w.burst[j].dbm0 - level[slot] / ons[slot]) > 3.0:
                break
        if j > first:
            slot = (slot + k - 1) % k
            off[slot] += pause
            offs[slot] += 1
            slot = (j - first) % k
        on[slot] += length
        level[slot] += w.burst[j].dbm0
        ons[slot] += 1
        n += 1
    if n <= k:
        return 0
    out.nphases = 2 * k
    out.level_dbm0 = -200.0
    for j in range(k):
        out.cadence_ms[2 * j] = <int>(on[j] / ons[j] + 0.5)
        out.cadence_ms[2 * j + 1] = <int>(off[j] / offs[j] + 0.5)
        out.level_db[2 * j] = <float>(level[j] / ons[j])
        if out.level_db[2 * j] > out.level_dbm0:
            out.level_dbm0 = out.level_db[2 * j]
    out.purity = 0.0
    for j in range(first, first + n):
        slot = (j - first) % k
        out.purity += w.burst[j].purity / n
        mean = on[slot] / ons[slot]
        length = fabs(w.burst[j].end - w.burst[j].start - mean) / mean
        worst = length if length > worst else worst
    for j in range(2 * k):
        out.level_db[j] = 0.0 if j & 1 else out.level_db[j] - out.level_dbm0
        if fabs(out.level_db[j]) < 2.0:
            out.level_db[j] = 0.0
    out.jitter = <float>worst
    out.repetitions = n // k
    return n


cdef bint _fits(double got, double want) noexcept nogil:
    return fabs(got - want) <= 0.15 * want + 10.0


cdef int _since(const LearnWork* w, int first, const LearntTone* t) noexcept nogil:
    """The first burst of a rhythm that is known from `first` on: neither sound in a pause nor one lost burst hides what was before it."""
    cdef int j, slot, lost, after = 0, k = t.nphases // 2
    cdef double pause
    for j in range(first - 1, -1, -1):
        pause = 0.0
        for lost in range(2):
            slot = (after + 2 * k - 1 - lost) % k
            pause += t.cadence_ms[2 * slot + 1]
            if (
                _fits(w.burst[j].end - w.burst[j].start, t.cadence_ms[2 * slot])
                and _fits(w.burst[j + 1].start - w.burst[j].end, pause)
                and fabs(w.burst[j].dbm0 - t.level_dbm0 - t.level_db[2 * slot]) <= 3.0
            ):
                break
            pause += t.cadence_ms[2 * slot]
        else:
            return j + 1
        after = slot
    return 0


cdef int _rhythm(LearnWork* w, LearntTone* out) noexcept nogil:
    """The cadence that explains most bursts; the index past its last one, 0 for none."""
    cdef LearntTone tried = out[0]
    cdef int k, first, n, best = 0, end = 0, start = 0
    out.nphases = 0
    for k in range(1, 5):
        for first in range(w.bursts):
            n = _run(w, first, k, &tried)
            if n < (3 if k == 1 else 2 * k):
                continue
            if n > best + best // 4 + (0 if k == out.nphases // 2 else 1) or (k == out.nphases // 2 and n > best):
                best = n
                out[0] = tried
                start = first
                end = first + n
    if best:
        first = _since(w, start, out)
        k = out.nphases // 2
        _turn(out, k)
        out.start_ms_ago = <int>w.burst[first].start    # since the oldest frame; the caller turns it round
    return end


cdef bint _longer(int a, int b) noexcept nogil:
    """By more than the means of a jittered cadence may differ."""
    return a > b + b // 8 + 20


cdef void _turn(LearntTone* out, int k) noexcept nogil:
    """Start a cadence of several bursts after its longest pause, so that one tone has one description."""
    cdef int cadence[8]
    cdef float level[8]
    cdef int i, at = 0
    for i in range(2 * k):
        cadence[i] = out.cadence_ms[i]
        level[i] = out.level_db[i]
        if i & 1 and _longer(cadence[i], cadence[2 * at + 1]):
            at = i // 2
    if fabs(level[0]) < 2.0 and not _longer(cadence[2 * at + 1], cadence[2 * k - 1]):
        return
    at = (at + 1) % k
    for i in range(k):                                  # equal pauses: the loudest burst comes first
        if _longer(cadence[2 * ((at + k - 1) % k) + 1], cadence[2 * ((i + k - 1) % k) + 1]):
            continue
        if level[2 * i] > level[2 * at] + 2.0:
            at = i
    for i in range(2 * k):
        out.cadence_ms[i] = cadence[(i + 2 * at) % (2 * k)]
        out.level_db[i] = level[(i + 2 * at) % (2 * k)]


cdef bint _keys(const LearntTone* t) noexcept nogil:
    """A pair of the DTMF plan (ITU-T Q.23) within 2 %."""
    cdef double low[4]
    cdef double high[4]
    cdef int i
    cdef bint is_low = False, is_high = False
    low[0], low[1], low[2], low[3] = 697.0, 770.0, 852.0, 941.0
    high[0], high[1], high[2], high[3] = 1209.0, 1336.0, 1477.0, 1633.0
    if t.nfreq != 2:
        return False
    for i in range(4):
        is_low = is_low or fabs(t.freqs[0] - low[i]) < 0.02 * low[i]
        is_high = is_high or fabs(t.freqs[1] - high[i]) < 0.02 * high[i]
    return is_low and is_high


cdef int _judge(LearnWork* w, LearntTone* out, int count) noexcept nogil:
    """Whether the cadence in `out` may be a disconnect tone: LEARN_DONE or why not."""
    cdef int i, end, after = 0, least
    cdef float doubt = 1.0, quality
    cdef double longest = 0.0, pause = 0.0
    for i in range(w.bursts):
        if w.burst[i].end - w.burst[i].start > longest:
            longest = w.burst[i].end - w.burst[i].start
    end = _rhythm(w, out)
    if not end:
        return LEARN_CONTINUOUS if longest > 2500.0 else LEARN_FEW if w.bursts and w.bursts < 3 else LEARN_MUSIC
    for i in range(out.nphases):
        if i & 1 and out.cadence_ms[i] > pause:
            pause = out.cadence_ms[i]
        if not i & 1 and out.cadence_ms[i] > LONGEST_BURST:
            return LEARN_CONTINUOUS
    if _keys(out):
        return LEARN_KEYS
    if out.nfreq == 2 and fabs(out.freqs[1] - 2.0 * out.freqs[0]) < 0.02 * out.freqs[1]:
        return LEARN_SPEECH                             # a hum and its octave
    if pause > LONGEST_PAUSE:
        return LEARN_RINGBACK
    least = 3 if out.nphases <= 4 else 2
    if out.repetitions < least:
        return LEARN_FEW
    for i in range(<int>(w.burst[end - 1].end / 10.0) + 3, count):
        after += w.first[i] == 2
    if after > AFTER_FRAMES or (after > 20 and out.repetitions < least + 1):
        return LEARN_SPEECH
    for i in range(out.repetitions * (out.nphases // 2) if out.repetitions < 8 else 8):
        doubt *= <float>0.6
    quality = (out.purity - PURE) * <float>5.0
    quality = <float>0.75 + <float>0.25 * (quality if quality > 0 else <float>0.0)
    out.confidence = (1 - doubt) * (quality - out.jitter * <float>0.5)
    return LEARN_DONE


cdef int learn_tone(const LearnRing* ring, LearnWork* w, LearntTone* out) noexcept nogil:
    """Derive the tone; returns `out.reason`. Takes milliseconds, so it is not for the tick; the ring must not be written meanwhile."""
    cdef int count = <int>(ring.frames if ring.frames < LEARN_FRAMES else LEARN_FRAMES)
    cdef int i, k, best, tries, loud = 0, pure = 0, worst = LEARN_SPEECH
    memset(out, 0, sizeof(LearntTone))
    if count < 150:
        out.reason = LEARN_SHORT
        return out.reason
    learn_spectra(ring, w, count)
    for i in range(count):
        loud += learn_frame(ring, count, i).power > FLOOR
        pure += w.pitch[i] > 0
    if loud < 30:
        out.reason = LEARN_SILENCE
        return out.reason
    learn_vote(w, count)
    if pure > loud * 2 // 5:
        worst = LEARN_MUSIC
    for tries in range(4):
        best = 0
        for i in range(512):
            if w.votes[i] > w.votes[best]:
                best = i
        if w.votes[best] < 80:
            break
        memset(out, 0, sizeof(LearntTone))
        if learn_frequencies(ring, w, count, (best + 0.5) * LEARN_VOTE_HZ, out):
            _basis(w, out)
            _find_bursts(ring, w, count, LOUDEST)
            k = _judge(w, out, count)
            if k == LEARN_MUSIC or k == LEARN_FEW:      # a loud syllable of the same pitch makes softer bursts look like its echo
                _find_bursts(ring, w, count, _ceiling(ring, w, count, (best + 0.5) * LEARN_VOTE_HZ))
                k = _judge(w, out, count)
            if k == LEARN_DONE:
                out.start_ms_ago = count * 10 - out.start_ms_ago
                out.level_dbm0 -= <float>(10.0 * log10(<double>out.nfreq))
                out.reason = LEARN_DONE
                return LEARN_DONE
            if k != LEARN_SPEECH and k != LEARN_MUSIC and tries == 0 and w.tonal * 3 > w.other:
                worst = k
        for i in range(512):
            if -8 <= i - best <= 8:
                w.votes[i] = 0
    memset(out, 0, sizeof(LearntTone))
    out.reason = worst
    return worst


REASONS = {
    LEARN_SHORT: "too little was heard", LEARN_SILENCE: "silence", LEARN_SPEECH: "speech", LEARN_MUSIC: "music",
    LEARN_CONTINUOUS: "a continuous tone", LEARN_RINGBACK: "ringback", LEARN_KEYS: "keys", LEARN_FEW: "too few equal cycles",
}


class LearnedTone:
    """A disconnect tone as measured: frequencies in Hz, cadence (on, off, ...) in ms, level of each frequency in dBm0."""

    __slots__ = ("cadence_ms", "confidence", "freqs_hz", "jitter", "level_dbm0", "phase_levels_db", "purity", "repetitions", "start_ms_ago")

    def __init__(self, freqs_hz, cadence_ms, level_dbm0, phase_levels_db, repetitions, confidence, purity, jitter, start_ms_ago):
        self.freqs_hz = freqs_hz
        self.cadence_ms = cadence_ms
        self.level_dbm0 = level_dbm0
        self.phase_levels_db = phase_levels_db
        self.repetitions = repetitions
        self.confidence = confidence
        self.purity = purity
        self.jitter = jitter
        self.start_ms_ago = start_ms_ago

    def __repr__(self):
        return (f"LearnedTone({self.freqs_hz} Hz, {self.cadence_ms} ms, {self.level_dbm0:.1f} dBm0, {self.repetitions} times, "
                f"confidence {self.confidence:.2f})")


cdef class ToneLearner:
    """Keeps the last 24 s of a line and derives its disconnect tone from one natural hang-up."""

    cdef ToneFront front
    cdef LearnRing* ring
    cdef LearnWork* work
    cdef readonly str reason

    def __cinit__(self, sample_rate=8000):
        if tone_front_init(&self.front, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate}: give 8000 or 16000")
        self.ring = <LearnRing*>calloc(1, sizeof(LearnRing))
        self.work = <LearnWork*>calloc(1, sizeof(LearnWork))
        self.reason = ""
        if self.ring == NULL or self.work == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.ring)
        free(self.work)

    def feed(self, samples) -> None:
        """Take 16-bit little-endian samples of any number."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, used = 0
        cdef const short* x
        if raw.shape[0] & 1:
            raise ValueError(f"{raw.shape[0]} bytes are no whole number of 16-bit samples")
        if n == 0:
            return
        x = <const short*>&raw[0]
        with nogil:
            while at < n:
                if tone_front_feed(&self.front, x + at, n - at, &used):
                    learn_keep(self.ring, &self.front)
                at += used

    def learn(self):
        """The disconnect tone in what was kept, or None; `reason` then says why."""
        cdef LearntTone t
        with nogil:
            learn_tone(self.ring, self.work, &t)
        self.reason = REASONS.get(t.reason, "")
        if t.reason != LEARN_DONE:
            return None
        levels = tuple([t.level_db[i] for i in range(t.nphases)])
        return LearnedTone(
            tuple([t.freqs[i] for i in range(t.nfreq)]), tuple([t.cadence_ms[i] for i in range(t.nphases)]), t.level_dbm0,
            levels if any(levels) else (), t.repetitions, t.confidence, t.purity, t.jitter, t.start_ms_ago)

    def clear(self) -> None:
        """Forget what was kept, as at the start of a call."""
        learn_reset(self.ring)
