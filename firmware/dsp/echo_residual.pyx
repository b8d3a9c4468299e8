# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Residual control of the line echo canceller (non-linear processor of ITU-T G.168 clause 7) with comfort noise.

Theory of operation. What the linear filter leaves is compared with the residual expected from the echo estimate (`leak`, learned as a
ratio of powers while the far end talks alone) and with the line's noise. A filter that has not proven itself yet may leave what a hybrid
of 8 dB returns, so that the first words of a call have no echo either; that doubt fades within some three seconds of loud reference.
Where it is no more than that, it is faded out in 20 ms in favour of noise of the same spectrum; anything louder is near speech and passes
within a quarter of a block, for 150 ms at least.

*Noise* is followed by minimum statistics: the lowest smoothed power of the last 1.5 to 3 s. Its spectrum is averaged from the error
whenever the whole error window holds nothing else.
*Comfort noise*: one inverse transform of that spectrum with random signs gives n samples of noise that wraps around; it is
used hop by hop and then faded into the next one with constant power.
"""

from libc.math cimport sqrtf
from libc.string cimport memcpy, memset

from firmware.dsp.echo_state cimport EchoState, Fft

cdef extern from "spectrum.h" nogil:
    void fft_inverse(const Fft* f, const float* re, const float* im, float* x)

cdef float NEAR_MARGIN = 10.0                           # above the expected residual: somebody talks here
cdef float LEAST_LEAK = <float>4e-4                     # a sound that the filter has not met yet leaves more than those before it
cdef float MOST_RESIDUAL = 0.5                          # of the echo estimate: a proven filter leaves no more
cdef float UNKNOWN_RETURN = 0.075                       # of the reference's power, before there is a filter: 11 dB of hybrid loss
cdef float MOST_NOISE = <float>(22750.0 * 22750.0 / 2.0 * 1.6e-4)  # -38 dBm0: anything steady above is a signal, not the line's noise
cdef float COLD_RETURN = 1.6                            # per leak, 0.1 at most: 8 dB of hybrid loss while nothing is known
cdef float PATIENCE = 0.985                             # of doubt about a new filter, per hop of loud reference
cdef float DOUBT = 0.02
cdef float FAR_LOUD = <float>(22750.0 * 22750.0 / 2.0 * 1e-4)      # -40 dBm0
cdef int HANG_HOPS = 15
cdef int NOISE_HOPS = 150
cdef int LOOK_HOPS = 8


cdef void residual_init(EchoState* s) noexcept nogil:
    cdef int k
    for k in range(s.hop):
        s.fade[k] = sqrtf((<float>k + <float>0.5) / s.hop)


cdef void residual_reset(EchoState* s) noexcept nogil:
    memset(s.comfort_psd, 0, s.bins * sizeof(float))
    memset(s.comfort_wave, 0, s.n * sizeof(float))
    memset(s.comfort_tail, 0, s.hop * sizeof(float))
    s.comfort_at = 0
    s.noise_power = 0.0
    s.noise_track = -1.0
    s.noise_low = -1.0
    s.noise_age = s.calm = s.looked = 0
    s.gain = 1.0
    s.hang = 0
    s.seed = 0x2545F491
    s.leak = 1.0
    s.expected = 0.0


cdef void residual_noise(EchoState* s, float power) noexcept nogil:
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
    if s.noise_age >= NOISE_HOPS:
        s.noise_power = s.noise_low
        s.noise_low = s.noise_track
        s.noise_age = 0
    s.calm = s.calm + 1 if power < <float>2.5 * s.noise_power else 0
    s.looked += 1


cdef bint residual_wants_error(EchoState* s) noexcept nogil:
    return s.nlp and s.looked >= LOOK_HOPS and s.calm * s.hop >= s.seen


cdef void residual_look(EchoState* s) noexcept nogil:
    cdef int k
    cdef float rate
    if s.calm * s.hop < s.seen:
        return
    rate = <float>0.2 if s.looked >= 4 else <float>0.05
    s.looked = 0
    for k in range(s.bins):
        s.comfort_psd[k] += rate * (s.er[k] * s.er[k] + s.ei[k] * s.ei[k] - s.comfort_psd[k])


cdef void _next_comfort(EchoState* s) noexcept nogil:
    """New noise in comfort_wave; the last hop of the old one is kept to fade out."""
    cdef int k
    cdef float scale = sqrtf(<float>0.5 * s.n / s.seen), amplitude
    cdef unsigned int r = s.seed
    memcpy(s.comfort_tail, s.comfort_wave + (s.n // s.hop - 1) * s.hop, s.hop * sizeof(float))
    for k in range(s.n // 2 + 1):
        amplitude = scale * sqrtf(s.comfort_psd[k])
        r ^= r << 13
        r ^= r >> 17
        r ^= r << 5
        s.fr[k] = amplitude if r & 0x10000 else -amplitude
        s.fi[k] = amplitude if r & 0x20000 else -amplitude
    s.seed = r
    fft_inverse(&s.fft, s.fr, s.fi, s.comfort_wave)
    for k in range(s.hop):
        s.comfort_wave[k] = s.fade[k] * s.comfort_wave[k] + s.fade[s.hop - 1 - k] * s.comfort_tail[k]


cdef const float* _comfort(EchoState* s) noexcept nogil:
    """The next hop of comfort noise."""
    if s.comfort_at == 0:
        _next_comfort(s)
    cdef const float* noise = s.comfort_wave + s.comfort_at * s.hop
    s.comfort_at = s.comfort_at + 1 if s.comfort_at + 2 < s.n // s.hop else 0
    return noise


cdef void _follow_leak(EchoState* s, float left, float echo) noexcept nogil:
    cdef float ratio = (left - s.noise_power) / echo if left > s.noise_power else <float>0.0
    if ratio < s.leak:
        s.leak += <float>0.1 * (ratio - s.leak)
    elif ratio < <float>8.0 * s.leak:
        s.leak += <float>0.05 * (ratio - s.leak)
    if s.leak < LEAST_LEAK:
        s.leak = LEAST_LEAK


cdef bint _only_residual(EchoState* s, float left) noexcept nogil:
    """Nothing but residual echo and noise is left in this hop or has been for a while."""
    cdef float residual = s.leak * NEAR_MARGIN
    cdef float unproven
    cdef float most = MOST_RESIDUAL if s.converged == 2 else <float>2.0 * MOST_RESIDUAL
    if residual > most:
        residual = most
    unproven = COLD_RETURN * s.leak if s.leak < <float>0.1 else <float>0.1 * COLD_RETURN
    residual = residual * s.expected if s.converged else UNKNOWN_RETURN * s.level_far
    if residual < unproven * s.level_far:
        residual = unproven * s.level_far
    if left > residual + <float>2.5 * s.noise_power:
        s.hang = HANG_HOPS
    if s.hang == 0:
        return True
    s.hang -= 1
    return False


cdef void residual_control(EchoState* s, float* heard, float left, float echo, bint active, bint on) noexcept nogil:
    """`heard`: the hop after the linear filter, of power `left`; `echo`: power of the echo estimate; `on`: may suppress."""
    cdef float target = 1.0, from_ = s.gain, gain, step
    cdef const float* noise
    cdef int k, ramp
    s.expected *= <float>0.7
    if echo > s.expected:
        s.expected = echo
    if active and s.converged and echo > <float>4.0 * s.noise_power:
        _follow_leak(s, left, echo)
    if active and s.leak > DOUBT and s.loud[s.slot] > FAR_LOUD:
        s.leak *= PATIENCE
    if not active:
        s.hang = 0
    elif on and _only_residual(s, left):
        target = 0.0
    if from_ >= 1.0 and target >= 1.0:
        return
    noise = _comfort(s)
    if from_ <= 0.0 and target <= 0.0:
        memcpy(heard, noise, s.hop * sizeof(float))
        return
    ramp = s.hop // 4 if target > from_ else s.hop
    step = (target - from_) / (ramp if target > from_ else 2 * ramp)
    gain = from_
    for k in range(s.hop):
        if k < ramp:
            gain += step
        if gain < 0.0:
            gain = 0.0
        heard[k] = gain * heard[k] + sqrtf(<float>1.0 - gain * gain) * noise[k] if gain < 1.0 else heard[k]
    s.gain = gain if gain < <float>0.999 else <float>1.0
    if target <= 0.0 and s.gain < <float>0.02:
        s.gain = 0.0
