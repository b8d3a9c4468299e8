# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Voice activity detector: spectrum over its own background, periodicity, hangover (L2).

Theory of operation
-------------------
Every 10 ms the spectrum of the newest 16 ms (Hann window) is summed in 12 bands from 100 to 3800 Hz. Each band has a floor: it falls
quickly to a lower smoothed power, rises by 2.6 dB a second, and follows the power itself while nobody speaks. The *excess* of a frame is
the mean over the bands of log2(power / floor) beyond 2, the scatter of noise in one band: speech stands out in some bands even where
its total power does not, and a rumble that fills one band does not count as speech. Much excess is speech; some excess is speech when
the frame is periodic as well (normalised correlation at a lag of 2.5 to 15 ms); less is none.
*Hangover*: 150 ms after three frames of speech in a row, 40 ms after fewer, so that soft ends of words stay and clicks do not.
*Steps of the background*: what stays for a second without being periodic or changing is taken for background; the floor then rises quickly.
Invariants: the same samples in other block sizes give the same decisions; decisions use no libm function; floors stay within float range.
"""
from libc.string cimport memmove, memset

cdef extern from "fft.h" nogil:
    ctypedef struct Fft:
        int n
    void fft_init(Fft* f, int n)
    void fft_forward(const Fft* f, const float* x, float* re, float* im)

cdef extern from "stretch_lag.h" nogil:
    int lag_search(const float* x, int direction, int n, int least, int most, int thin, float* match)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* log2 with straight lines between powers of two (error up to 0.09): the same on every machine; x > 0 */
    static inline float vad_log2(float x)
    {
        uint32_t bits;
        memcpy(&bits, &x, 4);
        return (float)(int32_t)(bits - 0x3F800000u) * (1.0f / 8388608.0f);
    }
    """
    float vad_log2(float x) nogil

cdef enum:
    SETTLE = 10                 # frames in which the floor is what is heard
    LONG_HANG = 15
    SHORT_HANG = 4
    STEADY = 100

cdef Fft NARROW, WIDE
cdef float SURE = 0.5           # excess that is speech
cdef float DOUBT = 0.12         # excess that is speech when periodic
cdef float PERIODIC = 0.55
cdef int[13] EDGES = [100, 250, 400, 550, 700, 900, 1150, 1400, 1750, 2150, 2600, 3200, 3800]

fft_init(&NARROW, 128)
fft_init(&WIDE, 256)


cdef void vad_init(Vad* v, int rate) noexcept nogil:
    cdef int i, n = 128 if rate == 8000 else 256
    cdef float c = 1.0, before, step, next_c
    memset(v, 0, sizeof(Vad))
    v.rate = rate
    for i in range(13):
        v.edge[i] = (EDGES[i] * n + rate // 2) // rate
    # Hann window by the recurrence of the cosine, w = 2 pi / n
    step = <float>(0.99879545620517239271 if n == 128 else 0.99969881869620422012)
    before = step
    for i in range(n):
        v.window[i] = <float>0.5 - <float>0.5 * c
        next_c = <float>2.0 * step * c - before
        before = c
        c = next_c


cdef void _frame(Vad* v) noexcept nogil:
    cdef int n = 128 if v.rate == 8000 else 256, span = v.rate * 7 // 200, i, k, speech, window = v.rate // 50
    cdef float x[256]
    cdef float re[260]
    cdef float im[260]
    cdef float power[12]
    cdef float excess = 0.0, ratio, scale = <float>1.0 / <float>(n * n)
    for i in range(n):
        x[i] = v.sound[span - n + i] * v.window[i]
    fft_forward(&NARROW if n == 128 else &WIDE, x, re, im)
    for k in range(VAD_BANDS):
        power[k] = <float>0.02                  # 16-bit rounding alone is above this
        for i in range(v.edge[k], v.edge[k + 1]):
            power[k] += (re[i] * re[i] + im[i] * im[i]) * scale
    v.frames += 1 if v.frames < 1 << 20 else 0
    for k in range(VAD_BANDS):
        v.smooth[k] += (<float>1.0 if v.frames == 1 else <float>0.3) * (power[k] - v.smooth[k])
        if v.frames <= SETTLE:
            v.floor[k] += (power[k] - v.floor[k]) / <float>v.frames
        ratio = vad_log2(power[k] / v.floor[k]) - <float>1.0
        if ratio > <float>0.0:
            excess += ratio if ratio < <float>6.0 else <float>6.0
    excess /= <float>VAD_BANDS
    v.excess = excess
    speech = v.frames > SETTLE and excess > SURE
    v.match = <float>-1.0
    if v.frames > SETTLE and excess > DOUBT and (not speech or v.steady > STEADY // 2):
        lag_search(&v.sound[span - window], -1, window, v.rate // 400, v.rate * 3 // 200, v.rate // 4000, &v.match)
        speech = speech or v.match > PERIODIC
    ratio = excess - v.slow
    v.slow += <float>0.1 * ratio
    if speech and ratio < <float>0.5 and ratio > <float>-0.5 and v.match < PERIODIC:
        v.steady += 1
    elif speech:
        v.steady = v.steady - 3 if v.steady > 3 else 0
    for k in range(VAD_BANDS):
        if v.smooth[k] < v.floor[k]:
            v.floor[k] += <float>0.3 * (v.smooth[k] - v.floor[k])
        elif not speech and not v.hang:
            v.floor[k] += <float>0.05 * (v.smooth[k] - v.floor[k])
        else:
            v.floor[k] *= <float>1.05 if v.steady > STEADY else <float>1.006
    if speech:
        v.speech += 1
        if v.speech >= 3:
            v.hang = LONG_HANG
        elif v.hang < SHORT_HANG:
            v.hang = SHORT_HANG
    else:
        v.speech = 0
        if v.hang > 0:
            v.hang -= 1
        else:
            v.steady = 0
    v.active = speech or v.hang > 0


cdef int vad_feed(Vad* v, const short* samples, int n) noexcept nogil:
    cdef int frame = v.rate // 100, span = v.rate * 7 // 200, i
    for i in range(n):
        v.sound[span - frame + v.have] = samples[i]
        v.have += 1
        if v.have >= frame:
            v.have = 0
            _frame(v)
            memmove(v.sound, &v.sound[frame], (span - frame) * sizeof(float))
    return v.active


cdef class VoiceActivity:
    """Says whether somebody speaks: 16-bit little-endian samples at 8000 or 16000 Hz."""

    cdef Vad state

    def __cinit__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000):
            raise ValueError(f"no voice activity detector for {sample_rate} Hz: use 8000 or 16000 Hz")
        vad_init(&self.state, sample_rate)

    def feed(self, samples) -> list:
        """The decision at the end of every frame of 10 ms completed by these samples."""
        cdef bytes data = bytes(samples)
        cdef const char* x = data
        cdef int n = <int>(len(data) // 2), at = 0, m, frame = self.state.rate // 100
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no 16-bit samples: give an even number")
        found = []
        while at < n:
            m = frame - self.state.have
            m = n - at if m > n - at else m
            vad_feed(&self.state, <const short*>(x + 2 * at), m)
            at += m
            if self.state.have == 0:
                found.append(bool(self.state.active))
        return found

    @property
    def active(self) -> bool:
        """The decision of the last frame."""
        return bool(self.state.active)
