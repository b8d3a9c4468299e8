# cython: language_level=3, boundscheck=False, wraparound=False
"""Line echo canceller to ITU-T G.168 (2015): an adaptive filter with a heard copy, residual control, tone disabler, warm start.

Theory of operation. The block is 10 ms (one hop), so the canceller adds no delay to the tick. `echo_filter` models the echo path of
any length up to the tail, pure delay included, and judges which of its two filters is heard; `echo_residual` replaces what remains
by comfort noise; `echo_disabler` steps aside for modems and fax. Here one hop is led through them.

Tails over 16 ms use blocks of n = 512 samples at 8 kHz (1024 at 16 kHz) and partitions of 20 ms, of which 352 samples of error
teach; shorter ones need one partition and half of that block. See docs/decisions/0009-echo-canceller.md for the choice.

*Warm start*: an impulse response learned in an earlier call goes into the background filter, on trial. It is heard as soon as it
has been seen to explain the echo, within a few blocks of far sound, and forgotten unheard when it does not.

With a silent reference the echo estimate is zero and the output equals the captured samples bit for bit.
Invariants: all memory is taken in `echo_new`; coefficients are finite (a hop that is not restarts the background); same input, same
output.
"""

from libc.math cimport log10f
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

from firmware.dsp.echo_disabler cimport disabler_feed, disabler_init, disabler_reset
from firmware.dsp.echo_filter cimport *
from firmware.dsp.echo_residual cimport *
from firmware.dsp.echo_state cimport EchoState, Fft, SoundPowers

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void** to, size_t alignment, size_t size)

cdef extern from "spectrum.h" nogil:
    void fft_init(Fft* f, int n)
    void fft_forward(const Fft* f, const float* x, float* re, float* im)
    void spectrum_power(float* power, const float* xr, const float* xi, int n)
    void sound_load(float* to, const short* x, int n)
    void sound_store(short* to, const float* x, int n)
    void sound_compare(SoundPowers* to, const float* near, const float* front, const float* back, int n)
    void sound_subtract(float* to, const float* x, const float* y, int n)
    float kernel_energy(const float* a, int n)

cdef float POWER_0DBM0 = <float>(22750.0 * 22750.0 / 2.0)
cdef float FAR_FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 1e-5)      # -50 dBm0: below, the far end is silent
cdef float MOST_TAP = 4.0                               # no line amplifies more
cdef float SLOW = 0.01                                  # of the powers of the statistics, per hop


cdef inline float* _take(float** at, int n) noexcept nogil:
    cdef float* mine = at[0]
    at[0] += n
    return mine


cdef void _measure(EchoState* s, int rate, int tail_ms) noexcept nogil:
    """Sizes for a tail."""
    s.rate = rate
    s.hop = rate // 100
    if tail_ms <= 16:
        s.n = 256 * rate // 8000
        s.parts = s.span = 1
        s.part = tail_ms * rate // 1000
    else:
        s.n = 512 * rate // 8000
        s.span = 2
        s.part = s.span * s.hop
        s.parts = (tail_ms + 19) // 20
    s.seen = (s.n - s.part + 1) // 4 * 4
    s.bins = s.n // 2 + 4
    s.turn = s.seen // s.hop if s.seen >= 2 * s.hop else 2
    s.slots = s.parts * s.span


cdef EchoState* echo_new(int rate, int tail_ms, int nlp) noexcept nogil:
    cdef EchoState* s
    cdef EchoState sizes
    cdef void* memory = NULL
    cdef float* at
    cdef size_t head = (sizeof(EchoState) + 63) // 64 * 64, total
    if (rate != 8000 and rate != 16000) or tail_ms < 8 or tail_ms > 256:
        return NULL
    _measure(&sizes, rate, tail_ms)
    total = (3 * <size_t>sizes.slots + 5 * <size_t>sizes.parts + 13) * sizes.bins + 3 * sizes.n + 3 * sizes.seen + 3 * sizes.hop
    total += sizes.slots + 3
    if posix_memalign(&memory, 64, head + total * sizeof(float)):
        return NULL
    memset(memory, 0, head + total * sizeof(float))
    s = <EchoState*>memory
    _measure(s, rate, tail_ms)
    s.nlp = nlp
    fft_init(&s.fft, s.n)
    disabler_init(&s.disabler, rate)
    at = <float*>(<char*>memory + head)
    s.xr = _take(&at, s.slots * s.bins)
    s.xi = _take(&at, s.slots * s.bins)
    s.xp = _take(&at, s.slots * s.bins)
    s.back.re = _take(&at, s.parts * s.bins)
    s.back.im = _take(&at, s.parts * s.bins)
    s.front.re = _take(&at, s.parts * s.bins)
    s.front.im = _take(&at, s.parts * s.bins)
    s.var = _take(&at, s.parts * s.bins)
    s.noise = _take(&at, s.bins)
    s.peak = _take(&at, s.bins)
    s.peak_old = _take(&at, s.bins)
    s.peak_both = _take(&at, s.bins)
    s.known = _take(&at, s.bins)
    s.inverse = _take(&at, s.bins)
    s.fr = _take(&at, s.bins)
    s.fi = _take(&at, s.bins)
    s.yr = _take(&at, s.bins)
    s.yi = _take(&at, s.bins)
    s.er = _take(&at, s.bins)
    s.ei = _take(&at, s.bins)
    s.comfort_psd = _take(&at, s.bins)
    s.frame = _take(&at, s.n)
    s.wave = _take(&at, s.n)
    s.comfort_wave = _take(&at, s.n)
    s.past = _take(&at, s.seen)
    s.echo_front = _take(&at, s.seen)
    s.echo_back = _take(&at, s.seen)
    s.near = _take(&at, s.hop)
    s.comfort_tail = _take(&at, s.hop)
    s.fade = _take(&at, s.hop)
    s.loud = at
    residual_init(s)
    echo_reset(s)
    return s


cdef void echo_free(EchoState* s) noexcept nogil:
    free(s)


cdef void echo_reset(EchoState* s) noexcept nogil:
    memset(s.frame, 0, s.n * sizeof(float))
    memset(s.xr, 0, 3 * <size_t>s.slots * s.bins * sizeof(float))
    memset(s.loud, 0, s.slots * sizeof(float))
    memset(s.past, 0, s.seen * sizeof(float))
    s.slot = 0
    s.mode = ECHO_NORMAL
    s.sum_far = s.sum_echo = s.sum_before = s.sum_left = 0.0
    s.hops = 0
    filter_reset(s)
    residual_reset(s)
    disabler_reset(&s.disabler)


cdef bint _take_reference(EchoState* s) noexcept nogil:
    """Spectrum of the newest block of reference; True while the far end sounds or its echo may."""
    cdef int k
    s.slot = s.slot + 1 if s.slot + 1 < s.slots else 0
    s.loud[s.slot] = kernel_energy(s.frame + s.n - s.hop, s.hop) / s.hop
    fft_forward(&s.fft, s.frame, s.xr + s.slot * s.bins, s.xi + s.slot * s.bins)
    spectrum_power(s.xp + s.slot * s.bins, s.xr + s.slot * s.bins, s.xi + s.slot * s.bins, s.bins)
    filter_peak(s)
    s.level_far = 0.0
    for k in range(s.slots):
        if s.loud[k] > s.level_far:
            s.level_far = s.loud[k]
    return s.level_far > FAR_FLOOR


cdef void _count(EchoState* s, float left, float echo) noexcept nogil:
    """Long-term powers for the statistics."""
    s.sum_far += SLOW * (s.loud[s.slot] - s.sum_far)
    s.sum_echo += SLOW * (echo - s.sum_echo)
    if left < echo:
        s.sum_left += SLOW * (left - s.sum_left)
        s.sum_before += SLOW * (s.now.near - s.sum_before)


cdef void _hop(EchoState* s, const short* reference, const short* captured, short* out) noexcept nogil:
    cdef int k, hop = s.hop, last = s.seen - s.hop
    cdef float left, echo, w
    cdef bint active, both, copied
    memmove(s.frame, s.frame + hop, (s.n - hop) * sizeof(float))
    memmove(s.past, s.past + hop, last * sizeof(float))
    sound_load(s.frame + s.n - hop, reference, hop)
    sound_load(s.near, captured, hop)
    memcpy(s.past + last, s.near, hop * sizeof(float))
    disabler_feed(&s.disabler, s.frame + s.n - hop, s.near)
    active = _take_reference(s)
    s.rest += 1
    both = active and s.disabler.off == 0 and (s.rest >= s.turn or filter_poor(s))
    if s.level_far > 0.0:
        filter_predict(s, both)
    else:                                               # nothing can come back: exactly nothing, also from a filter not trimmed yet
        memset(s.echo_front, 0, s.seen * sizeof(float))
    sound_compare(&s.now, s.near, s.echo_front + last, s.echo_back + last, hop)
    left = s.now.left
    echo = s.now.echo
    s.level_echo += <float>0.2 * (echo - s.level_echo)
    residual_noise(s, left)
    if both and s.now.tried < 1e12:
        s.rest = 0
        filter_error(s, s.echo_back)
        if not filter_on_trial(s):
            filter_learn(s)
        residual_look(s)
    elif residual_wants_error(s):
        filter_error(s, s.echo_front)
        residual_look(s)
    filter_watch(s, active and s.disabler.off == 0)
    copied = False
    if both and s.now.other > s.level_far:
        # No hybrid returns more than it got. A near tone that came back to us through another hybrid is in the reference, small
        # and in step; a filter that explains the tone by its own trace would shout as soon as somebody speaks.
        filter_restart(s)
    elif both:
        copied = filter_judge(s, active)
    if copied:                                          # from one filter's echo to the other's within the hop
        for k in range(hop):
            w = s.echo_front[last + k]
            s.echo_front[last + k] = w + (s.echo_back[last + k] - w) * (k + 1) / hop
        left = s.now.tried
        echo = s.now.other
    sound_subtract(s.near, s.near, s.echo_front + last, hop)
    if active and s.converged:
        _count(s, left, echo)
    if s.nlp:
        residual_control(s, s.near, left, echo, active, s.mode == ECHO_NORMAL and s.disabler.plain == 0)
    if s.disabler.off:
        memmove(out, captured, hop * sizeof(short))
    else:
        sound_store(out, s.near, hop)
    s.hops += 1


cdef int echo_process(EchoState* s, const short* reference, const short* captured, short* out, int n) noexcept nogil:
    cdef int at = 0
    if n < 0 or n % s.hop or s.mode == ECHO_BYPASS:
        if n > 0 and out != captured:
            memmove(out, captured, n * sizeof(short))
        return 0 if n >= 0 and n % s.hop == 0 else -1
    while at < n:
        _hop(s, reference + at, captured + at, out + at)
        at += s.hop
    return 0


cdef void echo_stats(const EchoState* s, EchoStats* stats) noexcept nogil:
    cdef float best = 0.0
    cdef int p
    stats.delay_ms = 0
    for p in range(s.parts):
        if s.tap[p] > best:
            best = s.tap[p]
            stats.delay_ms = s.place[p] * 1000 // s.rate
    stats.erl_db = stats.erle_db = 0.0
    if s.converged and s.sum_echo > 0.0 and s.sum_far > 0.0:
        stats.erl_db = <float>10.0 * log10f(s.sum_far / s.sum_echo)
    if s.converged and s.sum_left > 0.0 and s.sum_before > 0.0:
        stats.erle_db = <float>10.0 * log10f(s.sum_before / s.sum_left)
    stats.noise_dbm0 = <float>10.0 * log10f((s.noise_power + <float>1e-2) / POWER_0DBM0)
    stats.converged = s.converged
    stats.disabled = s.disabler.off
    stats.mode = s.mode


cdef void echo_set_mode(EchoState* s, int mode) noexcept nogil:
    s.mode = mode
    s.gain = 1.0
    s.hang = 0


cdef int echo_taps(const EchoState* s) noexcept nogil:
    return s.parts * s.part


cdef int echo_export(EchoState* s, float* taps, int most) noexcept nogil:
    if s.converged < 2 or most < s.parts * s.part:
        return 0
    filter_give(s, taps)
    return s.parts * s.part


cdef int echo_import(EchoState* s, const float* taps, int n) noexcept nogil:
    cdef int k
    if n != s.parts * s.part:
        return -1
    for k in range(n):
        if not (-MOST_TAP < taps[k] < MOST_TAP):        # also false for NaN
            return -1
    filter_take(s, taps)
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

