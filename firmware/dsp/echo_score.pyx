# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The echo score of a call: what somebody hears of his own words, in dB above the background (L2).

Theory of operation. The reference is what somebody said, `returned` is what came back to him, wherever in the call both were taken. Frames
of 10 ms give two envelopes. The reference is cut into *words* (loud above -45 dBm0, gaps below 100 ms belong to the word, 2 s at most); when
the longest delay has passed after a word, it is judged:
* The envelopes of the word and 100 ms around it are correlated at each delay. Envelopes, not samples: what a distorting line returns
  is not a linear picture of the word, but it comes and goes with it. The delay is that of the best evidence so far (squares of the
  correlations, forgotten with the words), or the word's own when that is clear and the known one fails: an xrun moves the echo.
* Background: mean power of the frames within 4 dB of the least smoothed power of the last 2 s, at least -65 dBm0, the idle channel noise
  that ITU-T G.712 allows: what lies below nobody hears.
* Where the envelopes correlate (0.5 or more, at a delay that served the words before too, or 0.8), or too little comes back to be speech, the residual is the loudest 200 ms that came back with
  the word, about what the ear sums up, over the background. Where they do not, only the share that regression explains counts; and when
  something louder than 6 dB over the background does not follow the word, the other side spoke or the line cracked: the word is *masked* and
  nothing is said about it.
A word is *audible* from AUDIBLE_DB on. Invariant: same frames, same words; a silent `returned` gives 0 dB.
"""
from typing import NamedTuple

from libc.math cimport log10f, sqrtf
from libc.string cimport memset

from firmware.dsp.activity cimport frame_power
from firmware.dsp.meter cimport power_dbm0

cdef float LOUD = <float>8183.0               # -45 dBm0
cdef float IDLE = <float>81.83                # -65 dBm0
cdef float AUDIBLE_DB = <float>3.0
cdef float SURE = <float>0.5                  # correlation of envelopes
cdef float CLEAR = <float>0.8
cdef float SETTLED = <float>0.35            # mean square correlation of late words at the delay of an echo
cdef float NEAR_LEAST = <float>2.5          # 4 dB: a frame of noise, seen from its least
cdef float SPEECH = <float>4.0                # 6 dB over the background: somebody, or something
cdef enum:
    GAP = 10                    # frames
    LEAST_WORD = 6
    MOST_WORD = 200
    AROUND = 10
    EAR = 20                    # frames the ear sums up
    SUB = 50


cdef void score_init(EchoScorer* s, int lags) noexcept nogil:
    memset(s, 0, sizeof(EchoScorer))
    s.lags = lags if lags < SCORE_LAGS else SCORE_LAGS
    s.delay = -1
    s.smooth = <float>-1.0
    s.low = <float>-1.0
    s.background = IDLE


cdef void _background(EchoScorer* s, float power) noexcept nogil:
    cdef int i
    if power < 1.0:             # nothing has come yet
        return
    if s.smooth < 0.0:
        s.smooth = power
    s.smooth += <float>0.25 * (power - s.smooth)
    if s.low < 0.0 or s.smooth < s.low:
        s.low = s.smooth
    s.age += 1
    if s.age >= SUB:
        for i in range(3, 0, -1):
            s.lows[i] = s.lows[i - 1]
        s.lows[0] = s.low
        if s.known < 4:
            s.known += 1
        s.low = s.smooth
        s.age = 0
    s.least = s.low
    for i in range(s.known):
        if s.lows[i] < s.least:
            s.least = s.lows[i]
    if power < NEAR_LEAST * s.least:
        s.background += <float>0.02 * (power - s.background)
    elif s.background < s.least:
        s.background = s.least
    if s.background < IDLE:
        s.background = IDLE


cdef inline float _at(const float* ring, long long frame) noexcept nogil:
    return ring[frame % SCORE_HISTORY] if frame >= 0 else <float>0.0


cdef float _correlation(const EchoScorer* s, const ScoreWord* w, int lag, float* share) noexcept nogil:
    """Of the envelopes over the word and what is around it; `share`: returned over reference power by regression."""
    cdef long long t
    cdef int n = 0
    cdef float x, y, a, b
    cdef float sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0, px = 0, py = 0, pxx = 0, pxy = 0
    for t in range(w.start - AROUND, w.end + AROUND):
        a = _at(s.far, t)
        b = _at(s.near, t + lag)
        x = a * a
        y = b * b
        sx += a
        sy += b
        sxx += x
        syy += y
        sxy += a * b
        x *= <float>1e-6
        px += x
        py += y
        pxx += x * x
        pxy += x * y
        n += 1
    a = n * pxx - px * px
    share[0] = (n * pxy - px * py) / a * <float>1e-6 if a > 0 else <float>0.0
    a = n * sxx - sx * sx
    b = n * syy - sy * sy
    return (n * sxy - sx * sy) / sqrtf(a * b) if a > 0 and b > <float>1e-3 else <float>0.0


cdef float _loudest(const EchoScorer* s, const ScoreWord* w, int lag) noexcept nogil:
    """Mean power of the loudest 200 ms that came back with the word."""
    cdef long long t
    cdef int k, n = EAR if w.end - w.start >= EAR else <int>(w.end - w.start)
    cdef float sum = 0, most = 0, v
    for t in range(w.start + lag, w.end + lag + 2):
        sum = 0
        for k in range(n):
            if t + k >= w.end + lag + 3:
                break
            v = _at(s.near, t + k)
            sum += v * v
        if sum > most:
            most = sum
    return most / n


cdef void _judge(EchoScorer* s, ScoreWord* w) noexcept nogil:
    cdef int d, own = 0
    cdef float best = -1, c = 0, share, most, level = 0
    cdef float found[64]
    cdef long long t
    for t in range(w.start, w.end):
        c = _at(s.far, t)
        level += c * c
    w.level = level / (w.end - w.start)
    s.weight = <float>0.8 * s.weight + 1
    for d in range(s.lags):
        c = _correlation(s, w, d, &share)
        found[d] = c if c > 0 else <float>0.0
        if c > best:
            best = c
            own = d
    for d in range(s.lags):
        s.seen[d] = <float>0.8 * s.seen[d] + found[d] * found[d]
    if best >= CLEAR and (s.delay < 0 or found[s.delay] < SURE):
        s.delay = own
    elif best >= SURE:
        for d in range(s.lags):
            if s.delay < 0 or s.seen[d] > s.seen[s.delay]:
                s.delay = d
    d = s.delay if s.delay >= 0 else own
    c = _correlation(s, w, d, &share)
    most = _loudest(s, w, d)
    w.delay = s.delay
    w.masked = 0
    if c < SURE or (c < CLEAR and s.seen[d] < SETTLED * s.weight):
        if most > SPEECH * s.background:
            w.masked = 1
        share = share * w.level
        if share < 0:
            share = 0
        if most > s.background + share:
            most = s.background + share
    w.residual_db = <float>10.0 * log10f(most / s.background) if most > s.background else <float>0.0


cdef void _count(EchoScorer* s, ScoreWord* w) noexcept nogil:
    s.word = w[0]
    if w.masked:
        s.masked += 1
        return
    s.words += 1
    s.sum_db += w.residual_db
    if w.residual_db > s.worst_db:
        s.worst_db = w.residual_db
    if w.residual_db >= AUDIBLE_DB:
        s.audible += 1


cdef void _close_word(EchoScorer* s) noexcept nogil:
    cdef ScoreWord* w
    s.in_word = 0
    if s.last - s.start < LEAST_WORD or s.count >= SCORE_WAITING:
        return
    w = &s.waiting[(s.first + s.count) % SCORE_WAITING]
    w.start = s.start
    w.end = s.last
    s.count += 1


cdef int score_frame(EchoScorer* s, float far, float near) noexcept nogil:
    cdef long long now = s.frames
    cdef ScoreWord* w
    s.far[now % SCORE_HISTORY] = sqrtf(far)
    s.near[now % SCORE_HISTORY] = sqrtf(near)
    _background(s, near)
    if far > LOUD:
        if not s.in_word:
            s.in_word = 1
            s.start = now
        s.last = now + 1
    if s.in_word and (now - s.last >= GAP or now - s.start >= MOST_WORD):
        _close_word(s)
    s.frames += 1
    if s.count:
        w = &s.waiting[s.first]
        if s.frames >= w.end + s.lags + AROUND + 2:
            _judge(s, w)
            _count(s, w)
            s.first = (s.first + 1) % SCORE_WAITING
            s.count -= 1
            return 1
    return 0


class EchoWord(NamedTuple):
    """A judged word: ms since the first sample, dB above the background, delay of its echo (-1 = none found), masked by another voice."""

    start_ms: int
    end_ms: int
    residual_db: float
    delay_ms: int
    masked: bool


cdef class EchoScore:
    """Scores the echo of 16-bit little-endian samples at 8000 or 16000 Hz whose delay is at most `max_delay_ms` (10 to 640).

    Raises ValueError for other rates and delays.
    """

    cdef EchoScorer state
    cdef int size
    cdef bytearray far
    cdef bytearray near

    def __init__(self, sample_rate=8000, max_delay_ms=300):
        if sample_rate not in (8000, 16000) or not 10 <= max_delay_ms <= 10 * SCORE_LAGS:
            raise ValueError(f"no echo score for {sample_rate} Hz and {max_delay_ms} ms: use 8000 or 16000 Hz and 10 to {10 * SCORE_LAGS} ms")
        score_init(&self.state, max_delay_ms // 10)
        self.size = sample_rate // 100
        self.far = bytearray()
        self.near = bytearray()

    def feed(self, reference, returned) -> list:
        """Hear both, equally long; returns the words judged now. Raises ValueError for unequal lengths."""
        cdef const short* x
        cdef const short* y
        cdef char* p
        cdef char* q
        cdef int n, at = 0
        cdef list found = []
        self.far += bytes(reference)
        self.near += bytes(returned)
        if len(self.far) != len(self.near) or len(self.far) % 2:
            del self.far[:], self.near[:]
            raise ValueError("reference and returned must have the same whole number of 16-bit samples; what was kept is dropped")
        p = self.far
        q = self.near
        x = <const short*>p
        y = <const short*>q
        n = <int>(len(self.far) // 2)
        while at + self.size <= n:
            if score_frame(&self.state, frame_power(x + at, self.size), frame_power(y + at, self.size)):
                found.append(self._last())
            at += self.size
        del self.far[:2 * at], self.near[:2 * at]
        return found

    cdef object _last(self):
        cdef ScoreWord* w = &self.state.word
        return EchoWord(w.start * 10, w.end * 10, w.residual_db, w.delay * 10 if w.delay >= 0 else -1, bool(w.masked))

    def finish(self) -> list:
        """The end of the call: judge the words whose echo was still awaited, on what there is."""
        cdef list found = []
        cdef int i
        for i in range(GAP + self.state.lags + AROUND + 3 + SCORE_WAITING):
            if score_frame(&self.state, 0.0, 0.0):
                found.append(self._last())
        return found

    def figures(self) -> dict:
        """`words` judged, `masked` and `audible` ones, `worst_db`, `mean_db`, `background_dbm0`, `delay_ms` (-1 = no echo was found)."""
        cdef EchoScorer* s = &self.state
        return {
            "words": s.words, "masked": s.masked, "audible": s.audible, "worst_db": s.worst_db,
            "mean_db": s.sum_db / s.words if s.words else 0.0, "background_dbm0": power_dbm0(s.background),
            "delay_ms": s.delay * 10 if s.delay >= 0 else -1,
        }
