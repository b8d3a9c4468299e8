"""Line echo canceller: a partitioned frequency-domain Kalman filter with a heard copy, and a residual control with comfort noise.

Theory of operation. ITU-T G.168. The block is 10 ms (one hop), so the canceller adds no delay to the tick. The reference is
transformed over n = 256 samples at 8 kHz (512 at 16) and the echo path is modelled in partitions of one hop each. An overlap-save
block of n samples then has n - hop + 1 valid results, of which the last two hops are used: the newest is what is heard, and the filter
learns from both, so every captured sample teaches it twice. That nearly halves the time to converge on speech.

* *Background* filter: each bin of each partition is a Kalman state. `var` is the variance of its error, `noise` the power of
  what is not echo, estimated from the error after correction. The step is var * conj(X) / (sum var |X|^2 + noise * n / (2 hop)):
  large while the path is unknown, small when near speech fills the bin. Updates are cut back to one hop of taps. Because samples are seen
  twice the variance shrinks by less than the observation would say (SHRINK), and because only a part of the block is error the step is
  longer (STEP); both were chosen by measurement on speech, noise, double talk and path changes.
* *Foreground* filter: the one that is heard. It takes the background's coefficients only after the background has had the smaller
  error; near speech may harm the background, never the heard one. A background that stays worse is refilled from the foreground.
  When the heard filter stays poor while the far end talks, the variances are raised so that the background learns a new path.
* *Residual control*: what remains is compared with the residual expected from the echo estimate and with the line's noise. Where
  it is no more than that, it is faded out in favour of noise of the same spectrum; anything louder is near speech and passes at once.

With a silent reference the echo estimate is zero and the output equals the captured samples bit for bit.
Invariants: all memory is taken in `echo_new`; coefficients are finite (a hop that is not clears the filter); same input, same output.
"""

from libc.math cimport log10f, sqrtf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, memmove

cdef extern from "spectrum.h" nogil:
    void fft_init(Fft* f, int n)
    void fft_forward(const Fft* f, const float* x, float* re, float* im)
    void fft_inverse(const Fft* f, const float* re, const float* im, float* x)
    void spectrum_filter(float* yr, float* yi, const float* xr, const float* xi, const float* wr, const float* wi, int n)
    void spectrum_power(float* power, const float* xr, const float* xi, int n)
    void spectrum_weigh(float* total, const float* p, const float* q, int n)
    void spectrum_learn(float* step_re, float* step_im, float* p, const float* power, const float* inverse, const float* xr,
                        const float* xi, const float* er, const float* ei, float step, float shrink, int n)
    void spectrum_drift(float* wr, float* wi, float* p, const float* sr, const float* si, float decay, float drift, float least, int n)
    void spectrum_highest(float* most, const float* power, int n)
    float kernel_energy(const float* a, int n)
    short kernel_round(float x)

cdef float POWER_0DBM0 = <float>(22750.0 * 22750.0 / 2.0)
cdef float FAR_FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 1e-5)      # -50 dBm0: below, the far end is silent
cdef float START_VAR = 0.5                              # of the whole path, shared by its partitions
cdef float DECAY = 0.9995                               # of the variance per hop, before drift
cdef float DRIFT = 0.0015                               # share of |w|^2 the path may move per hop
cdef float STEP = 1.6
cdef float SHRINK = 0.4
cdef float NOISE_UP = 0.4
cdef float NOISE_DOWN = 0.2
cdef float NEAR_MARGIN = 10.0                          # above residual and noise: somebody talks here
cdef float MOST_RESIDUAL = 0.5                          # of the echo estimate: a proven filter leaves no more
cdef float UNKNOWN_RETURN = 0.075                       # of the reference's power, before there is a filter: 11 dB of hybrid loss
cdef float MOST_RETURN = 0.5                            # of the reference's power, in any bin
cdef float MOST_NOISE = <float>(22750.0 * 22750.0 / 2.0 * 1.6e-4)  # -38 dBm0: anything steady above is a signal, not the line's noise
cdef int TONAL_BINS = 18                                # of 31 Hz within 20 dB of the strongest: two tones have no more
cdef int HANG_HOPS = 15
cdef float SLOWLY = 0.04
cdef int PATIENCE_HOPS = 60                             # before a first filter is taken in double talk
cdef float MOST_TAP = 4.0                               # no line amplifies more
cdef float TRUST = 0.02                                 # variance of an imported filter, of its power
cdef int TRIAL_HOPS = 25                                # with far speech
cdef float LEAST_MOVE = 3e-5


cdef EchoState* echo_new(int rate, int tail_ms, int nlp) noexcept nogil:
    cdef EchoState* s
    cdef float* at
    cdef int parts, hop, n, bins, slots
    cdef size_t total
    if (rate != 8000 and rate != 16000) or tail_ms < 8 or tail_ms > 256:
        return NULL
    hop = rate // 100
    n = 256 if rate == 8000 else 512
    bins = n // 2 + 4
    parts = (tail_ms + 9) // 10
    slots = parts
    total = (n + 3 * <size_t>slots * bins + slots + 5 * <size_t>parts * bins + 10 * <size_t>bins + n + 9 * hop)
    s = <EchoState*>calloc(1, sizeof(EchoState) + (total + 64) * sizeof(float))
    if s == NULL:
        return NULL
    s.rate = rate
    s.hop = hop
    s.n = n
    s.bins = bins
    s.parts = parts
    s.slots = slots
    s.nlp = nlp
    fft_init(&s.fft, n)
    at = <float*>(<char*>s + (sizeof(EchoState) + 15) // 16 * 16)
    s.frame = at; at += n
    s.xr = at; at += slots * bins
    s.xi = at; at += slots * bins
    s.xp = at; at += slots * bins
    s.back.re = at; at += parts * bins
    s.back.im = at; at += parts * bins
    s.front.re = at; at += parts * bins
    s.front.im = at; at += parts * bins
    s.var = at; at += parts * bins
    s.noise = at; at += bins
    s.yr = at; at += bins
    s.yi = at; at += bins
    s.er = at; at += bins
    s.ei = at; at += bins
    s.sr = at; at += bins
    s.si = at; at += bins
    s.sum = at; at += bins
    s.inverse = at; at += bins
    s.comfort_psd = at; at += bins
    s.wave = at; at += n
    s.near = at; at += hop
    s.past = at; at += 2 * hop
    s.echo_front = at; at += 2 * hop
    s.echo_back = at; at += 2 * hop
    s.comfort_wave = at; at += 2 * hop
    s.loud = at
    echo_reset(s)
    return s


cdef void echo_free(EchoState* s) noexcept nogil:
    free(s)


cdef void _spread_variance(EchoState* s, float share) noexcept nogil:
    cdef int k
    for k in range(s.parts * s.bins):
        s.var[k] = share / s.parts


cdef void echo_reset(EchoState* s) noexcept nogil:
    cdef size_t filters = <size_t>s.parts * s.bins * sizeof(float)
    cdef int k
    memset(s.frame, 0, s.n * sizeof(float))
    memset(s.xr, 0, 3 * <size_t>s.slots * s.bins * sizeof(float))
    memset(s.loud, 0, s.slots * sizeof(float))
    memset(s.back.re, 0, filters)
    memset(s.back.im, 0, filters)
    memset(s.front.re, 0, filters)
    memset(s.front.im, 0, filters)
    memset(s.past, 0, 2 * s.hop * sizeof(float))
    memset(s.comfort_wave, 0, 2 * s.hop * sizeof(float))
    _spread_variance(s, START_VAR)
    for k in range(s.bins):
        s.noise[k] = 200.0 * s.hop
        s.comfort_psd[k] = 0.0
    s.slot = 0
    s.error_front = s.error_back = s.level_near = s.level_echo = s.level_far = 0.0
    s.better = s.worse = s.stuck = s.since_copy = 0
    s.gained = s.moved = 0.0
    s.converged = 0
    s.sum_far = s.sum_echo = s.sum_before = s.sum_left = 0.0
    s.noise_power = 0.0
    s.noise_track = -1.0
    s.noise_low = -1.0
    s.noise_age = 0
    s.gain = 1.0
    s.hang = 0
    s.seed = 0x2545F491
    s.leak = 1.0
    s.expected = 0.0
    s.hops = 0
    s.mode = ECHO_NORMAL
    s.trial = 0


cdef inline int _slot(const EchoState* s, int age) noexcept nogil:
    """Index of the reference spectrum `age` hops old."""
    cdef int slot = s.slot - age
    return slot + s.slots if slot < 0 else slot


cdef void _estimate(EchoState* s, const EchoFilter* filter, float* echo) noexcept nogil:
    """The last two hops of echo as `filter` sees them."""
    cdef int p, x
    memset(s.yr, 0, s.bins * sizeof(float))
    memset(s.yi, 0, s.bins * sizeof(float))
    for p in range(s.parts):
        x = _slot(s, p) * s.bins
        spectrum_filter(s.yr, s.yi, s.xr + x, s.xi + x, filter.re + p * s.bins, filter.im + p * s.bins, s.bins)
    fft_inverse(&s.fft, s.yr, s.yi, s.wave)
    memcpy(echo, s.wave + s.n - 2 * s.hop, 2 * s.hop * sizeof(float))


cdef float _line_floor(const float* power, int n) noexcept nogil:
    """What a bin must have to belong to a line of a reference that consists of tones; 0 for one that does not."""
    cdef int k, wide = 0
    cdef float most = 0.0
    for k in range(n):
        if power[k] > most:
            most = power[k]
    for k in range(n):
        if power[k] > <float>0.01 * most:
            wide += 1
    return <float>0.03 * most if wide <= TONAL_BINS else <float>0.0


cdef void _learn(EchoState* s) noexcept nogil:
    """Corrects the background from its error spectrum er, ei (two hops at the end of n samples); yr, yi: what was captured in them."""
    cdef int p, k, x, bins = s.bins
    cdef float share = <float>(2.0 * s.hop) / s.n
    cdef float power, known, after, rate, least, most, line
    memset(s.sum, 0, bins * sizeof(float))
    memset(s.si, 0, bins * sizeof(float))
    for p in range(s.parts):
        x = _slot(s, p) * bins
        spectrum_weigh(s.sum, s.var + p * bins, s.xp + x, bins)
        spectrum_highest(s.si, s.xp + x, bins)
    line = _line_floor(s.si, s.n // 2 + 1)
    for k in range(bins):
        power = s.er[k] * s.er[k] + s.ei[k] * s.ei[k]
        known = s.sum[k] + s.noise[k] / share
        after = 1.0 - share * s.sum[k] / (known + <float>1e-3)
        power = after * after * power + share * s.sum[k] * after
        most = MOST_RETURN * share * s.si[k]
        rate = NOISE_UP if power > s.noise[k] else NOISE_DOWN
        s.noise[k] += rate * (power - s.noise[k])
        # No hybrid returns more than it got: this bin is near speech, and nothing is learned in it. A steady near tone that came
        # back to us through another hybrid is in the reference, small and in step, and would else be explained by its own trace;
        # so of a reference that is only tones, nothing but the tones themselves is learned from.
        s.inverse[k] = <float>0.0 if s.yr[k] * s.yr[k] + s.yi[k] * s.yi[k] > most or s.si[k] < line else <float>1.0 / (s.sum[k] + s.noise[k] / share + s.hop)
    least = <float>1e-9
    for p in range(s.parts):
        x = _slot(s, p) * bins
        spectrum_learn(s.sr, s.si, s.var + p * bins, s.xp + x, s.inverse, s.xr + x, s.xi + x, s.er, s.ei, STEP, SHRINK * share, bins)
        fft_inverse(&s.fft, s.sr, s.si, s.wave)
        memset(s.wave + s.hop, 0, (s.n - s.hop) * sizeof(float))
        fft_forward(&s.fft, s.wave, s.sr, s.si)
        spectrum_drift(s.back.re + p * bins, s.back.im + p * bins, s.var + p * bins, s.sr, s.si, DECAY, DRIFT, least, bins)


cdef void _copy_filter(const EchoState* s, EchoFilter* to, const EchoFilter* source) noexcept nogil:
    memcpy(to.re, source.re, <size_t>s.parts * s.bins * sizeof(float))
    memcpy(to.im, source.im, <size_t>s.parts * s.bins * sizeof(float))


cdef void _loosen(EchoState* s, float share, float least) noexcept nogil:
    """Raises the variances: the path is no longer what it was."""
    cdef int k
    for k in range(s.parts * s.bins):
        s.var[k] += share * (s.back.re[k] * s.back.re[k] + s.back.im[k] * s.back.im[k]) + least / s.parts


cdef bint _judge(EchoState* s, float pn, float pf, float pb, float between, bint active) noexcept nogil:
    """Compares the filters; True when the background's result is heard from now on.

    Powers: captured, both errors, and the difference of both echo estimates (`between`). While somebody talks here the total error
    hardly shows which filter is better, but near speech is not correlated with that difference: a background that is right gains
    all of it (pf - pb = between on average), one that is wrong gains nothing.
    """
    cdef bint copy = False, proven = True
    s.gained += SLOWLY * (pf - pb - s.gained)
    s.moved += SLOWLY * (between - s.moved)
    s.error_front += <float>0.2 * (pf - s.error_front)
    s.error_back += <float>0.2 * (pb - s.error_back)
    s.level_near += <float>0.2 * (pn - s.level_near)
    if not (pb < 1e12):                                 # also true for NaN
        _copy_filter(s, &s.back, &s.front)
        _spread_variance(s, <float>0.1 * START_VAR)
        s.error_back = s.error_front
        return False
    s.since_copy += 1
    if not active:
        s.better = 0
        return False
    if s.trial > 0:
        s.trial -= 1
        if s.trial == 0:                                # an imported filter that did not show itself right is forgotten
            memset(s.back.re, 0, <size_t>s.parts * s.bins * sizeof(float))
            memset(s.back.im, 0, <size_t>s.parts * s.bins * sizeof(float))
            _spread_variance(s, START_VAR)
            s.error_back = s.error_front
    if s.error_back < <float>0.8 * s.error_front and pb < pf and s.error_back < s.level_near:
        s.better += 1
        s.worse = 0
        if s.better >= 3 or s.error_back < <float>0.5 * s.error_front:
            copy = True
    elif s.converged < 2 and s.since_copy >= PATIENCE_HOPS and s.moved > LEAST_MOVE * s.level_near and s.gained > <float>0.6 * s.moved:
        copy = True
        proven = False
    else:
        s.better = 0
        s.worse = s.worse + 1 if s.error_back > <float>1.6 * s.error_front else 0
    if copy:
        _copy_filter(s, &s.front, &s.back)
        s.error_front = s.error_back
        s.better = 0
        s.since_copy = 0
        s.trial = 0
        s.gained = s.moved = 0.0
        if proven:
            s.converged = 2
        elif s.converged == 0:
            s.converged = 1
    elif s.worse >= 20 and s.converged:
        _copy_filter(s, &s.back, &s.front)
        s.error_back = s.error_front
        s.worse = 0
    if s.converged and s.error_front > <float>1.3 * s.level_near and s.level_near > <float>4.0 * s.noise_power:
        memset(s.front.re, 0, <size_t>s.parts * s.bins * sizeof(float))     # worse than nothing: the line has changed
        memset(s.front.im, 0, <size_t>s.parts * s.bins * sizeof(float))
        _loosen(s, 0.5, <float>0.2 * START_VAR)
        s.error_front = s.level_near
        s.converged = 0
        s.leak = 1.0
        s.stuck = -50
    # More than any hybrid returns is near speech, not another path.
    if (s.converged and s.error_front > <float>0.1 * s.level_echo and s.level_echo > <float>10.0 * s.noise_power
            and s.error_front < UNKNOWN_RETURN * s.level_far):
        s.stuck += 1
        if s.stuck >= 25:
            _loosen(s, 0.3, <float>0.02 * START_VAR)
            s.stuck = -50
    elif s.stuck > 0:
        s.stuck = 0
    elif s.stuck < 0:
        s.stuck += 1
    return copy


cdef void _track_noise(EchoState* s, float power) noexcept nogil:
    """Background noise by minimum statistics: the lowest smoothed power of the last 1.5 to 3 s."""
    cdef int k
    if s.noise_track < 0.0:
        s.noise_track = power
        s.noise_low = power
        s.noise_power = power
    s.noise_track += <float>0.15 * (power - s.noise_track)
    if s.noise_track < s.noise_low:
        s.noise_low = s.noise_track
    if s.noise_track < s.noise_power:
        s.noise_power = s.noise_track
    if s.noise_power > MOST_NOISE:                      # a steady tone of the near end
        s.noise_power = MOST_NOISE
    s.noise_age += 1
    if s.noise_age >= 150:
        s.noise_power = s.noise_low
        s.noise_low = s.noise_track
        s.noise_age = 0
    if power < <float>2.5 * s.noise_power:
        for k in range(s.bins):
            s.comfort_psd[k] += <float>0.05 * (s.er[k] * s.er[k] + s.ei[k] * s.ei[k] - s.comfort_psd[k])


cdef void _comfort(EchoState* s) noexcept nogil:
    """The next hop of comfort noise, in comfort_wave[0..hop)."""
    cdef int k, hop = s.hop
    cdef float scale = sqrtf(<float>0.25 * s.n / s.hop), amplitude, w
    cdef unsigned int r = s.seed
    for k in range(s.n // 2 + 1):
        amplitude = scale * sqrtf(s.comfort_psd[k])
        r ^= r << 13
        r ^= r >> 17
        r ^= r << 5
        s.sr[k] = amplitude if r & 0x10000 else -amplitude
        s.si[k] = amplitude if r & 0x20000 else -amplitude
    s.seed = r
    fft_inverse(&s.fft, s.sr, s.si, s.wave)
    memmove(s.comfort_wave, s.comfort_wave + hop, hop * sizeof(float))
    for k in range(hop):                                # square-root triangles: two frames add up to constant power
        w = sqrtf((<float>k + <float>0.5) / hop)
        s.comfort_wave[k] += w * s.wave[k]
        s.comfort_wave[hop + k] = sqrtf(1.0 - (<float>k + <float>0.5) / hop) * s.wave[hop + k]


cdef void _control_residual(EchoState* s, float* heard, float pf, float py, bint active) noexcept nogil:
    """Fades what is only residual echo into comfort noise. `heard` is the hop after the linear filter."""
    cdef float residual, target = 1.0, from_ = s.gain, gain, step
    cdef float ratio, most
    cdef int k, ramp
    s.expected *= <float>0.7
    if py > s.expected:
        s.expected = py
    if active and py > <float>4.0 * s.noise_power and s.converged:
        ratio = (pf - s.noise_power) / py if pf > s.noise_power else 0.0
        if ratio < s.leak:
            s.leak += <float>0.1 * (ratio - s.leak)
        elif ratio < <float>8.0 * s.leak:
            s.leak += <float>0.05 * (ratio - s.leak)
        if s.leak < <float>1e-5:
            s.leak = <float>1e-5
    if active:
        residual = s.leak * NEAR_MARGIN
        most = MOST_RESIDUAL if s.converged == 2 else <float>2.0 * MOST_RESIDUAL
        if residual > most:
            residual = most
        residual = residual * s.expected if s.converged else UNKNOWN_RETURN * s.level_far
        if pf > residual + <float>2.5 * s.noise_power:
            s.hang = HANG_HOPS
        if s.hang == 0:
            target = 0.0
        else:
            s.hang -= 1
    else:
        s.hang = 0
    if from_ >= 1.0 and target >= 1.0:
        return
    _comfort(s)
    ramp = s.hop // 4 if target > from_ else s.hop
    step = (target - from_) / (ramp if target > from_ else 2 * ramp)
    gain = from_
    for k in range(s.hop):
        if k < ramp:
            gain += step
        if gain < 0.0:
            gain = 0.0
        heard[k] = gain * heard[k] + sqrtf(1.0 - gain * gain) * s.comfort_wave[k] if gain < 1.0 else heard[k]
    s.gain = gain if gain < <float>0.999 else 1.0
    if target <= 0.0 and s.gain < <float>0.02:
        s.gain = 0.0


cdef void _hop(EchoState* s, const short* reference, const short* captured, short* out) noexcept nogil:
    cdef int k, hop = s.hop, bins = s.bins
    cdef float far, pn, pf, pb, py, w, between = 0.0
    cdef bint active, copy
    memmove(s.frame, s.frame + hop, (s.n - hop) * sizeof(float))
    for k in range(hop):
        s.frame[s.n - hop + k] = reference[k]
        s.near[k] = captured[k]
        s.past[k] = s.past[hop + k]
        s.past[hop + k] = captured[k]
    s.slot = s.slot + 1 if s.slot + 1 < s.slots else 0
    s.loud[s.slot] = kernel_energy(s.frame + s.n - hop, hop) / hop
    fft_forward(&s.fft, s.frame, s.xr + s.slot * bins, s.xi + s.slot * bins)
    spectrum_power(s.xp + s.slot * bins, s.xr + s.slot * bins, s.xi + s.slot * bins, bins)
    far = 0.0
    for k in range(s.slots):
        if s.loud[k] > far:
            far = s.loud[k]
    s.level_far = far
    active = far > FAR_FLOOR
    _estimate(s, &s.front, s.echo_front)
    _estimate(s, &s.back, s.echo_back)
    memset(s.wave, 0, (s.n - 2 * hop) * sizeof(float))
    memcpy(s.wave + s.n - 2 * hop, s.past, 2 * hop * sizeof(float))
    fft_forward(&s.fft, s.wave, s.yr, s.yi)
    memset(s.wave, 0, (s.n - 2 * hop) * sizeof(float))
    for k in range(2 * hop):
        s.wave[s.n - 2 * hop + k] = s.past[k] - s.echo_back[k]
    pn = kernel_energy(s.near, hop) / hop
    py = kernel_energy(s.echo_front + hop, hop) / hop
    pb = kernel_energy(s.wave + s.n - hop, hop) / hop
    fft_forward(&s.fft, s.wave, s.er, s.ei)
    pf = 0.0
    for k in range(hop):
        w = s.near[k] - s.echo_front[hop + k]
        pf += w * w
        w = s.echo_back[hop + k] - s.echo_front[hop + k]
        between += w * w
    pf /= hop
    between /= hop
    s.level_echo += <float>0.2 * (py - s.level_echo)
    if pb < 1e12 and active:
        _learn(s)
    _track_noise(s, pf)
    if active and kernel_energy(s.echo_back + hop, hop) / hop > far:
        # No hybrid returns more than it got. A near tone that came back to us through another hybrid is in the reference, small
        # and in step; a filter that explains the tone by its own trace would shout as soon as somebody speaks.
        _copy_filter(s, &s.back, &s.front)
        _spread_variance(s, <float>0.1 * START_VAR)
        active = False
    copy = _judge(s, pn, pf, pb, between, active)
    for k in range(hop):                                # near becomes what is heard
        w = s.echo_front[hop + k]
        if copy:
            w += (s.echo_back[hop + k] - w) * (k + 1) / hop
        s.near[k] -= w
    if copy:
        pf = pb
        py = kernel_energy(s.echo_back + hop, hop) / hop
    if active and s.converged:                          # long-term powers for the statistics
        s.sum_far += <float>0.01 * (s.loud[s.slot] - s.sum_far)
        s.sum_echo += <float>0.01 * (py - s.sum_echo)
        if pf < py:
            s.sum_left += <float>0.01 * (pf - s.sum_left)
            s.sum_before += <float>0.01 * (pn - s.sum_before)
    if s.nlp and s.mode == ECHO_NORMAL:
        _control_residual(s, s.near, pf, py, active)
    for k in range(hop):
        out[k] = kernel_round(s.near[k])
    s.hops += 1


cdef int echo_process(EchoState* s, const short* reference, const short* captured, short* out, int n) noexcept nogil:
    cdef int at = 0
    if n < 0 or n % s.hop:
        if n > 0 and out != captured:
            memmove(out, captured, n * sizeof(short))
        return -1
    if s.mode == ECHO_BYPASS:
        if out != captured:
            memmove(out, captured, n * sizeof(short))
        return 0
    while at < n:
        _hop(s, reference + at, captured + at, out + at)
        at += s.hop
    return 0


cdef void echo_stats(const EchoState* s, EchoStats* stats) noexcept nogil:
    cdef float wave[512]
    cdef float best = 0.0, size
    cdef int p, k, place = 0
    for p in range(s.parts):
        fft_inverse(&s.fft, s.front.re + p * s.bins, s.front.im + p * s.bins, wave)
        for k in range(s.hop):
            size = wave[k] * wave[k]
            if size > best:
                best = size
                place = p * s.hop + k
    stats.delay_ms = place * 1000 // s.rate
    stats.erl_db = stats.erle_db = 0.0
    if s.converged and s.sum_echo > 0.0 and s.sum_far > 0.0:
        stats.erl_db = <float>10.0 * log10f(s.sum_far / s.sum_echo)
    if s.converged and s.sum_left > 0.0 and s.sum_before > 0.0:
        stats.erle_db = <float>10.0 * log10f(s.sum_before / s.sum_left)
    stats.noise_dbm0 = <float>10.0 * log10f((s.noise_power + <float>1e-2) / POWER_0DBM0)
    stats.converged = s.converged
    stats.disabled = 0
    stats.mode = s.mode


cdef void echo_set_mode(EchoState* s, int mode) noexcept nogil:
    s.mode = mode
    s.gain = 1.0
    s.hang = 0


cdef int echo_taps(const EchoState* s) noexcept nogil:
    return s.parts * s.hop


cdef int echo_export(const EchoState* s, float* taps, int most) noexcept nogil:
    cdef float wave[512]
    cdef int p
    if s.converged < 2 or most < s.parts * s.hop:
        return 0
    for p in range(s.parts):
        fft_inverse(&s.fft, s.front.re + p * s.bins, s.front.im + p * s.bins, wave)
        memcpy(taps + p * s.hop, wave, s.hop * sizeof(float))
    return s.parts * s.hop


cdef int echo_import(EchoState* s, const float* taps, int n) noexcept nogil:
    cdef int p, k
    if n != s.parts * s.hop:
        return -1
    for k in range(n):
        if not (-MOST_TAP < taps[k] < MOST_TAP):        # also false for NaN
            return -1
    for p in range(s.parts):
        memset(s.wave, 0, s.n * sizeof(float))
        memcpy(s.wave, taps + p * s.hop, s.hop * sizeof(float))
        fft_forward(&s.fft, s.wave, s.back.re + p * s.bins, s.back.im + p * s.bins)
    for k in range(s.parts * s.bins):
        s.var[k] = TRUST * (s.back.re[k] * s.back.re[k] + s.back.im[k] * s.back.im[k]) + TRUST * START_VAR / s.parts
    s.trial = TRIAL_HOPS
    return 0


cdef class EchoCanceller:
    """Takes the echo of `reference` out of `captured`: 16-bit little-endian samples at 8000 or 16000 Hz.

    `tail_ms` (8 to 256) is the longest echo, pure delay included. `nlp` replaces what remains by comfort noise while only the far
    end talks. Raises ValueError for another rate or tail and MemoryError when there is no memory.
    """

    cdef EchoState* state

    def __cinit__(self, sample_rate=8000, tail_ms=128, nlp=True):
        if sample_rate not in (8000, 16000) or not 8 <= tail_ms <= 256:
            raise ValueError(f"no echo canceller for {sample_rate} Hz and a tail of {tail_ms} ms: use 8000 or 16000 Hz and 8 to 256 ms")
        self.state = echo_new(sample_rate, tail_ms, 1 if nlp else 0)
        if self.state == NULL:
            raise MemoryError(f"no memory for an echo canceller of {tail_ms} ms")

    def __dealloc__(self):
        if self.state != NULL:
            echo_free(self.state)

    def process(self, reference, captured) -> bytes:
        """Returns `captured` without the echo of `reference`; both of equal length, any multiple of 10 ms.

        Raises ValueError that says the lengths otherwise.
        """
        cdef bytes far = bytes(reference)
        cdef bytes near = bytes(captured)
        cdef Py_ssize_t block = 2 * self.state.hop
        if len(far) != len(near) or len(near) % block:
            raise ValueError(f"reference is {len(far)} bytes and captured {len(near)} bytes: both must have the same length, a multiple of "
                             f"{block} bytes (10 ms of 16-bit samples at {self.state.rate} Hz)")
        cdef bytearray out = bytearray(len(near))
        cdef char* to = out
        cdef const char* x = far
        cdef const char* d = near
        cdef int n = <int>(len(near) // 2)
        with nogil:
            echo_process(self.state, <const short*>x, <const short*>d, <short*>to, n)
        return bytes(out)

    def stats(self) -> dict:
        """`erl_db`, `erle_db` (0 until the filter has converged), `noise_dbm0` and `delay_ms` of the strongest tap."""
        cdef EchoStats stats
        with nogil:
            echo_stats(self.state, &stats)
        return {"erl_db": stats.erl_db, "erle_db": stats.erle_db, "noise_dbm0": stats.noise_dbm0, "delay_ms": stats.delay_ms,
                "converged": stats.converged, "disabled": bool(stats.disabled)}

    def export_filter(self) -> bytes:
        """The learned impulse response as 32-bit floats; empty while none is proven."""
        cdef bytearray taps = bytearray(4 * echo_taps(self.state))
        cdef char* to = taps
        cdef int n
        with nogil:
            n = echo_export(self.state, <float*>to, echo_taps(self.state))
        return bytes(taps[:4 * n])

    def import_filter(self, taps) -> None:
        """Begin with a response that `export_filter` gave; it is heard once it has been seen to remove echo, else forgotten.

        Raises ValueError for another length (rate or tail differ) and for values that are no impulse response.
        """
        cdef bytes data = bytes(taps)
        cdef const char* at = data
        cdef int n = <int>(len(data) // 4), status
        if len(data) != 4 * echo_taps(self.state):
            raise ValueError(f"an echo filter of {len(data)} bytes does not fit: this canceller has {4 * echo_taps(self.state)}")
        with nogil:
            status = echo_import(self.state, <const float*>at, n)
        if status != 0:
            raise ValueError("an echo filter holds values that no line has")

    def reset(self) -> None:
        """Forget everything learned."""
        with nogil:
            echo_reset(self.state)

