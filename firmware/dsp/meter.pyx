# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Level meter of one direction of a port: RMS, peak, clipped samples (L2).

Theory of operation. Squares are summed over frames of 10 ms, and the mean square is smoothed with the time constant "fast" of IEC 61672-1
(125 ms). The peak stands for 1 s and then falls by 20 dB/s. Levels are in dBm0: a sine with a peak of 22750 is 0 dBm0, so the greatest sine
is +3.17 dBm0 (ITU-T G.711 has 3.14 and 3.17), and a peak is told as the level of the sine that has it. Silence is told as -99 dBm0.
Invariant: frames are counted from the first sample, so blocks of any size give the same figures.
"""
from libc.math cimport log10f

cdef float POWER_0DBM0 = <float>(22750.0 * 22750.0 / 2.0)
cdef float SMOOTH = <float>0.0768837          # 1 - exp(-10 / 125)
cdef float FALL = <float>0.9772372            # 20 dB in 100 frames
cdef float SILENCE = <float>-99.0
cdef enum:
    HOLD = 100                  # frames
    FULL = 32767


cdef float power_dbm0(float mean_square) noexcept nogil:
    cdef float level
    if mean_square <= <float>0.065:             # -99 dBm0
        return SILENCE
    level = <float>10.0 * log10f(mean_square / POWER_0DBM0)
    return level if level > SILENCE else SILENCE


cdef void meter_init(Meter* m, int rate) noexcept nogil:
    m.rate = rate
    m.size = rate // 100
    m.fill = 0
    m.sum = 0.0
    m.top = 0
    m.power = 0.0
    m.peak = 0.0
    m.hold = 0
    m.clipped = 0


cdef void _frame(Meter* m) noexcept nogil:
    m.power += SMOOTH * (m.sum / m.size - m.power)
    if m.power < <float>1e-12:
        m.power = 0.0
    if m.top >= m.peak:
        m.peak = m.top
        m.hold = HOLD
    elif m.hold > 0:
        m.hold -= 1
    else:
        m.peak = m.peak * FALL if m.peak > <float>1e-3 else <float>0.0
    m.fill = 0
    m.sum = 0.0
    m.top = 0


cdef void meter_feed(Meter* m, const short* samples, int n) noexcept nogil:
    cdef int i, size, top = m.top
    cdef float sum = m.sum, x
    for i in range(n):
        size = samples[i] if samples[i] >= 0 else -samples[i]
        if size >= FULL:
            m.clipped += 1
        if size > top:
            top = size
        x = samples[i]
        sum += x * x
        m.fill += 1
        if m.fill == m.size:
            m.sum = sum
            m.top = top
            _frame(m)
            sum = 0.0
            top = 0
    m.sum = sum
    m.top = top


cdef float meter_level(const Meter* m) noexcept nogil:
    return power_dbm0(m.power)


cdef float meter_peak(const Meter* m) noexcept nogil:
    return power_dbm0(m.peak * m.peak * <float>0.5)


cdef class LevelMeter:
    """Levels of 16-bit little-endian samples at 8000 or 16000 Hz; raises ValueError for another rate."""

    cdef Meter state

    def __init__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000):
            raise ValueError(f"no level meter for {sample_rate} Hz: use 8000 or 16000 Hz")
        meter_init(&self.state, sample_rate)

    def feed(self, samples) -> None:
        """Hear more; raises ValueError for half a sample."""
        cdef bytes data = bytes(samples)
        cdef const char* x = data
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples")
        meter_feed(&self.state, <const short*>x, <int>(len(data) // 2))

    @property
    def level_dbm0(self):
        """RMS level, time constant 125 ms."""
        return meter_level(&self.state)

    @property
    def peak_dbm0(self):
        """Peak, held 1 s; the level of the sine that has it."""
        return meter_peak(&self.state)

    @property
    def clipped(self):
        """Samples at full scale since the last reset."""
        return self.state.clipped

    def reset(self) -> None:
        """Begin anew."""
        meter_init(&self.state, self.state.rate)
