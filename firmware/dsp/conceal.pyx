# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Packet-loss concealment after ITU-T G.711 Appendix I, without its delay, with comfort noise behind it (L2).

Theory of operation
-------------------
*Pitch*: normalised cross-correlation of the last 20 ms with the sound 5 to 15 ms earlier (66 to 200 Hz; higher voices repeat several of
their periods), as in clause I.2.2. *Growing periods*: one pitch period is repeated for 10 ms, two up to 20 ms, then three, each change
faded over a quarter period at the same phase (I.2.5), so that long losses do not buzz. The end of the repeated stretch is blended with
what precedes its start (I.2.3). *Start of a loss*: Appendix I holds back 3.75 ms of received sound to overlap with; here the sound
rings on by itself, through the linear predictor of the last 20 ms without excitation, and fades into the repetition within 5 ms, or
1.25 ms where the repetition itself fits: no delay at all. *Noise-like sound*: what correlates badly is in part replaced by white noise
through the predictor, since a repeated hiss is a tone. *Attenuation*: linear to nothing at 60 ms; strictly periodic sound keeps its level
for the first 10 ms as in I.2.7, other sound is worth less trust. *Return*: overlap of 2.5 ms; the Appendix's 4 to 10 ms (I.2.8) keep more
of what was guessed, and measured worse.
Beyond the Appendix: under the fading sound comes comfort noise like the stream's own background, measured in frames of 10 ms near the
lowest level of late, or as the sender described it (RFC 3389); after 10 s (60 s when described) it ends too.
Invariants: no delay; what is received is changed only while a loss is faded back; for any input the output is finite; the same samples
in other block sizes give the same sound.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove, memset

from firmware.dsp.comfort cimport COMFORT_ORDER, Comfort, comfort_aim, comfort_init, comfort_make, comfort_set

cdef extern from "stretch_lag.h" nogil:
    int lag_search(const float* x, int direction, int n, int least, int most, int thin, float* match)
    float lag_fade(float a, float b, int i, int n)
    float lpc_dot(const float* a, const float* b, int n)
    void lpc_autocorrelate(const float* x, int n, float* r, int order)
    void lpc_window(const float* x, float* y, int n)
    float lpc_levinson(const float* r, int order, float* a, float* k)
    float lpc_filter(const float* a, int order, float* memory, float x)
    float lpc_noise(uint32_t* seed)
    float lpc_root(float x)
    short kernel_round(float x)

cdef enum:
    HELD = 2048                 # floats of `past`
    FULL_MS = 10                # no attenuation of periodic sound
    GONE_MS = 60                # attenuated to nothing
    CHUNK = 80
    TOLD_FRAMES = 200           # received frames for which the sender's description counts more than our measurement

cdef float LOUDEST = 26000.0    # mean power a background may have: -40 dBm0; what never falls below is a tone or a stream begun in mid-word


cdef void conceal_init(Conceal* c, int rate) noexcept nogil:
    memset(c, 0, sizeof(Conceal))
    c.rate = rate
    c.end = CONCEAL_PAST
    c.floor = <float>1e9
    comfort_init(&c.noise, 1)


cdef void _remember(Conceal* c, const float* x, int n) noexcept nogil:
    """n <= CHUNK."""
    if c.end + n > HELD:
        memmove(c.past, &c.past[c.end - CONCEAL_PAST], CONCEAL_PAST * sizeof(float))
        c.end = CONCEAL_PAST
    memcpy(&c.past[c.end], x, n * sizeof(float))
    c.end += n


cdef void _measure(Conceal* c) noexcept nogil:
    """A received frame of 10 ms is at the end of `past`: background?"""
    cdef int i, n = c.rate // 100
    cdef const float* frame = &c.past[c.end - n]
    cdef float power = lpc_dot(frame, frame, n) / <float>n
    cdef float r[11]
    cdef float windowed[320]
    if c.told:
        c.told -= 1
    if power < c.floor:
        c.floor = power if power > <float>1.0 else <float>1.0
    else:
        c.floor *= <float>1.004                 # 1.7 dB a second
    if power > <float>4.0 * c.floor + <float>4.0 or power > LOUDEST:
        return
    lpc_window(&c.past[c.end - 2 * n], windowed, 2 * n)
    lpc_autocorrelate(windowed, 2 * n, r, COMFORT_ORDER)
    if r[0] > <float>n * (<float>4.0 * c.floor + <float>4.0):
        return                                  # the frame before was louder
    c.frames += 1 if c.frames < 8 else 0
    for i in range(COMFORT_ORDER + 1):
        c.r[i] += (r[i] / <float>n - c.r[i]) / <float>c.frames


cdef void _begin(Conceal* c) noexcept nogil:
    cdef int i, order = 10 if c.rate == 8000 else 16, window = c.rate // 50
    cdef float r[17]
    cdef float k[16]
    cdef float memory[16]
    cdef float windowed[320]
    cdef float match, left
    memcpy(c.tail, &c.past[c.end - CONCEAL_PAST], CONCEAL_PAST * sizeof(float))
    c.pitch = lag_search(&c.tail[CONCEAL_PAST - window], -1, window, c.rate // 200, c.rate * 3 // 200, c.rate // 4000, &match)
    c.ringing = c.rate // 800 if match > <float>0.93 else c.rate // 200
    c.full = FULL_MS * (c.rate // 1000) if match > <float>0.93 else 0
    c.voiced = match * <float>2.5
    c.voiced = <float>0.0 if c.voiced < <float>0.0 else <float>1.0 if c.voiced > <float>1.0 else c.voiced
    c.cycles = 1
    c.at = 0
    c.old_left = 0
    lpc_window(&c.tail[CONCEAL_PAST - window], windowed, window)
    lpc_autocorrelate(windowed, window, r, order)
    left = lpc_levinson(r, order, c.a, k)
    c.hiss = lpc_root(left * lpc_dot(&c.tail[CONCEAL_PAST - window // 2], &c.tail[CONCEAL_PAST - window // 2], window // 2)
                      / <float>(window // 2))
    for i in range(order):
        memory[i] = c.tail[CONCEAL_PAST - 1 - i]
    memcpy(c.memory, memory, sizeof(memory))
    for i in range(c.rate // 200):
        c.ring[i] = lpc_filter(c.a, order, memory, <float>0.0)
    if not c.told and c.frames:
        c.noise.set = 0                         # nothing of it is being heard
        comfort_aim(&c.noise, c.r)


cdef inline float _cycle(const Conceal* c, int cycles, int at) noexcept nogil:
    """Sample `at` of the repeated stretch; its last quarter period is blended with what precedes it."""
    cdef int span = cycles * c.pitch, quarter = c.pitch >> 2
    cdef const float* x = &c.tail[CONCEAL_PAST - span + at]
    if at < span - quarter:
        return x[0]
    return lag_fade(x[0], x[-span], at - (span - quarter), quarter)


cdef void _make(Conceal* c, float* out, int n) noexcept nogil:
    """The next n <= CHUNK samples of the made-up sound."""
    cdef int i, order = 10 if c.rate == 8000 else 16, ms10 = c.rate // 100, ring = c.ringing, gone = GONE_MS * (c.rate // 1000)
    cdef int long_gap = (60 if c.told else 10) * c.rate
    cdef float noise[80]
    cdef float x, gain, under, hiss
    comfort_make(&c.noise, noise, n)
    for i in range(n):
        if c.lost >= gone:
            out[i] = noise[i]
            if c.lost >= long_gap:
                under = <float>1.0 - <float>(c.lost - long_gap) / <float>(2 * c.rate)
                out[i] *= under if under > <float>0.0 else <float>0.0
            if c.lost < long_gap + 2 * c.rate:
                c.lost += 1
            continue
        if (c.cycles == 1 and c.lost >= ms10) or (c.cycles == 2 and c.lost >= 2 * ms10):
            c.old_at = c.at
            c.old_left = c.pitch >> 2
            c.at %= c.pitch
            c.cycles += 1
        x = _cycle(c, c.cycles, c.at)
        c.at += 1
        if c.at >= c.cycles * c.pitch:
            c.at = 0
        if c.old_left > 0:
            x = lag_fade(_cycle(c, c.cycles - 1, c.old_at), x, (c.pitch >> 2) - c.old_left, c.pitch >> 2)
            c.old_at += 1
            if c.old_at >= (c.cycles - 1) * c.pitch:
                c.old_at = 0
            c.old_left -= 1
        hiss = lpc_filter(c.a, order, c.memory, c.hiss * lpc_noise(&c.noise.seed))
        if c.voiced < <float>1.0:
            x = c.voiced * x + lpc_root(<float>1.0 - c.voiced * c.voiced) * hiss
        if c.lost < ring:
            x = lag_fade(c.ring[c.lost], x, c.lost, ring)
        gain = <float>1.0
        if c.lost > c.full:
            gain = <float>(gone - c.lost) / <float>(gone - c.full)
        out[i] = gain * x + lpc_root(<float>1.0 - gain * gain) * noise[i]
        c.lost += 1


cdef void conceal_good(Conceal* c, short* samples, int n) noexcept nogil:
    cdef float x[80]
    cdef float made[80]
    cdef int i, m, at = 0, frame = c.rate // 100
    if c.lost and not c.fading:
        c.fading = c.fade = c.rate // 400
    while at < n:
        m = n - at if n - at < CHUNK else CHUNK
        m = frame - c.have if m > frame - c.have else m
        if c.fading:
            m = c.fading if m > c.fading else m
            _make(c, made, m)
            for i in range(m):
                x[i] = lag_fade(made[i], samples[at + i], c.fade - c.fading + i, c.fade)
                samples[at + i] = kernel_round(x[i])
            c.fading -= m
            if not c.fading:
                c.lost = 0
        else:
            for i in range(m):
                x[i] = samples[at + i]
        _remember(c, x, m)
        at += m
        c.have += m
        if c.have >= frame:
            c.have = 0
            _measure(c)


cdef void _fill(Conceal* c, short* out, int n) noexcept nogil:
    cdef float x[80]
    cdef int i, m, at = 0
    c.have = 0
    while at < n:
        m = n - at if n - at < CHUNK else CHUNK
        _make(c, x, m)
        for i in range(m):
            out[at + i] = kernel_round(x[i])
        _remember(c, x, m)
        at += m


cdef void conceal_lost(Conceal* c, short* out, int n) noexcept nogil:
    if c.lost == 0 or c.fading:
        c.lost = c.fading = 0
        _begin(c)
    _fill(c, out, n)


cdef void conceal_quiet(Conceal* c, short* out, int n) noexcept nogil:
    if c.lost == 0 or c.fading:
        c.fading = 0
        _begin(c)
        c.lost = 1
    if c.lost < 30 * (c.rate // 1000) and c.lost > c.rate // 200:
        c.lost = 30 * (c.rate // 1000)          # shorter than the fade of a loss
    _fill(c, out, n)


cdef int conceal_told(Conceal* c, const uint8_t* payload, int n) noexcept nogil:
    if comfort_set(&c.noise, payload, n) < 0:
        return -1
    c.told = TOLD_FRAMES
    return 0


cdef class Concealer:
    """Fills the gaps of a stream: 16-bit little-endian samples at 8000 or 16000 Hz, pieces of any length."""

    cdef Conceal state

    def __cinit__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000):
            raise ValueError(f"no concealment at {sample_rate} Hz: use 8000 or 16000 Hz")
        conceal_init(&self.state, sample_rate)

    def received(self, samples) -> bytes:
        """The samples as they shall be played: just after a gap they begin with the end of what filled it."""
        cdef bytearray data = bytearray(samples)
        cdef char* x = data
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no 16-bit samples: give an even number")
        conceal_good(&self.state, <short*>x, <int>(len(data) // 2))
        return bytes(data)

    def lost(self, n) -> bytes:
        """n samples in place of those that did not come."""
        cdef bytearray data = bytearray(2 * n)
        cdef char* x = data
        conceal_lost(&self.state, <short*>x, n)
        return bytes(data)

    def paused(self, n) -> bytes:
        """n samples of background: the sender is known to pause."""
        cdef bytearray data = bytearray(2 * n)
        cdef char* x = data
        conceal_quiet(&self.state, <short*>x, n)
        return bytes(data)

    def told(self, payload) -> None:
        """The sender describes its background (RFC 3389). Raises ValueError when the payload is none."""
        cdef bytes data = bytes(payload)
        cdef const char* x = data
        if conceal_told(&self.state, <const uint8_t*>x, <int>len(data)) < 0:
            raise ValueError(f"{data[:12]!r} is no comfort noise payload: its first byte must be 0 to 127")
