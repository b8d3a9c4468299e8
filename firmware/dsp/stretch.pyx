# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Time scaling of speech: a pitch period less or more, without a click (L2).

Theory of operation
-------------------
Waveform similarity overlap-add (WSOLA; Verhelst and Roelands 1993) with one join per call. *Shorten*: the lag L at which the next
samples resemble those L later is looked for by normalised cross-correlation; the sound fades from itself to itself L later over up to
L samples, and goes on from there. *Lengthen*: it fades from itself to itself L earlier and so plays L samples twice. In voiced speech L
is a pitch period or some, so pitch stays; in music L is whatever period fits; a fade of equal-phase parts keeps the level.
A join is made only where the correlation reaches the caller's bound: elsewhere nothing is done and the caller tries again later.
Where the sound is quiet (background between words) correlation means nothing and nobody hears the join: exactly the wanted number of
samples goes or comes, with a short fade.
Invariants: first and last samples of the result are neighbours in the original (no step at either end); nothing outside x[-past..n+most)
is touched; 0 or a number in [least, most] is returned.
"""
from libc.string cimport memcpy, memmove

cdef extern from "stretch_lag.h" nogil:
    enum: LAG_SPAN
    int lag_search(const float* x, int direction, int n, int least, int most, int thin, float* match)
    float lag_fade(float a, float b, int i, int n)
    short kernel_round(float x)

cdef enum:
    SHORTEST_MS = 5             # of a fade in sound


cdef int stretch_least(int rate, int wanted) noexcept nogil:
    """The shortest join worth making: 2.5 ms, or a good part of what is wanted, up to 7.5 ms (a period of 133 Hz)."""
    cdef int least = wanted // 2 if wanted < 3 * rate // 200 else 3 * rate // 400
    return least if least > rate // 400 else rate // 400


cdef float _power(const short* x, int n) noexcept nogil:
    cdef float sum = 0.0
    cdef int i
    for i in range(n):
        sum += <float>x[i] * <float>x[i]
    return sum / <float>n


cdef int stretch_shorten(const StretchPlan* p, short* x, int n) noexcept nogil:
    cdef float wave[1024]
    cdef float match
    cdef int i, lag, fade, most = p.most, window = p.rate // 1000 * SHORTEST_MS
    if most > n - window:
        most = n - window
    if most > LAG_SPAN - 2 * window:
        most = LAG_SPAN - 2 * window
    if most < p.least or p.least < 16:
        return 0
    if _power(x, most + window) <= p.quiet:
        lag = p.wanted if p.wanted < most else most
        lag = p.least if lag < p.least else lag
        fade = window
    else:
        if n - most > 2 * window:
            window = n - most if n - most < 4 * window else 4 * window      # up to 20 ms
            if window > LAG_SPAN - most:
                window = LAG_SPAN - most
        for i in range(window + most):
            wave[i] = x[i]
        lag = lag_search(wave, 1, window, p.least, most, p.rate // 4000, &match)
        if match < p.match:
            return 0
        fade = lag if lag < n - lag else n - lag
    for i in range(fade):
        x[i] = kernel_round(lag_fade(x[i], x[lag + i], i, fade))
    memmove(&x[fade], &x[fade + lag], (n - lag - fade) * sizeof(short))
    return lag


cdef int stretch_lengthen(const StretchPlan* p, short* x, int n, int past) noexcept nogil:
    cdef float wave[2048]
    cdef short joined[1024]
    cdef float match
    cdef int i, lag, fade, most = p.most, window = p.rate // 1000 * SHORTEST_MS
    if most > past:
        most = past
    if most > LAG_SPAN - window:
        most = LAG_SPAN - window
    if most < p.least or p.least < 16 or n < window:
        return 0
    if _power(x, window) <= p.quiet and _power(x - most, most) <= p.quiet:
        lag = p.wanted if p.wanted < most else most
        lag = p.least if lag < p.least else lag
        fade = window if window < lag else lag
    else:
        if n > window:
            window = n if n < 4 * window else 4 * window
            if window > LAG_SPAN - most:
                window = LAG_SPAN - most
        for i in range(window + most):
            wave[i] = x[i - most]
        lag = lag_search(wave + most, -1, window, p.least, most, p.rate // 4000, &match)
        if match < p.match:
            return 0
        fade = lag if lag < n else n
    for i in range(fade):
        joined[i] = kernel_round(lag_fade(x[i], x[i - lag], i, fade))
    if fade < lag:
        memcpy(&joined[fade], &x[fade - lag], (lag - fade) * sizeof(short))
    memmove(&x[lag], x, n * sizeof(short))
    memcpy(x, joined, lag * sizeof(short))
    return lag


cdef class TimeScaler:
    """Makes sound shorter or longer at its pitch: 16-bit little-endian samples at 8000 or 16000 Hz."""

    cdef int rate

    def __cinit__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000):
            raise ValueError(f"no time scaling at {sample_rate} Hz: use 8000 or 16000 Hz")
        self.rate = sample_rate

    cdef StretchPlan _plan(self, double match, double quiet, int wanted):
        cdef StretchPlan p
        p.rate = self.rate
        p.most = self.rate * 3 // 200
        p.least = stretch_least(self.rate, wanted)
        p.match = match
        p.quiet = quiet
        p.wanted = wanted
        return p

    def process(self, samples, factor, match=0.85, quiet=2500.0) -> bytes:
        """The sound at `factor` (0.5 to 2.0) times its duration, as near as good places for joins allow."""
        cdef bytes data = bytes(samples)
        cdef const char* x = data
        cdef int n = <int>(len(data) // 2), span = self.rate // 1000 * 30, past = self.rate * 3 // 200
        cdef int at = 0, step, change, here, surplus = 0
        cdef short work[2048]
        cdef StretchPlan p
        cdef bytearray out = bytearray()
        cdef double due = 0.0
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no 16-bit samples: give an even number")
        if not 0.5 <= factor <= 2.0:
            raise ValueError(f"a factor of {factor} is outside 0.5 to 2.0")
        step = span // 3
        while n - at >= span:
            change = 0
            surplus = <int>(due)
            if surplus >= self.rate // 400 and len(out) >= 2 * past:
                p = self._plan(match, quiet, surplus)
                here = past + span
                memcpy(&work[past], x + 2 * at, span * sizeof(short))
                for i in range(past):
                    work[i] = <short>((<int>out[len(out) - 2 * past + 2 * i] | (<int>out[len(out) - 2 * past + 2 * i + 1] << 8)))
                change = stretch_lengthen(&p, &work[past], span, past)
                here = span + change
            elif -surplus >= self.rate // 400:
                p = self._plan(match, quiet, -surplus)
                memcpy(&work[past], x + 2 * at, span * sizeof(short))
                change = -stretch_shorten(&p, &work[past], span)
                here = span + change
            if change:
                out += (<char*>&work[past])[:2 * here]
                at += span
                due += span * (factor - 1.0) - change
            else:
                out += (x + 2 * at)[:2 * step]
                at += step
                due += step * (factor - 1.0)
        out += (x + 2 * at)[:2 * (n - at)]
        return bytes(out)

    def shorten(self, samples, wanted=80, match=0.85, quiet=2500.0) -> bytes:
        """One join in a piece of up to 1000 samples; the piece itself when there is no good place."""
        cdef bytes data = bytes(samples)
        cdef const char* x = data
        cdef short work[1024]
        cdef StretchPlan p = self._plan(match, quiet, wanted)
        cdef int n = <int>(len(data) // 2)
        if n > 1000:
            raise ValueError(f"{n} samples are too many for one join: at most 1000")
        memcpy(work, x, 2 * n)
        return (<char*>work)[:2 * (n - stretch_shorten(&p, work, n))]

    def lengthen(self, past, samples, wanted=80, match=0.85, quiet=2500.0) -> bytes:
        """One join at the end of `past`, played already, and the start of `samples`, up to 1000 each; returns what follows `past`."""
        cdef bytes before = bytes(past), data = bytes(samples)
        cdef const char* x = data
        cdef const char* y = before
        cdef short work[2560]
        cdef StretchPlan p = self._plan(match, quiet, wanted)
        cdef int n = <int>(len(data) // 2), m = <int>(len(before) // 2)
        if n > 1000 or m > 1000:
            raise ValueError(f"{n} and {m} samples are too many for one join: at most 1000 each")
        memcpy(work, y, 2 * m)
        memcpy(&work[m], x, 2 * n)
        return (<char*>&work[m])[:2 * (n + stretch_lengthen(&p, &work[m], n, m))]
