# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Comfort noise: analysis, payload and synthesis (L2).

Theory of operation
-------------------
RFC 3389 section 3: a payload is one byte of level, 0 to 127 for 0 to -127 dBov (0 dBov = the square wave at the codec's overload point,
which is 32124 of 16 bit for mu-law), and any number of reflection coefficients, one byte N each, k = 258 (N - 127) / 32768, N = 0..254.
*Measure*: frames of 80 samples, each windowed with half a sine over itself and its predecessor, give an autocorrelation; it is averaged
over the last 16 frames or so. The level is that of the average, the coefficients come from Levinson and Durbin's recursion.
*Make*: white noise through the all-pole filter of the coefficients. Level and coefficients approach a new setting in steps of 80
samples (a weighted mean of two stable sets of reflection coefficients is stable), so an update makes no step in the sound.
Invariants: the filter is stable for every payload; the same stream of calls gives the same noise on every machine whatever its block
sizes; the first set level holds at once.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove, memset

cdef extern from "comfort_lpc.h" nogil:
    void lpc_autocorrelate(const float* x, int n, float* r, int order)
    void lpc_window(const float* x, float* y, int n)
    float lpc_levinson(const float* r, int order, float* a, float* k)
    float lpc_predictor(const float* k, int order, float* a)
    float lpc_filter(const float* a, int order, float* memory, float x)
    float lpc_noise(uint32_t* seed)
    float lpc_root(float x)
    short kernel_round(float x)

cdef enum:
    STEP = 80                   # samples between steps of the synthesis and frames of the measure
    MEMORY = 16                 # frames averaged

cdef float OVERLOAD = 32124.0
cdef float[128] LEVELS          # rms of each level byte


cdef void _fill_levels() noexcept:
    cdef int i
    for i in range(128):
        LEVELS[i] = OVERLOAD * <float>(10.0 ** (-i / 20.0))


_fill_levels()


cdef void comfort_init(Comfort* c, uint32_t seed) noexcept nogil:
    memset(c, 0, sizeof(Comfort))
    c.seed = seed
    c.a[0] = <float>1.0


cdef void _settle(Comfort* c) noexcept nogil:
    """First setting: no approach."""
    if not c.set:
        memcpy(c.k, c.goal_k, sizeof(c.k))
        c.rms = c.goal_rms
        c.gain = c.rms * lpc_root(lpc_predictor(c.k, COMFORT_ORDER, c.a))
        c.left = STEP
    c.set = 1


cdef int comfort_set(Comfort* c, const uint8_t* payload, int n) noexcept nogil:
    cdef int i
    if n < 1 or payload[0] > 127:
        return -1
    for i in range(COMFORT_ORDER):
        c.goal_k[i] = <float>0.0
        if i + 1 < n and payload[i + 1] < 255:
            c.goal_k[i] = <float>(258 * (<int>payload[i + 1] - 127)) / <float>32768.0
            if c.goal_k[i] > <float>0.995:          # a payload may ask for a filter that rings for seconds
                c.goal_k[i] = <float>0.995
            elif c.goal_k[i] < <float>-0.995:
                c.goal_k[i] = <float>-0.995
    c.goal_rms = LEVELS[payload[0]]
    _settle(c)
    return 0


cdef void comfort_aim(Comfort* c, const float* r) noexcept nogil:
    cdef float a[17]
    if not r[0] > <float>0.0:
        memset(c.goal_k, 0, sizeof(c.goal_k))
        c.goal_rms = <float>0.0
    else:
        lpc_levinson(r, COMFORT_ORDER, a, c.goal_k)
        c.goal_rms = lpc_root(r[0])
    _settle(c)


cdef void comfort_make(Comfort* c, float* out, int n) noexcept nogil:
    """n samples of noise; silence before anything was set."""
    cdef int i, j
    for i in range(n):
        if c.left <= 0:
            c.left = STEP
            for j in range(COMFORT_ORDER):
                c.k[j] += <float>0.25 * (c.goal_k[j] - c.k[j])
            c.rms += <float>0.25 * (c.goal_rms - c.rms)
            c.gain = c.rms * lpc_root(lpc_predictor(c.k, COMFORT_ORDER, c.a))
        c.left -= 1
        out[i] = lpc_filter(c.a, COMFORT_ORDER, c.memory, c.gain * lpc_noise(&c.seed))


cdef void comfort_meter_init(ComfortMeter* m) noexcept nogil:
    memset(m, 0, sizeof(ComfortMeter))


cdef void comfort_learn(ComfortMeter* m, const short* samples, int n) noexcept nogil:
    """Takes samples of background (any number) into the average."""
    cdef float windowed[160]
    cdef float r[11]
    cdef float part
    cdef int i, k
    for i in range(n):
        m.frame[80 + m.have] = samples[i]
        m.have += 1
        if m.have < STEP:
            continue
        m.have = 0
        lpc_window(m.frame, windowed, 160)
        lpc_autocorrelate(windowed, 160, r, COMFORT_ORDER)
        if m.frames:            # the first frame lacks its predecessor
            part = <float>1.0 / <float>(m.frames if m.frames < MEMORY else MEMORY)
            for k in range(COMFORT_ORDER + 1):
                m.r[k] += part * (r[k] / <float>80.0 - m.r[k])      # the window's power is a half: 80 of 160
        m.frames += 1 if m.frames < 1 << 20 else 0
        memmove(m.frame, &m.frame[80], 80 * sizeof(float))


cdef int comfort_encode(const ComfortMeter* m, int order, uint8_t* out) noexcept nogil:
    """The payload of what was learned with 0 to 10 coefficients."""
    cdef float a[17]
    cdef float k[16]
    cdef float rms
    cdef int i, code
    if m.frames < 2 or order < 0 or order > COMFORT_ORDER:
        return 0
    rms = lpc_root(m.r[0])
    code = 0
    while code < 127 and LEVELS[code] * <float>0.944 > rms:         # half a dB is 0.944
        code += 1
    out[0] = code
    lpc_levinson(m.r, order, a, k)
    for i in range(order):
        code = <int>(k[i] * <float>(32768.0 / 258.0) + <float>127.5)
        out[1 + i] = 0 if code < 0 else 254 if code > 254 else code
    return 1 + order


cdef class ComfortNoise:
    """Measures background noise and makes noise like it: 16-bit little-endian samples, 80 of them are a frame.

    `learn` and `encode` are the sender's side (RFC 3389 payload), `set` and `make` the receiver's.
    """

    cdef Comfort noise
    cdef ComfortMeter meter

    def __cinit__(self, seed=1):
        comfort_init(&self.noise, <uint32_t>(seed & 0xFFFFFFFF))
        comfort_meter_init(&self.meter)

    def learn(self, samples) -> None:
        """Take samples of background into the average. Raises ValueError for an odd number of bytes."""
        cdef bytes data = bytes(samples)
        cdef const char* x = data
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no 16-bit samples: give an even number")
        comfort_learn(&self.meter, <const short*>x, <int>(len(data) // 2))

    def encode(self, order=10) -> bytes:
        """The payload: level and `order` (0 to 10) reflection coefficients; empty before 20 ms were learned."""
        cdef uint8_t out[11]
        cdef int n
        if not 0 <= order <= COMFORT_ORDER:
            raise ValueError(f"{order} reflection coefficients: 0 to {COMFORT_ORDER} are possible")
        n = comfort_encode(&self.meter, order, out)
        return (<char*>out)[:n]

    def set(self, payload) -> None:
        """Use a received payload from now on. Raises ValueError when it is none."""
        cdef bytes data = bytes(payload)
        cdef const char* x = data
        if comfort_set(&self.noise, <const uint8_t*>x, <int>len(data)) < 0:
            raise ValueError(f"{data[:12]!r} is no comfort noise payload: its first byte must be 0 to 127")

    def make(self, n) -> bytes:
        """n samples of noise."""
        cdef float block[80]
        cdef short pcm[80]
        cdef int left = n, i, m
        cdef bytearray out = bytearray()
        while left > 0:
            m = left if left < STEP else STEP
            comfort_make(&self.noise, block, m)
            for i in range(m):
                pcm[i] = kernel_round(block[i])
            out += (<char*>pcm)[:2 * m]
            left -= m
        return bytes(out)
