# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The alerting tones before a caller id, 2130 and 2750 Hz together: detector and generator.

Theory of operation. Telcordia GR-30 and TIA-777 (CAS, off hook): each tone within 0.5 %, -14 to -32 dBm, 6 dB of twist, 75 to 85 ms,
under speech of the near side (talk-down), and not in speech (talk-off). ETSI EN 300 659-1 6.1.2 (DT-AS, on hook): 100 +-10 ms down to -40
dBV. At 8 kHz (16 kHz input is halved first) a 1.7 kHz high-pass takes away where speech is strongest. Frames of 5 ms are correlated with
both tones, which are 3.1 bins apart. A frame is good when the two tones are half of its power, loud enough and within 8 dB of each other;
a run of good frames bears one bad one at a time, three in all. Soft speech that happens to look so before or after the tone would make
the run too long: a frame below half of the run's mean amplitude is bad, and one above twice that of a run that fits nothing begins a new
run. When a run ends its length is reckoned from the amplitudes, so that frames the tone filled in part count in part, the tones must make
up most of the run, and both must have turned evenly from frame to frame at a frequency within 0.75 %. Only then is it reported: the end
is what an acknowledge is timed from (TIA-777: DTMF D or A of 55 to 65 ms within 100 ms).
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from libc.math cimport M_PI, cos, log10, pow, sin
from libc.string cimport memset

from typing import NamedTuple

cdef extern from "math.h" nogil:
    float sqrtf(float x)

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)
    int decimator_push(Decimator* d, float x, float* out)
    float kernel_dot(const float* a, const float* b, int n)
    float kernel_energy(const float* a, int n)

cdef enum:
    FRAME = 40
    MOST_BAD = 3
    LONGEST = 26                # good frames; more is a tone of another kind

cdef double FREQ[2]
FREQ[:] = [2130.0, 2750.0]
cdef float PURE = 0.5                           # of a frame
cdef float PURE_RUN = 0.7                       # of a run: under speech as loud as each tone 0.72 and more was seen, in speech alone 0.66
cdef float TWIST = <float>6.3                   # 8 dB
cdef float FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 5.0e-5)        # of each tone: -43 dBm0
cdef float EVEN = 0.9
cdef float RISE = 2.0                           # of a frame's amplitude over the run's mean: the run before was soft speech
cdef float FALL = 0.5                           # likewise: the tone is over
cdef double DEVIATION = 0.0075                  # 0.5 % of the tone, the rest for speech beside it
cdef float FAR[2]                               # tangent of the turn per frame at DEVIATION
cdef float LEAST_MS = 66.0
cdef float MOST_MS = 119.0
cdef float ALERT_MS = 88.0                      # between CAS and DT-AS
cdef float wave[4][FRAME]                       # cos and -sin of either tone
cdef float back[4]                              # the turn of one frame, undone: re and im of either tone


def _fill_tables():
    cdef int i, k
    for i in range(2):
        FAR[i] = <float>(sin(2.0 * M_PI * DEVIATION * FREQ[i] * 0.005) / cos(2.0 * M_PI * DEVIATION * FREQ[i] * 0.005))
        back[2 * i] = <float>cos(2.0 * M_PI * FREQ[i] * 0.005)
        back[2 * i + 1] = <float>-sin(2.0 * M_PI * FREQ[i] * 0.005)
        for k in range(FRAME):
            wave[2 * i][k] = <float>cos(2.0 * M_PI * FREQ[i] * k / 8000.0)
            wave[2 * i + 1][k] = <float>-sin(2.0 * M_PI * FREQ[i] * k / 8000.0)


_fill_tables()


cdef int cas_det_init(CasDet* det, int rate) noexcept nogil:
    memset(det, 0, sizeof(CasDet))
    if rate != 8000 and rate != 16000:
        return -1
    det.rate = rate
    det.decimate = rate // 8000
    return 0


cdef void _clear(CasDet* det) noexcept nogil:
    det.good = det.bad = det.gap = det.spoilt = det.fitting = 0
    memset(det.turn, 0, sizeof(det.turn))
    memset(det.weight, 0, sizeof(det.weight))
    memset(det.power, 0, sizeof(det.power))
    det.sum = det.first = det.last = det.whole = 0.0


cdef bint _steady(CasDet* det) noexcept nogil:
    """Both tones turned evenly, and at the right frequency."""
    cdef int i
    cdef float re, im
    for i in range(2):
        re = det.turn[2 * i]
        im = det.turn[2 * i + 1]
        if re <= 0.0 or im > FAR[i] * re or im < -FAR[i] * re or re * re + im * im < EVEN * EVEN * det.weight[i] * det.weight[i]:
            return False
    return True


cdef int _ended(CasDet* det, int offset, CasHit* hit) noexcept nogil:
    """The run is over: 1 when it was an alerting tone."""
    cdef float length, whole
    if det.spoilt or det.good < 12 or det.bad > MOST_BAD or not _steady(det):
        return 0
    if det.power[0] + det.power[1] < PURE_RUN * det.whole:
        return 0
    whole = (det.sum - det.first - det.last) / (det.good - 2)
    length = <float>5.0 * ((det.sum + det.before + det.after) / whole + det.bad)
    if length < LEAST_MS or length > MOST_MS:
        return 0
    hit.kind = CAS_CALL_WAITING if length < ALERT_MS else CAS_ALERT
    hit.duration_ms = <int>(length + <float>0.5)
    hit.offset = offset
    hit.level_dbm0 = <float>(10.0 * log10((det.power[0] + det.power[1]) / 2.0 / det.good / (22750.0 * 22750.0 / 2.0)))
    hit.twist_db = <float>(10.0 * log10(det.power[0] / det.power[1]))
    return 1


cdef int _frame(CasDet* det, int offset, CasHit* hit) noexcept nogil:
    cdef float z[4]
    cdef float power[2]
    cdef float energy = kernel_energy(det.frame, FRAME) / FRAME, re, im, x, both
    cdef int i, found = 0
    cdef bint good
    for i in range(4):
        z[i] = kernel_dot(det.frame, wave[i], FRAME)
    for i in range(2):
        power[i] = (z[2 * i] * z[2 * i] + z[2 * i + 1] * z[2 * i + 1]) * <float>(2.0 / FRAME / FRAME)
    both = power[0] + power[1]
    good = power[0] > FLOOR and power[1] > FLOOR and power[0] < TWIST * power[1] and power[1] < TWIST * power[0] and both > PURE * energy
    x = sqrtf(both)
    if good and det.good > 0:
        if x * det.good > RISE * det.sum and not det.fitting:
            _clear(det)
        elif x * det.good < FALL * det.sum:
            good = False
    if good:
        if det.good == 0:
            det.before = det.size
            det.first = x
        elif det.gap == 0:
            for i in range(2):
                re = z[2 * i] * det.past[2 * i] + z[2 * i + 1] * det.past[2 * i + 1]
                im = z[2 * i + 1] * det.past[2 * i] - z[2 * i] * det.past[2 * i + 1]
                det.turn[2 * i] += re * back[2 * i] - im * back[2 * i + 1]
                det.turn[2 * i + 1] += re * back[2 * i + 1] + im * back[2 * i]
                det.weight[i] += sqrtf((z[2 * i] * z[2 * i] + z[2 * i + 1] * z[2 * i + 1])
                                       * (det.past[2 * i] * det.past[2 * i] + det.past[2 * i + 1] * det.past[2 * i + 1]))
        det.bad += det.gap
        det.gap = 0
        det.good += 1
        det.sum += x
        det.last = x
        det.power[0] += power[0]
        det.power[1] += power[1]
        det.whole += energy
        if det.good > LONGEST or det.bad > MOST_BAD:
            det.spoilt = 1
        det.fitting = det.good >= 8 and not det.spoilt and _steady(det)
    elif det.good > 0:
        det.gap += 1
        if det.gap == 1:
            det.after = x
        else:
            found = _ended(det, offset, hit)
            _clear(det)
    for i in range(4):
        det.past[i] = z[i]
    det.size = x
    return found


cdef int cas_det_feed(CasDet* det, const short* samples, int n, CasHit* hit) noexcept nogil:
    cdef int i, found = 0
    cdef float x, y
    for i in range(n):
        x = samples[i]
        if det.decimate == 2 and not decimator_push(&det.decim, x, &x):
            continue
        y = <float>0.32487256 * x + det.hp[0]                        # Butterworth, fourth order, 1700 Hz
        det.hp[0] = <float>-0.64974511 * x + <float>0.24594520 * y + det.hp[1]
        det.hp[1] = <float>0.32487256 * x - <float>0.05354502 * y
        x = y
        y = <float>0.44947034 * x + det.hp[2]
        det.hp[2] = <float>-0.89894068 * x + <float>0.34027212 * y + det.hp[3]
        det.hp[3] = <float>0.44947034 * x - <float>0.45760924 * y
        det.frame[det.filled] = y
        det.filled += 1
        if det.filled == FRAME:
            det.filled = 0
            if _frame(det, i + 1, hit):
                found = 1
    return found


cdef int cas_gen_init(CasGen* gen, int duration_ms, double level_dbm0, int rate) noexcept nogil:
    cdef int i
    memset(gen, 0, sizeof(CasGen))
    if (rate != 8000 and rate != 16000) or duration_ms < 10 or duration_ms > 1000:
        return -1
    gen.total = duration_ms * (rate // 1000)
    gen.ramp = rate // 1000
    gen.amplitude = <float>(22750.0 * pow(10.0, level_dbm0 / 20.0))
    for i in range(2):
        gen.cos_w[i] = cos(2.0 * M_PI * FREQ[i] / rate)
        gen.sin_w[i] = sin(2.0 * M_PI * FREQ[i] / rate)
        gen.re[i] = 1.0
    return 0


cdef int cas_gen_fill(CasGen* gen, short* out, int n) noexcept nogil:
    cdef int i, k
    cdef float gain, total
    cdef double re
    for i in range(n):
        if gen.at >= gen.total:
            out[i] = 0
            continue
        gain = 1.0
        if gen.at < gen.ramp:
            gain = <float>gen.at / gen.ramp
        elif gen.total - gen.at < gen.ramp:
            gain = <float>(gen.total - gen.at) / gen.ramp
        total = 0.0
        for k in range(2):
            total += <float>gen.im[k]
            re = gen.re[k] * gen.cos_w[k] - gen.im[k] * gen.sin_w[k]
            gen.im[k] = gen.re[k] * gen.sin_w[k] + gen.im[k] * gen.cos_w[k]
            gen.re[k] = re
        out[i] = kernel_round(total * gain * gen.amplitude)
        gen.at += 1
    return 1 if gen.at < gen.total else 0


class CasEvent(NamedTuple):
    """An alerting tone that has ended. `kind` is "call-waiting" (75 to 85 ms, off hook) or "alert" (DT-AS, 90 to 110 ms, on hook).

    `end_ms` counts from the first sample fed and is good to 6 ms; `level_dbm0` is the mean of the two tones, `twist_db` 2130 Hz over
    2750 Hz.
    """

    kind: str
    end_ms: int
    duration_ms: int
    level_dbm0: float
    twist_db: float


cdef class CasDetector:
    """Hears alerting tones in 16-bit little-endian samples at 8000 or 16000 Hz."""

    cdef CasDet det
    cdef long long fed

    def __init__(self, int sample_rate=8000):
        if cas_det_init(&self.det, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")

    def feed(self, samples) -> list:
        """Take samples of any number; returns a `CasEvent` for each tone that ended. Raises ValueError for an odd number of bytes."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, block, found
        cdef CasHit hit
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const short* data = <const short*><const char*>aligned
        events = []
        while at < n:
            block = min(n - at, 160)
            with nogil:
                found = cas_det_feed(&self.det, data + at, block, &hit)
            if found:
                end = (self.fed + hit.offset) * 1000 // self.det.rate - 10
                events.append(CasEvent("call-waiting" if hit.kind == CAS_CALL_WAITING else "alert", end, hit.duration_ms,
                                       hit.level_dbm0, hit.twist_db))
            self.fed += block
            at += block
        return events

    @property
    def present(self) -> bool:
        """True from about 40 ms of a tone that fits so far until its end."""
        return self.det.fitting != 0


cdef class CasGenerator:
    """Sends one alerting tone; `level_dbm0` is the level of each of its two tones (GR-30: -15 dBm for 80 ms; DT-AS 100 ms)."""

    cdef CasGen gen

    def __init__(self, int duration_ms=80, double level_dbm0=-15.0, int sample_rate=8000):
        if cas_gen_init(&self.gen, duration_ms, level_dbm0, sample_rate) < 0:
            raise ValueError(f"cannot send an alerting tone of {duration_ms} ms at {sample_rate} Hz: give 10 to 1000 ms and "
                             "8000 or 16000 Hz")

    def generate(self, int samples) -> bytes:
        """The next `samples` samples, 16-bit little-endian; silence after the tone."""
        cdef bytearray out = bytearray(2 * samples)
        cdef short[::1] view
        if samples > 0:
            view = memoryview(out).cast("h")
            with nogil:
                cas_gen_fill(&self.gen, &view[0], samples)
        return bytes(out)

    @property
    def running(self) -> bool:
        """False when the tone has been sent."""
        return self.gen.at < self.gen.total
