# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Automatic gain for people who speak too quietly (requirement SIL-08), L2.

Theory of operation. The speech level is the mean power of the frames that `activity` calls loud, over a second of speech; the gain that
would bring it to the target (-20 dBm0, the nominal active speech level of ITU-T P.56 and G.100.1) is approached by 2 dB per second
of speech upwards and 6 dB/s downwards, once it is 1.5 dB short, within 0 dB and `most_db` ("raise the level slightly": 10 dB). Nothing moves in silence, in
noise, or while only echo is there, so noise is never pumped; and the gain is never so great that the background exceeds -45 dBm0.
Limiter: it looks ahead within the frame. Each quarter of a frame has the gain that its peak allows (+2 dBm0 at most, but never below
unity), the gain runs in straight lines between, comes back with 40 dB/s, and what begins the frame too loud is bent by a
curve with a steady slope that never reaches full scale. So nothing clips, and there is no delay.
Invariants: at unity gain the output is the input bit for bit; the output never is beyond full scale; frames of 10 ms are independent of
the size of the blocks that bring them.
"""
from libc.math cimport fabsf, log10f, powf
from libc.string cimport memcpy

from firmware.dsp.activity cimport frame_power, talk_frame, talk_init
from firmware.dsp.meter cimport power_dbm0

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)

cdef float POWER_0DBM0 = <float>(22750.0 * 22750.0 / 2.0)
cdef float LIMIT = <float>28640.7             # peak of +2 dBm0
cdef float FULL = <float>32767.0
cdef float UP = <float>1.00230524             # 2 dB in 100 frames
cdef float DOWN = <float>0.99311605           # 6 dB
cdef float RELEASE = <float>1.0115795         # of the limiter, per quarter: 40 dB/s
cdef float NOISE_UP = <float>1.0011519
cdef float NOISE_MOST = <float>8183.0         # -45 dBm0
cdef enum:
    ENOUGH = 60                 # speech frames before anything moves
    SECOND = 100


cdef int agc_init(Agc* a, int rate, float target_dbm0, float most_db) noexcept nogil:
    if (rate != 8000 and rate != 16000) or not -40.0 <= target_dbm0 <= -6.0 or not 0.0 <= most_db <= 20.0:
        return -1
    a.rate = rate
    a.size = rate // 100
    a.target = POWER_0DBM0 * powf(10.0, target_dbm0 / <float>10.0)
    a.most = powf(10.0, most_db / <float>20.0)
    a.gain = 1.0
    a.ended = 1.0
    a.level = 0.0
    a.heard = 0
    a.noise = 0.0
    talk_init(&a.talk)
    return 0


cdef void _follow(Agc* a, float power, float echo) noexcept nogil:
    """Moves the gain, while somebody speaks."""
    cdef float square, allowed
    cdef int n
    talk_frame(&a.talk, power, echo)
    if a.talk.floor < a.noise or a.noise <= 0.0:
        a.noise = a.talk.floor
    else:                       # half a decibel per second: what is said without a pause is no background
        a.noise *= NOISE_UP
    if not (a.talk.loud and a.talk.talking) or a.talk.known < 2:      # a second to tell voice from noise
        return
    if a.heard < SECOND:
        a.heard += 1
    n = a.heard
    a.level += (power - a.level) / n
    if n < ENOUGH:
        return
    square = a.gain * a.gain
    allowed = a.most * a.most
    if allowed * a.noise > NOISE_MOST:
        allowed = NOISE_MOST / a.noise
    if allowed < 1.0:
        allowed = 1.0
    if square * a.level > <float>1.122 * a.target or square > allowed:
        a.gain = a.gain * DOWN
        if a.gain < 1.0:
            a.gain = 1.0
    elif square * a.level < <float>0.708 * a.target and square * UP * UP <= allowed:
        a.gain = a.gain * UP


cdef inline float _bend(float y, float x) noexcept nogil:
    """Beyond the limit the slope falls from 1 towards 0; never below what came in, never to full scale unless that was there."""
    cdef float size = fabsf(y), least = fabsf(x), room = FULL - LIMIT, u
    if size <= LIMIT or size <= least:
        return y
    u = (size - LIMIT) / room
    size = LIMIT + room * u / (<float>1.0 + u)
    if size < least:
        size = least
    return size if y >= 0.0 else -size


cdef void _frame(Agc* a, const short* x, short* out, float echo) noexcept nogil:
    cdef float bound[5]
    cdef float need[4]
    cdef float peak, g, step
    cdef int q, i, size = a.size // 4
    _follow(a, frame_power(x, a.size), echo)
    if a.gain == 1.0 and a.ended == 1.0:
        if out != x:
            memcpy(out, x, a.size * sizeof(short))
        return
    for q in range(4):
        peak = 1.0
        for i in range(q * size, (q + 1) * size):
            if fabsf(x[i]) > peak:
                peak = fabsf(x[i])
        need[q] = LIMIT / peak
        if need[q] < 1.0:
            need[q] = 1.0
        if need[q] > a.gain:
            need[q] = a.gain
    bound[0] = a.ended
    for q in range(1, 5):
        g = bound[q - 1] * RELEASE
        if g > need[q - 1]:
            g = need[q - 1]
        if q < 4 and g > need[q]:
            g = need[q]
        bound[q] = g
    for q in range(4):
        step = (bound[q + 1] - bound[q]) / size
        g = bound[q]
        for i in range(q * size, (q + 1) * size):
            g += step
            out[i] = kernel_round(_bend(g * x[i], x[i]))
    a.ended = bound[4]


cdef int agc_run(Agc* a, const short* samples, short* out, int n, float echo) noexcept nogil:
    cdef int at = 0
    if n % a.size:
        return -1
    while at < n:
        _frame(a, samples + at, out + at, echo)
        at += a.size
    return 0


cdef float agc_gain_db(const Agc* a) noexcept nogil:
    return <float>20.0 * log10f(a.ended)


cdef class GainControl:
    """Raises quiet speech slowly towards `target_dbm0` (-40 to -6), by `most_db` (0 to 20) at most.

    16-bit little-endian samples at 8000 or 16000 Hz; raises ValueError for other rates and values.
    """

    cdef Agc state

    def __init__(self, sample_rate=8000, target_dbm0=-20.0, most_db=10.0):
        if agc_init(&self.state, sample_rate, target_dbm0, most_db):
            raise ValueError(f"no gain control for {sample_rate} Hz, {target_dbm0} dBm0, {most_db} dB: use 8000 or 16000 Hz, -40 to -6 dBm0 "
                             "and 0 to 20 dB")

    def process(self, samples) -> bytes:
        """The samples with the gain; raises ValueError unless they are a multiple of 10 ms."""
        cdef bytearray data = bytearray(samples)
        cdef char* p = data
        cdef int n = <int>(len(data) // 2)
        if len(data) % (2 * self.state.size):
            raise ValueError(f"{len(data)} bytes are no multiple of 10 ms ({2 * self.state.size} bytes)")
        with nogil:
            agc_run(&self.state, <const short*>p, <short*>p, n, 0.0)
        return bytes(data)

    @property
    def gain_db(self):
        """Gain at the end of the last frame."""
        return agc_gain_db(&self.state)

    @property
    def speech_dbm0(self):
        """Speech level before the gain; -99 while none is known."""
        return power_dbm0(self.state.level)
