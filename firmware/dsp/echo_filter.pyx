# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Adaptive part of the line echo canceller: a partitioned frequency-domain Kalman filter and the judge over what is heard.

Theory of operation. Overlap-save blocks of n samples begin every hop (10 ms). The echo path is cut into partitions of two hops, so a
block has n - part + 1 valid results; the newest hop of them is heard, and the background learns from the newest `seen`, several hops
at once: every captured sample teaches it four times, which shortens convergence as an affine projection does, at the price of one
transform.

* *Learning*: each bin of each partition is a Kalman state. `var` is the variance of its error, `noise` the power of what is not
  echo, tracked from the error averaged over three bins; it falls fast where the error is far below it, so that the gaps of near
  speech are used. The step is var * conj(X) / (sum var |X|^2 + noise * n / seen): large while the path is unknown, small in a bin
  that near speech fills. Samples seen several times are no new evidence, so the variance shrinks by less (SHRINK), and once the path
  is known the noise counts as many times as a sample is seen (SPREAD). Steps are not limited to a partition's taps; instead a
  partition is trimmed to them in turn.
  What a trimmed partition knows of a bin it knows of its neighbours in part, so their variances are blended: a voice of few harmonics
  would else make the filter sure of what trimming has spoilt.
* *Effort*: while the filter is fresh (FRESH_HOPS of far sound after a start or a path change in which it was at least SETTLED deep) or
  poor, it learns every hop and trims two partitions. Later the background is looked at, taught and judged only once in the length of
  its window (`turn`), one partition trimmed each time. Two talkers from the first word on keep it fresh: it goes on learning at full
  rate in the gaps, which is worth 4 dB.
* *Near speech*: no hybrid returns more than it got. A bin with more is near speech and teaches nothing. A steady near tone that came
  back to us through another hybrid is in the reference, small and in step, and would else be explained by its own trace; so of a
  reference that is only tones, nothing but the tones themselves is learned from.
* *Judge*: the front takes the background's taps only after the background had the smaller error. Near speech may harm the background,
  never the heard filter. A background that stays worse is refilled; when the heard filter stays poor while the far end talks, the
  variances are raised so that a new path is learned. A filter that is right takes away as much power as its estimate has, whatever
  near speech there is; only one that does not may be given up as lost.
* *Trial*: an imported filter waits in the background, unchanged, until a few hops of echo have shown that it explains them by 10 dB, or
  that it gains most of its estimate; where it does not, it is forgotten without having been heard.
"""

from libc.string cimport memcpy, memset

from firmware.dsp.echo_state cimport EchoFilter, EchoState, Fft

cdef extern from "spectrum.h" nogil:
    ctypedef struct SpectrumRule:
        float share, up, down, deep, plunge, spread, reach, line, least
    void fft_forward(const Fft* f, const float* x, float* re, float* im)
    void fft_inverse(const Fft* f, const float* re, const float* im, float* x)
    void spectrum_predict(float* front_re, float* front_im, float* back_re, float* back_im, float* known, const float* xr,
                          const float* xi, const float* xp, const int* at, const float* fr, const float* fi, const float* br,
                          const float* bi, const float* var, int parts, int n)
    void spectrum_estimate(float* re, float* im, const float* xr, const float* xi, const int* at, const float* wr, const float* wi,
                           int parts, int n)
    void spectrum_highest(float* most, const float* power, int n)
    int spectrum_width(const float* power, float share, float* highest, int n)
    void spectrum_gains(float* inverse, float* noise, const float* known, const float* er, const float* ei, const float* most,
                        const SpectrumRule* rule, int n)
    void spectrum_learn(float* wr, float* wi, float* var, const float* xr, const float* xi, const float* xp, const float* inverse,
                        const float* er, const float* ei, float size, float shrink, float decay, float drift, float least, int n)
    void spectrum_blend(float* x, float share, int n)
    void sound_subtract(float* to, const float* x, const float* y, int n)

cdef float START_VAR = 0.14                             # of the whole path, shared by its partitions, before anything was learned
cdef float DOUBT = 0.1                                  # the same, where a filter was learned and is given up or on trial
cdef float DECAY = 0.9995                               # of the variance per block, before drift
cdef float DRIFT = 0.00005                              # share of |w|^2 the path may move per block
cdef float LEAST_VAR = 1e-9
cdef float STEP = 1.5
cdef float FRESH_STEP = 2.0
cdef float SHRINK = 0.38
cdef float SPREAD = 3.0
cdef float NOISE_UP = 0.5
cdef float NOISE_DOWN = 0.2
cdef float NOISE_PLUNGE = 0.7
cdef float DEEP = 0.15
cdef float BLEND = 0.5                                  # of the variances of neighbours, when a partition is trimmed
cdef int FRESH_HOPS = 80
cdef float SETTLED = 0.03                               # error over echo: 15 dB
cdef int MOST_TRIMS = 2                                 # in one hop
cdef float ENOUGH = 0.001                               # of the echo: 30 dB
cdef float UNKNOWN_RETURN = 0.075                       # of the reference's power, before there is a filter: 11 dB of hybrid loss
cdef float MOST_RETURN = 0.5                            # of the reference's power, in any bin
cdef int TONAL_HZ = 560                                 # two tones have no more within 20 dB of the strongest bin
cdef int TONAL_HOPS = 50                                # of nothing but tones: it is no voice
cdef float ADDED = 0.2                                  # echo estimate over captured power, when the filter is worse than none
cdef int ADDING_HOPS = 3
cdef float LINE = 0.006                                 # of the strongest bin; of a reference of few tones, bins below teach nothing
cdef float SLOWLY = 0.04
cdef int PATIENCE_HOPS = 60                             # before a first filter is taken in double talk
cdef float LEAST_MOVE = 3e-5
cdef int LOST_HOPS = 200
cdef float LOST_RATE = 0.02                             # of the powers by which a filter is found lost, per hop
cdef float LOST_SHARE = 0.7                             # of its estimate, that a filter which is not lost takes away
cdef float LOST_MOST = 1.4
cdef float TRUST = 0.02                                 # variance of an imported filter, of its power
cdef int TRIAL_HOPS = 25                                # of evidence
cdef int TRIAL_LEAST = 2
cdef int TRIAL_ENOUGH = 6
cdef float TRIAL_DEEP = 0.1                             # 10 dB: that is no accident
cdef float TRIAL_SHARE = 0.6                            # of its estimate, that a filter which is right gains among near speech
cdef float TRIAL_WRONG = 0.2
cdef float TRIAL_NEAR = 1.5
cdef float TRIAL_FLOOR = 100.0                          # mean square: -64 dBm0


cdef void _clear(EchoState* s, EchoFilter* filter) noexcept nogil:
    memset(filter.re, 0, <size_t>s.parts * s.bins * sizeof(float))
    memset(filter.im, 0, <size_t>s.parts * s.bins * sizeof(float))


cdef void _copy(const EchoState* s, EchoFilter* to, const EchoFilter* source) noexcept nogil:
    memcpy(to.re, source.re, <size_t>s.parts * s.bins * sizeof(float))
    memcpy(to.im, source.im, <size_t>s.parts * s.bins * sizeof(float))


cdef void _spread_variance(EchoState* s, float share) noexcept nogil:
    cdef int k
    for k in range(s.parts * s.bins):
        s.var[k] = share / s.parts


cdef void _loosen(EchoState* s, float share, float least) noexcept nogil:
    """Raises the variances: the path is no longer what it was."""
    cdef int k
    s.fresh = FRESH_HOPS
    for k in range(s.parts * s.bins):
        s.var[k] += share * (s.back.re[k] * s.back.re[k] + s.back.im[k] * s.back.im[k]) + least / s.parts


cdef void filter_reset(EchoState* s) noexcept nogil:
    cdef int k
    _clear(s, &s.back)
    _clear(s, &s.front)
    _spread_variance(s, START_VAR)
    for k in range(s.bins):
        s.noise[k] = 200.0 * s.hop
        s.peak[k] = s.peak_old[k] = s.peak_both[k] = 0.0
    for k in range(s.parts):
        s.tap[k] = 0.0
        s.place[k] = 0
    s.fresh = FRESH_HOPS
    s.peak_age = s.wheel = s.rest = 0
    s.error_front = s.error_heard = s.error_back = s.level_near = s.level_echo = s.level_far = 0.0
    s.better = s.quick = s.worse = s.stuck = s.since_copy = s.trial = s.lost = s.adding = s.tonal = 0
    s.gained = s.moved = s.said = s.taken = 0.0
    s.converged = 0


cdef void filter_restart(EchoState* s) noexcept nogil:
    _copy(s, &s.back, &s.front)
    _spread_variance(s, <float>0.1 * DOUBT)
    s.error_back = s.error_heard


cdef void filter_predict(EchoState* s, bint both) noexcept nogil:
    cdef int p, slot
    for p in range(s.parts):
        slot = s.slot - p * s.span
        s.at[p] = (slot + s.slots if slot < 0 else slot) * s.bins
    if both:
        spectrum_predict(s.fr, s.fi, s.yr, s.yi, s.known, s.xr, s.xi, s.xp, s.at, s.front.re, s.front.im, s.back.re, s.back.im, s.var,
                         s.parts, s.bins)
        fft_inverse(&s.fft, s.yr, s.yi, s.wave)
        memcpy(s.echo_back, s.wave + s.n - s.seen, s.seen * sizeof(float))
    else:
        spectrum_estimate(s.fr, s.fi, s.xr, s.xi, s.at, s.front.re, s.front.im, s.parts, s.bins)
    fft_inverse(&s.fft, s.fr, s.fi, s.wave)
    memcpy(s.echo_front, s.wave + s.n - s.seen, s.seen * sizeof(float))


cdef void filter_error(EchoState* s, const float* echo) noexcept nogil:
    memset(s.wave, 0, (s.n - s.seen) * sizeof(float))
    sound_subtract(s.wave + s.n - s.seen, s.past, echo, s.seen)
    fft_forward(&s.fft, s.wave, s.er, s.ei)


cdef void filter_peak(EchoState* s) noexcept nogil:
    """Keeps the highest reference power of each bin over at least the tail: that of this turn through the slots and of the last."""
    spectrum_highest(s.peak, s.xp + s.slot * s.bins, s.bins)
    s.peak_age += 1
    if s.peak_age >= s.slots:
        s.peak_age = 0
        memcpy(s.peak_old, s.peak, s.bins * sizeof(float))
        memset(s.peak, 0, s.bins * sizeof(float))


cdef bint filter_on_trial(const EchoState* s) noexcept nogil:
    return s.trial > 0


cdef bint filter_poor(EchoState* s) noexcept nogil:
    return s.error_front > ENOUGH * s.level_echo + <float>4.0 * s.noise_power or s.fresh > 0


cdef void _trim(EchoState* s, int p) noexcept nogil:
    """Takes away what partition p has learned beyond its own taps, and notes where its strongest tap is."""
    cdef int k, bins = s.bins
    cdef float size, best = 0.0
    fft_inverse(&s.fft, s.back.re + p * bins, s.back.im + p * bins, s.wave)
    memset(s.wave + s.part, 0, (s.n - s.part) * sizeof(float))
    for k in range(s.part):
        size = s.wave[k] * s.wave[k]
        if size > best:
            best = size
            s.place[p] = p * s.span * s.hop + k
    s.tap[p] = best
    fft_forward(&s.fft, s.wave, s.back.re + p * bins, s.back.im + p * bins)
    if s.tonal < TONAL_HOPS:                            # the bins between tones have nothing to tell
        spectrum_blend(s.var + p * bins, BLEND, bins)


cdef void filter_learn(EchoState* s) noexcept nogil:
    cdef int p, x, bins = s.bins, trims = MOST_TRIMS if filter_poor(s) else 1
    cdef float most
    cdef SpectrumRule rule
    if trims > s.parts:
        trims = s.parts
    memcpy(s.peak_both, s.peak, bins * sizeof(float))
    spectrum_highest(s.peak_both, s.peak_old, bins)
    rule.share = <float>s.seen / s.n
    rule.up = NOISE_UP
    rule.down = NOISE_DOWN
    rule.deep = DEEP
    rule.plunge = NOISE_PLUNGE
    rule.spread = 1.0 if s.fresh > 0 else SPREAD
    rule.reach = MOST_RETURN
    rule.line = 0.0
    s.tonal += 1
    if spectrum_width(s.peak_both, <float>0.01, &most, bins) <= TONAL_HZ * s.n // s.rate:
        rule.line = LINE * most
    else:
        s.tonal = 0
    rule.least = s.hop
    spectrum_gains(s.inverse, s.noise, s.known, s.er, s.ei, s.peak_both, &rule, bins)
    for p in range(s.parts):
        x = s.at[p]
        spectrum_learn(s.back.re + p * bins, s.back.im + p * bins, s.var + p * bins, s.xr + x, s.xi + x, s.xp + x, s.inverse,
                       s.er, s.ei, FRESH_STEP if s.fresh > 0 else STEP, SHRINK * rule.share, DECAY, DRIFT, LEAST_VAR, bins)
    for p in range(trims):
        _trim(s, s.wheel)
        s.wheel = s.wheel + 1 if s.wheel + 1 < s.parts else 0


cdef void _take_back(EchoState* s, bint proven) noexcept nogil:
    """The background is heard from now on."""
    _copy(s, &s.front, &s.back)
    s.error_heard = s.error_back
    if s.error_back < s.error_front:
        s.error_front = s.error_back
    s.better = s.quick = s.since_copy = s.trial = 0
    s.gained = s.moved = 0.0
    if proven:
        s.converged = 2
    elif s.converged == 0:
        s.converged = 1


cdef void filter_watch(EchoState* s, bint active) noexcept nogil:
    """Follows how well the heard filter does, and notices that the line has changed."""
    s.error_front += <float>0.2 * (s.now.left - s.error_front)
    s.level_near += <float>0.2 * (s.now.near - s.level_near)
    if not active:
        return
    if s.fresh > 0 and s.converged and (s.tonal >= TONAL_HOPS or s.error_front < SETTLED * s.level_echo + <float>4.0 * s.noise_power):
        s.fresh -= 1
    # A filter of another path adds its estimate to what is captured. Near speech that happens to be opposed to the echo looks the same,
    # but not for long, and where the estimate is small it cannot be the cause.
    s.adding = s.adding + 1 if (s.converged and s.error_front > <float>1.3 * s.level_near and s.level_echo > ADDED * s.level_near
                                and s.level_near > <float>4.0 * s.noise_power) else 0
    if s.adding >= ADDING_HOPS:
        s.adding = 0
        _clear(s, &s.front)                             # worse than nothing
        _loosen(s, 0.5, <float>0.2 * DOUBT)
        s.error_front = s.error_heard = s.level_near
        s.converged = 0
        s.leak = 1.0
        s.stuck = -50
    # A filter that takes nothing away for two seconds without a pause is wrong, unless that is near speech: then its estimate, though
    # small beside it, is still in what is captured, and what it takes away on average is the power of the estimate. One that takes more
    # is too small.
    s.said += LOST_RATE * (s.now.echo - s.said)
    s.taken += LOST_RATE * (s.now.near - s.now.left - s.taken)
    s.lost = s.lost + 1 if (s.converged and s.error_front > <float>0.5 * s.level_near and s.level_near > <float>4.0 * s.noise_power
                            and not LOST_SHARE * s.said < s.taken < LOST_MOST * s.said) else 0
    if s.lost >= LOST_HOPS:
        _loosen(s, 1.0, DOUBT)
        s.lost = 0
    # More than any hybrid returns is near speech, not another path.
    if (s.converged and s.error_front > <float>0.1 * s.level_echo and s.level_echo > <float>10.0 * s.noise_power
            and s.error_front < UNKNOWN_RETURN * s.level_far):
        s.stuck += 1
        if s.stuck >= 25:
            _loosen(s, 0.3, <float>0.02 * DOUBT)
            s.stuck = -50
    elif s.stuck > 0:
        s.stuck = 0
    elif s.stuck < 0:
        s.stuck += 1


cdef bint _judge_trial(EchoState* s) noexcept nogil:
    """Is the imported filter that of this line? Until that is known it does not learn, so that nothing but itself is judged.

    Only hops count in which there is something to explain or the filter claims something. One that is right gains the power of its
    estimate, one that is wrong loses it.
    """
    cdef float least = <float>4.0 * s.noise_power + TRIAL_FLOOR, gain
    cdef int hops
    cdef bint enough
    if s.now.left < least and s.now.other < least:
        return False
    s.trial -= 1
    s.trial_left += s.now.left
    s.trial_tried += s.now.tried
    s.trial_said += s.now.between
    gain = s.trial_left - s.trial_tried
    hops = TRIAL_HOPS - s.trial
    # What is louder than the estimate may resemble it for a while: the more there is of it, the more hops it takes to tell.
    enough = s.trial == 0 or hops >= TRIAL_ENOUGH and hops * s.trial_said > TRIAL_NEAR * s.trial_left
    if (hops >= TRIAL_LEAST and s.trial_tried < TRIAL_DEEP * s.trial_left
            or enough and gain > TRIAL_SHARE * s.trial_said and gain > 0.0):
        _take_back(s, True)
        return True
    if s.trial == 0 or enough and gain < TRIAL_WRONG * s.trial_said:
        s.trial = 0
        _clear(s, &s.back)
        _spread_variance(s, DOUBT)
        s.error_back = s.error_heard
    return False


cdef bint filter_judge(EchoState* s, bint active) noexcept nogil:
    """Compares the filters by the powers of this hop.

    While somebody talks here the total error hardly shows which filter is better, but near speech is not correlated with the
    difference of both echo estimates: a background that is right gains all of it (left - tried = between on average), one that is
    wrong gains nothing.
    """
    cdef float left = s.now.left, tried = s.now.tried
    cdef bint copied = False
    s.gained += SLOWLY * (left - tried - s.gained)
    s.moved += SLOWLY * (s.now.between - s.moved)
    s.error_heard += <float>0.2 * (left - s.error_heard)
    s.error_back += <float>0.2 * (tried - s.error_back)
    if not (tried < 1e12):                              # also true for NaN
        filter_restart(s)
        return False
    s.since_copy += 1
    if not active:
        s.better = 0
        return False
    if s.trial > 0:
        return _judge_trial(s)
    s.quick = s.quick + 1 if tried < (<float>0.75 if s.converged < 2 else <float>0.7 if s.fresh > 0 else <float>0.2) * left else 0
    if (s.error_back < (<float>0.8 if s.fresh > 0 else <float>0.9) * s.error_heard and tried < left and s.error_back < s.level_near
            and s.gained > 0.0):
        s.better += 1
        s.worse = 0
        copied = s.better >= 3 or s.error_back < <float>0.5 * s.error_heard
    else:
        s.better = 0
        s.worse = s.worse + 1 if s.error_back > <float>1.6 * s.error_heard else 0
    if copied or s.quick >= 2:
        copied = True
        _take_back(s, True)
    elif ((s.converged < 2 or s.tonal >= PATIENCE_HOPS) and s.since_copy >= PATIENCE_HOPS and s.moved > LEAST_MOVE * s.level_near
            and s.gained > <float>0.6 * s.moved):
        copied = True
        _take_back(s, False)
    elif s.worse >= 20 and s.converged:
        _copy(s, &s.back, &s.front)
        s.error_back = s.error_heard
        s.worse = 0
    return copied


cdef void filter_take(EchoState* s, const float* taps) noexcept nogil:
    """Puts an impulse response into the background, on trial."""
    cdef int p, k
    for p in range(s.parts):
        memset(s.wave, 0, s.n * sizeof(float))
        memcpy(s.wave, taps + p * s.part, s.part * sizeof(float))
        fft_forward(&s.fft, s.wave, s.back.re + p * s.bins, s.back.im + p * s.bins)
    for k in range(s.parts * s.bins):
        s.var[k] = TRUST * (s.back.re[k] * s.back.re[k] + s.back.im[k] * s.back.im[k]) + TRUST * DOUBT / s.parts
    s.trial = TRIAL_HOPS
    s.trial_left = s.trial_tried = s.trial_said = 0.0


cdef void filter_give(EchoState* s, float* taps) noexcept nogil:
    """The heard impulse response."""
    cdef int p
    for p in range(s.parts):
        fft_inverse(&s.fft, s.front.re + p * s.bins, s.front.im + p * s.bins, s.wave)
        memcpy(taps + p * s.part, s.wave, s.part * sizeof(float))
