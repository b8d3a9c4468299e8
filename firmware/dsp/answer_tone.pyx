# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fax calling and answer tones, modem answer tones: CNG, CED/ANS, ANS with phase reversals, ANSam.

Theory of operation. Works on the frames of a tone front end (`tone_track.pyx`: high-passed, 20 ms windows every 10 ms), so a port that listens for
call-progress tones pays for the projections only. A frame is pure when 80 % of its energy lies in the band: 1100 +-38 Hz (T.30) or
2100 +-15 Hz (V.25, V.8), at -43 dBm0 or more; speech and music are not for long.

2100 Hz: after half a second it is CED (T.30 and V.25 ANS are one tone). The phase of each pure frame is compared with that of the last one,
turned on by the mean advance per frame (which is the frequency offset); a jump of more than 135 degrees, at least 300 ms after the last,
is a reversal (V.25: 180 +-10 every 450 +-25 ms). The window that holds the jump cancels itself and is not pure, hence gaps of up to 4 frames are
bridged. Modulation: envelope of the last 400 ms against 15 Hz; 20 % of the line are 17 % behind a window of 20 ms, 9 to 27 % are taken.
What is learnt later is reported as a further event of the better name; ANSWER_END tells the length. Notes of that pitch are told apart by
three things: they fade (the halves of those 400 ms must be within 1.1 dB), others sound with them (beside the tone there may be 4 % of its
power, and the noise there was before), and others went before (a modem is silent before its tone; where there was sound in the last
200 ms, a second and a half of it are asked).

1100 Hz: a burst of 0.5 s +-15 % between quiet, steady in level (a note swells or fades: its variance is above 2 %), within 43 Hz of
nominal; its second at 3.5 s +-15 % makes it sure.
Invariants: no allocation, no pointers, independent of buffer sizes; at most two hits per frame.
"""
from libc.math cimport M_PI, atan2, cos, fabs, log10, sin, sqrt
from libc.string cimport memset

from firmware.dsp.tone_track cimport ToneFront, tone_basis_add, tone_front_feed, tone_front_init

cdef extern from "tone_kernels.h" nogil:
    void tone_dot2(const float* a, const float* b, const float* x, float* out_a, float* out_b)

cdef float POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef float FLOOR = 22750.0 * 22750.0 / 2.0 * 4.0e-5     # -44 dBm0: -43 and a little line
cdef float PURE = 0.80
cdef int SURE_FRAMES = 50
cdef int SURE_AFTER_SOUND = 150
cdef float BESIDE = 0.04                                # of the tone's power: what else there may be
cdef float QUIET = 0.2                                  # of the tone's power
cdef float UNEVEN = 0.02                                # variance of the power of a burst, of its mean squared
cdef float FADING = 0.85                                # per frame: 8 dB in 100 ms, 16 in 200
cdef float STEADY = 0.88                                # as a ratio of amplitudes
cdef int GAP_FRAMES = 4
cdef int BETWEEN_REVERSALS = 30


cdef int answer_init(AnswerTones* a) noexcept nogil:
    cdef double freqs[5]
    cdef int i
    memset(a, 0, sizeof(AnswerTones))
    freqs[0], freqs[1], freqs[2], freqs[3], freqs[4] = 1100.0, 1066.0, 1134.0, 2100.0, 2114.0
    for i in range(ANSWER_DIMS):
        if tone_basis_add(a.even, a.odd, i, freqs[i]) < 0:
            return -1
    for i in range(ANSWER_ENVELOPE):
        a.wave_re[i] = <float>cos(2.0 * M_PI * 15.0 * 0.01 * i)
        a.wave_im[i] = <float>sin(2.0 * M_PI * 15.0 * 0.01 * i)
    return 0


cdef int _hit(AnswerHit* hit, int kind, int start_ms_ago, int duration_ms, float power, float confidence) noexcept nogil:
    hit.kind = kind
    hit.start_ms_ago = start_ms_ago
    hit.duration_ms = duration_ms
    hit.level_dbm0 = <float>(10.0 * log10((power if power > 1 else 1) / POWER_0DBM0))
    hit.confidence = confidence
    return 1


cdef float _modulation(const AnswerTones* a) noexcept nogil:
    """Depth of 15 Hz in the envelope."""
    cdef float re = 0.0, im = 0.0, mean = 0.0
    cdef int i
    for i in range(ANSWER_ENVELOPE):
        mean += a.envelope[i]
    mean /= ANSWER_ENVELOPE
    for i in range(ANSWER_ENVELOPE):
        re += (a.envelope[i] - mean) * a.wave_re[i]
        im += (a.envelope[i] - mean) * a.wave_im[i]
    if mean <= 0:
        return 0.0
    return 2 * <float>sqrt(re * re + im * im) / (mean * ANSWER_ENVELOPE)


cdef bint _steady(const AnswerTones* a) noexcept nogil:
    """The two halves of the envelope are equal: nothing is struck, plucked or fading. Each holds three periods of 15 Hz."""
    cdef float older = 0.0, newer = 0.0
    cdef int i
    for i in range(ANSWER_ENVELOPE // 2):
        older += a.envelope[(a.filled + i) % ANSWER_ENVELOPE]
        newer += a.envelope[(a.filled + ANSWER_ENVELOPE // 2 + i) % ANSWER_ENVELOPE]
    return newer > STEADY * older and older > STEADY * newer


cdef bint _alone(const AnswerTones* a) noexcept nogil:
    """It came out of quiet, nothing sounds with it, and it stands: no note of a melody."""
    if a.frames < SURE_AFTER_SOUND and a.sounded * a.pure > QUIET * a.level:
        return False
    return a.rest < BESIDE * a.level + 2 * a.sounded * a.pure and _steady(a)


cdef void _listen_before(AnswerTones* a, float power) noexcept nogil:
    """One frame that is not of the tone."""
    a.sounded *= FADING
    if a.sounded_before[1] > a.sounded:
        a.sounded = a.sounded_before[1]
    a.sounded_before[1] = a.sounded_before[0]
    a.sounded_before[0] = power


cdef bint _reversed(AnswerTones* a, float re, float im) noexcept nogil:
    """Compare a pure frame's phase with the last one's, turned on over the gap."""
    cdef float size = <float>sqrt(a.turn_re * a.turn_re + a.turn_im * a.turn_im)
    cdef float c = a.turn_re / size if size > 0 else <float>1.0, s = a.turn_im / size if size > 0 else <float>0.0
    cdef float x = a.last_re, y = a.last_im, t
    cdef int i
    for i in range(a.gap + 1):
        t = x * c - y * s
        y = x * s + y * c
        x = t
    t = x * re + y * im
    return t < <float>-0.7 * <float>sqrt((x * x + y * y) * (re * re + im * im))


cdef int _answer(AnswerTones* a, bint pure, float share, float power, float re, float im, AnswerHit* hit) noexcept nogil:
    """2100 Hz: one frame; returns 1 and a hit when there is something to tell."""
    cdef float mean
    cdef int kind, i
    cdef bint am
    if not pure:
        if a.frames == 0:
            _listen_before(a, power)
            return 0
        a.gap += 1
        a.frames += 1
        a.since_reversal += 1
        if a.gap <= GAP_FRAMES:
            i = a.filled % ANSWER_ENVELOPE
            a.envelope[i] = <float>sqrt(a.level / a.pure)
            a.filled += 1
            return 0
        kind = a.kind
        i = a.frames - a.gap
        mean = a.level / a.pure
        a.frames = a.gap = a.kind = a.reversals = a.pure = a.filled = a.since_reversal = 0
        a.level = a.rest = a.turn_re = a.turn_im = 0.0
        a.sounded = a.sounded_before[0] = a.sounded_before[1] = mean
        return _hit(hit, ANSWER_END, (i + GAP_FRAMES + 1) * 10, (i + 1) * 10, mean, 1.0) if kind else 0
    if a.frames == 0:
        a.since_reversal = 0
    elif a.gap == 0:
        a.turn_re = a.turn_re * <float>0.97 + re * a.last_re + im * a.last_im
        a.turn_im = a.turn_im * <float>0.97 + im * a.last_re - re * a.last_im
    elif a.pure > 10 and _reversed(a, re, im):
        a.reversals = a.reversals + 1 if a.since_reversal >= BETWEEN_REVERSALS else 0
        a.since_reversal = 0
    a.since_reversal += 1
    a.frames += 1
    a.gap = 0
    a.last_re = re
    a.last_im = im
    a.level += power
    a.rest += power * (1 - share)
    a.pure += 1
    a.envelope[a.filled % ANSWER_ENVELOPE] = <float>sqrt(power * share)
    a.filled += 1
    if a.frames < SURE_FRAMES or a.filled < ANSWER_ENVELOPE or a.frames > 600:
        return 0
    kind = a.kind
    if kind == 0 and not _alone(a):
        return 0
    if a.frames % 10 == 0 and (kind == 0 or kind == ANSWER_CED or kind == ANSWER_REVERSED):
        mean = _modulation(a)
        am = <float>0.09 < mean < <float>0.27
    else:
        am = kind == ANSWER_ANSAM or kind == ANSWER_ANSAM_REVERSED
    if kind == 0 and a.frames % 10 != 0:
        return 0
    kind = ANSWER_ANSAM if am else ANSWER_CED
    if a.reversals > 0:
        kind = ANSWER_ANSAM_REVERSED if am else ANSWER_REVERSED
    if kind == a.kind or (a.kind != 0 and kind == ANSWER_CED):
        return 0
    a.kind = kind
    return _hit(hit, kind, a.frames * 10 + 5, a.frames * 10, a.level / a.pure, 0.8 if kind == ANSWER_CED else 0.95)


cdef int _burst(AnswerTones* a, long long now_ms, AnswerHit* hit) noexcept nogil:
    """A sound of 1100 Hz ended in quiet: is it CNG?"""
    cdef float steady, ms, middle, uneven
    cdef double turn
    cdef long long start, step
    if a.steady_frames < 20:
        return 0
    steady = a.steady_power / a.steady_frames
    if a.earlier > <float>0.1 * steady:                 # it did not come out of quiet
        return 0
    ms = 10 * a.sum_power / steady
    middle = a.steady_moment / a.steady_power - <float>0.5 * (a.steady_frames - 1)
    uneven = a.steady_square / (a.steady_frames * steady * steady) - 1
    turn = atan2(a.cng_turn_im, a.cng_turn_re) / (2.0 * M_PI) * 100.0
    if ms < 415 or ms > 585 or fabs(middle) > 0.06 * a.steady_frames or uneven > UNEVEN or fabs(turn) > 43.0:
        return 0
    start = now_ms - 20 - <long long>ms
    step = start - a.last_start_ms
    if a.bursts and 2975 <= step <= 4025:
        a.bursts += 1
    else:
        a.bursts = 1
        a.first_start_ms = start
    a.last_start_ms = start
    if a.bursts > 2:
        return 0
    return _hit(hit, ANSWER_CNG, <int>(now_ms - a.first_start_ms), <int>ms, steady, 0.7 if a.bursts == 1 else 0.95)


cdef int _calling(AnswerTones* a, bint pure, float power, float re, float im, long long now_ms, AnswerHit* hit) noexcept nogil:
    """1100 Hz: one frame."""
    cdef bint quiet = not pure and (power < FLOOR / 2 or power < <float>0.1 * a.reference)
    cdef int found = 0
    if a.state == 1:
        if pure:
            a.sum_power += power
            a.tone_frames += 1
            if a.doubt == 0 and a.tone_frames > 2:
                a.steady_power += a.last_power
                a.steady_square += a.last_power * a.last_power
                a.steady_moment += a.last_power * a.steady_frames
                a.steady_frames += 1
                a.reference = a.steady_power / a.steady_frames
                a.cng_turn_re += re * a.cng_re + im * a.cng_im
                a.cng_turn_im += im * a.cng_re - re * a.cng_im
            a.doubt = 0
            a.last_power = power
        elif quiet:
            a.sum_power += power
            found = _burst(a, now_ms, hit)
            a.state = 0
        else:
            a.sum_power += power
            a.doubt += 1
            if a.doubt > 3:
                a.state = 2
                a.bursts = 0
    elif pure:
        a.earlier = a.second_before
        a.state = 1
        a.doubt = 0
        a.tone_frames = 1
        a.steady_frames = 0
        a.steady_power = a.steady_square = a.steady_moment = a.cng_turn_re = a.cng_turn_im = 0.0
        a.sum_power = power + a.before
        a.last_power = power
    elif quiet:
        a.state = 0
        a.doubt = 0
    else:
        a.doubt += 1
        if a.doubt > 3:
            a.state = 2
            a.reference = 0.0
    if pure:
        a.cng_re = re
        a.cng_im = im
    a.second_before = a.before
    a.before = power if not pure else 0.0
    return found


cdef int answer_frame(AnswerTones* a, const ToneFront* front, AnswerHit* hits) noexcept nogil:
    """Look at the frame that the front end has completed; fills at most two hits and returns how many."""
    cdef float p, q, r, s, t, u, calling = 0.0, answer = 0.0, re = 0.0, im = 0.0, cng_re = 0.0, cng_im = 0.0
    cdef float power = front.total / 160
    cdef int n = 0
    if power > FLOOR:
        tone_dot2(a.even[0], a.even[1], front.even, &p, &q)
        tone_dot2(a.odd[0], a.odd[1], front.odd, &r, &s)
        tone_dot2(a.even[2], a.even[3], front.even, &t, &u)
        cng_re = p
        cng_im = -r
        calling = p * p + q * q + r * r + s * s + t * t
        re = u
        answer = u * u
        tone_dot2(a.odd[2], a.odd[3], front.odd, &t, &u)
        calling += t * t
        im = -u
        answer += u * u
        tone_dot2(a.even[4], a.odd[4], front.even, &t, &u)
        answer += t * t
        tone_dot2(a.odd[4], a.even[4], front.odd, &t, &u)
        answer += t * t
        calling /= front.total
        answer /= front.total
    n += _answer(a, answer >= PURE, answer, power, re, im, &hits[n])
    n += _calling(a, calling >= PURE, power, cng_re, cng_im, front.frame * 10, &hits[n])
    return n


KINDS = {
    ANSWER_CNG: "cng", ANSWER_CED: "ced", ANSWER_REVERSED: "ans-reversed", ANSWER_ANSAM: "ansam", ANSWER_ANSAM_REVERSED: "ansam-reversed",
    ANSWER_END: "end",
}


class AnswerToneEvent:
    """`kind`: cng, ced, ans-reversed, ansam, ansam-reversed, or end of a 2100 Hz tone; times in ms, level in dBm0."""

    __slots__ = ("confidence", "duration_ms", "kind", "level_dbm0", "start_ms_ago")

    def __init__(self, kind, start_ms_ago, duration_ms, level_dbm0, confidence):
        self.kind = kind
        self.start_ms_ago = start_ms_ago
        self.duration_ms = duration_ms
        self.level_dbm0 = level_dbm0
        self.confidence = confidence

    def __repr__(self):
        return f"AnswerToneEvent({self.kind}, {self.duration_ms} ms, {self.level_dbm0:.1f} dBm0, began {self.start_ms_ago} ms ago)"


cdef class AnswerToneDetector:
    """Hears fax and modem tones in 16-bit samples of 8 or 16 kHz."""

    cdef ToneFront front
    cdef AnswerTones tones

    def __init__(self, sample_rate=8000):
        if tone_front_init(&self.front, sample_rate) < 0 or answer_init(&self.tones) < 0:
            raise ValueError(f"sample rate {sample_rate}: give 8000 or 16000")

    def feed(self, samples) -> list:
        """Take 16-bit little-endian samples of any number; returns the events, the oldest first."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, used = 0, k, i
        cdef AnswerHit hits[2]
        cdef const short* x
        cdef list found = []
        if raw.shape[0] & 1:
            raise ValueError(f"{raw.shape[0]} bytes are no whole number of 16-bit samples")
        if n == 0:
            return found
        x = <const short*>&raw[0]
        while at < n:
            k = 0
            with nogil:
                while at < n and k == 0:
                    if tone_front_feed(&self.front, x + at, n - at, &used):
                        k = answer_frame(&self.tones, &self.front, hits)
                    at += used
            for i in range(k):
                found.append(AnswerToneEvent(KINDS[hits[i].kind], hits[i].start_ms_ago + (n - at) // (8 * self.front.decimate),
                                             hits[i].duration_ms, hits[i].level_dbm0, hits[i].confidence))
        return found
