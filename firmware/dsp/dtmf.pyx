"""DTMF: a detector by joint least squares and frequency tracking, and a generator.

Theory of operation. ITU-T Q.23 (frequencies), Q.24 (receiver limits), Bellcore talk-off practice.
Input (halved to 8 kHz when it comes at 16) passes a high-pass that stops dial tone and hum (36 dB below 440 Hz, flat from
670 Hz) and is cut into frames of 5 ms. Eight correlators run per frame; two frames joined coherently pick the low and the
high tone. For that pair the frame is explained by least squares as two sinusoids at the nominal frequencies:

* explained energy over frame energy is the purity; a frame is *good* at 0.75 or more with a sane level and twist, if no other pair
  explains it better;
* the phase turn of each sinusoid from frame to frame is its frequency error, exact to less than 1 Hz over a digit, so the
  +-1.5 % accepted and +-3.5 % refused by Q.24 are told apart by a limit of 2.5 % without long filters.

A run of six good frames (at least 30 ms of full tone: 40 ms always pass, 25 ms never) may confirm the digit. The last eight frames are
then summed in phase: the two lines must hold 0.86 of all power (noise at 9 dB leaves that, formants and their harmonics do not) and
each must be 0.97 coherent, that is steady in level and phase. This is what keeps speech out. The digit ends after 25 ms without it or when another pair has taken
over for two frames, so breaks of 10 ms are bridged and pauses of 40 ms separate digits.
`tentative` rises with the second good frame, 10 to 15 ms into the tone, and falls with the end or when the run fails.
`twist_db` is low minus high level: accepted from -7 to +10 dB (Q.24 asks -4 to +8).
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from typing import NamedTuple

from libc.math cimport cos, sin, pow, log10, atan2, sqrt, fabs, M_PI
from libc.string cimport memset

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)
    float kernel_dot(const float* a, const float* b, int n)
    float kernel_energy(const float* a, int n)
    int decimator_push(Decimator* d, float x, float* out)

cdef enum:
    FRAME = 40
    CONFIRM_FRAMES = 6
    END_FRAMES = 5
    GIVE_UP_FRAMES = 2

cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef double FLOOR = POWER_0DBM0 * 3.98e-5               # -44 dBm0, both tones
cdef double FRAME_PURE = 0.75
cdef double RUN_PURE = 0.86
cdef double FRAME_TWIST = 20.0                          # 13 dB: a frame may be worse than the whole
cdef double NORMAL_TWIST = 10.0                         # +10 dB as a power ratio
cdef double REVERSE_TWIST = 0.2                         # -7 dB
cdef double FREQUENCY_LIMIT = 0.025
cdef double COHERENCE = 0.97
cdef double STEADY = 0.1                                # weakest to strongest good frame, power
cdef double FIRST_FRAME = 0.6                           # a first frame weaker than this was not filled by the tone

cdef double[8] FREQ = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0]
cdef const char* KEYS = "123A456B789C*0#D"

cdef float wave[16][40]                                 # cosine and sine of each frequency over one frame
cdef float step_re[8]                                   # phase turn of each frequency over one frame
cdef float step_im[8]
cdef double inverse[16][4][4]                           # of the Gram matrix of each pair


cdef void _fill_tables() noexcept nogil:
    cdef int f, i, r, c, k, pair
    cdef int rows[4]
    cdef double a[4][8]
    cdef double w, pivot, factor
    for f in range(8):
        w = 2.0 * M_PI * FREQ[f] / 8000.0
        step_re[f] = <float>cos(w * FRAME)
        step_im[f] = <float>sin(w * FRAME)
        for i in range(FRAME):
            wave[2 * f][i] = <float>cos(w * i)
            wave[2 * f + 1][i] = <float>sin(w * i)
    for pair in range(16):
        rows[0] = 2 * (pair >> 2)
        rows[1] = rows[0] + 1
        rows[2] = 2 * (4 + (pair & 3))
        rows[3] = rows[2] + 1
        for r in range(4):
            for c in range(4):
                a[r][c] = 0.0
                for i in range(FRAME):
                    a[r][c] += <double>wave[rows[r]][i] * wave[rows[c]][i]
                a[r][4 + c] = 1.0 if r == c else 0.0
        for k in range(4):                              # Gauss-Jordan; positive definite, so no pivoting
            pivot = 1.0 / a[k][k]
            for c in range(8):
                a[k][c] *= pivot
            for r in range(4):
                if r != k:
                    factor = a[r][k]
                    for c in range(8):
                        a[r][c] -= factor * a[k][c]
        for r in range(4):
            for c in range(4):
                inverse[pair][r][c] = a[r][4 + c]


_fill_tables()


cdef struct Fit:
    double purity
    double power[2]
    float re[2]
    float im[2]


cdef void _fit(const float* z, int pair, double energy, Fit* fit) noexcept nogil:
    """Explains one frame as the two tones of `pair`; z holds cosine and sine correlations of all eight frequencies."""
    cdef double v[4]
    cdef double a[4]
    cdef double explained = 0.0
    cdef int r, c, low = 2 * (pair >> 2), high = 8 + 2 * (pair & 3)
    v[0] = z[low]
    v[1] = z[low + 1]
    v[2] = z[high]
    v[3] = z[high + 1]
    for r in range(4):
        a[r] = 0.0
        for c in range(4):
            a[r] += inverse[pair][r][c] * v[c]
        explained += a[r] * v[r]
    fit.purity = explained / energy
    for r in range(2):
        fit.re[r] = <float>a[2 * r]
        fit.im[r] = <float>-a[2 * r + 1]
        fit.power[r] = 0.5 * (a[2 * r] * a[2 * r] + a[2 * r + 1] * a[2 * r + 1])


cdef bint _is_good(Fit* fit) noexcept nogil:
    return (fit.purity >= FRAME_PURE and fit.power[0] < FRAME_TWIST * fit.power[1] and fit.power[1] < FRAME_TWIST * fit.power[0])


cdef int dtmf_det_init(DtmfDet* det, int rate) noexcept nogil:
    memset(det, 0, sizeof(DtmfDet))
    if rate != 8000 and rate != 16000:
        return -1
    det.decimate = rate // 8000
    det.pair = -1
    return 0


cdef void _clear_run(DtmfDet* det) noexcept nogil:
    det.pair = -1
    det.digit = 0
    det.tentative = 0
    det.rival_frames = 0


cdef void _advance(DtmfDet* det) noexcept nogil:
    """The run is one frame longer: turns the reference phasors on and clears the frame's slot."""
    cdef int i, f
    cdef float re
    for i in range(2):
        f = (det.pair & 3) + 4 if i else det.pair >> 2
        re = det.spin_re[i] * step_re[f] - det.spin_im[i] * step_im[f]
        det.spin_im[i] = det.spin_re[i] * step_im[f] + det.spin_im[i] * step_re[f]
        det.spin_re[i] = re
    det.age += 1
    det.line_power[det.age & 7] = -1.0


cdef void _add_good(DtmfDet* det, Fit* fit, double power) noexcept nogil:
    cdef int i, slot, last
    cdef float re, im
    cdef float both = <float>(fit.power[0] + fit.power[1])
    _advance(det)
    slot = det.age & 7
    last = (det.age - 1) & 7
    det.line_power[slot] = <float>power
    for i in range(2):
        re = fit.re[i] * det.spin_re[i] + fit.im[i] * det.spin_im[i]            # times the conjugate of the nominal rotation
        im = fit.im[i] * det.spin_re[i] - fit.re[i] * det.spin_im[i]
        det.line_re[i][slot] = re
        det.line_im[i][slot] = im
        if det.linked:
            det.turn_re[i] += re * det.line_re[i][last] + im * det.line_im[i][last]
            det.turn_im[i] += im * det.line_re[i][last] - re * det.line_im[i][last]
        det.power[i] += fit.power[i]
    det.total += power
    if det.good == 0 or both < det.floor_power:
        det.floor_power = both
    if both > det.peak_power:
        det.peak_power = both
    det.length += det.bad + 1
    det.good += 1
    det.bad = 0
    det.linked = 1


cdef void _begin_run(DtmfDet* det, int pair, float before) noexcept nogil:
    cdef int i
    _clear_run(det)
    det.pair = pair
    det.good = det.length = det.bad = det.linked = 0
    det.total = 0.0
    det.age = 0
    for i in range(8):
        det.line_power[i] = -1.0
    det.floor_power = det.peak_power = 0.0
    det.edge[0] = before
    det.edge[1] = 0.0
    for i in range(2):
        det.turn_re[i] = det.turn_im[i] = 0.0
        det.spin_re[i] = 1.0
        det.spin_im[i] = 0.0
        det.power[i] = 0.0


cdef bint _confirmed(DtmfDet* det) noexcept nogil:
    """The last frames as two spectral lines: of the right frequency, steady in level and phase, and nearly all there is."""
    cdef int i, k, f, frames = 0
    cdef double angle, re, im, turn_re, turn_im, value, sum_re, sum_im, single, total = 0.0, line = 0.0
    if det.good < CONFIRM_FRAMES:
        return False
    if det.power[0] > NORMAL_TWIST * det.power[1] or det.power[0] < REVERSE_TWIST * det.power[1]:
        return False
    if det.floor_power < STEADY * det.peak_power:
        return False
    for k in range(8):
        if det.line_power[k] >= 0.0:
            frames += 1
            total += det.line_power[k]
    for i in range(2):
        f = (det.pair & 3) + 4 if i else det.pair >> 2
        angle = atan2(det.turn_im[i], det.turn_re[i])
        if fabs(angle) * 8000.0 / (2.0 * M_PI * FRAME) > FREQUENCY_LIMIT * FREQ[f]:
            return False
        turn_re = cos(angle)
        turn_im = sin(angle)
        re = 1.0
        im = 0.0
        sum_re = sum_im = single = 0.0
        for k in range(8):                              # oldest frame first, each turned back by the frequency error
            f = (det.age + 1 + k) & 7
            if det.line_power[f] >= 0.0:
                sum_re += det.line_re[i][f] * re + det.line_im[i][f] * im
                sum_im += det.line_im[i][f] * re - det.line_re[i][f] * im
                single += <double>det.line_re[i][f] * det.line_re[i][f] + <double>det.line_im[i][f] * det.line_im[i][f]
            value = re * turn_re - im * turn_im
            im = re * turn_im + im * turn_re
            re = value
        value = (sum_re * sum_re + sum_im * sum_im) / frames
        if value < COHERENCE * single:
            return False
        line += 0.5 * value
    return line >= RUN_PURE * total


cdef void _hit(DtmfDet* det, int kind, int offset, DtmfHit* hit) noexcept nogil:
    cdef double mean = det.total / det.good, edges = 0.0
    cdef int i
    for i in range(2 if kind == DTMF_END else 1):
        edges += det.edge[i] / mean if det.edge[i] < mean else 1.0
    hit.digit = <char>det.digit
    hit.duration_ms = <int>(5.0 * (det.length + edges) + 0.5)
    hit.level_dbm0 = <float>(10.0 * log10((det.power[0] + det.power[1]) / det.good / POWER_0DBM0))
    hit.twist_db = <float>(10.0 * log10(det.power[0] / det.power[1]))
    hit.kind = kind
    hit.offset = offset


cdef int _pick(const float* before, const float* now) noexcept nogil:
    """The strongest low and high frequency over two frames joined: now, turned by one frame, plus the frame before."""
    cdef int f, pair = 0
    cdef double re, im, value, best = -1.0
    for f in range(8):
        re = before[2 * f] + now[2 * f] * step_re[f] - now[2 * f + 1] * step_im[f]
        im = before[2 * f + 1] + now[2 * f] * step_im[f] + now[2 * f + 1] * step_re[f]
        value = re * re + im * im
        if value > best or f == 4:
            best = value
            pair = (pair & 12) | (f - 4) if f >= 4 else f << 2
    return pair


cdef int _frame(DtmfDet* det, const float* before, float before_power, const float* now, float power, DtmfHit* out,
                int room, int offset) noexcept nogil:
    """Judges one frame from its correlations `now` and those of the frame before; returns hits written."""
    cdef Fit fit, other
    cdef int hits = 0, pair
    cdef double value, energy = <double>power * FRAME
    cdef bint loud = power > FLOOR, good = False
    if loud:
        pair = _pick(before, now)
        _fit(now, pair, energy, &fit)
        if det.pair >= 0 and pair != det.pair:
            _fit(now, det.pair, energy, &other)
            if other.purity >= fit.purity:              # a pick between neighbours can err, the better fit does not
                pair = det.pair
                fit = other
        good = _is_good(&fit)
        value = fit.power[0] + fit.power[1]
        if good and pair == det.pair and value < STEADY * det.peak_power:
            good = False                                # the tail of the tone in a frame that it does not fill
        if good and pair == det.pair:
            if not det.digit and det.floor_power < (FIRST_FRAME if det.good == 1 else STEADY) * value:
                _begin_run(det, pair, det.last_power)   # what came before was the tone's first few samples
            det.rival_frames = 0
            _add_good(det, &fit, power)
        elif good:
            det.rival_frames = det.rival_frames + 1 if det.rival == pair else 1
            det.rival = pair
            if det.digit and det.rival_frames < 2:
                good = False
            else:
                if det.digit and hits < room:
                    _hit(det, DTMF_END, offset, out + hits)
                    hits += 1
                _begin_run(det, pair, before_power)
                if before_power > FLOOR:                # the first frame of a tone cannot pick its pair alone: look again
                    _fit(before, pair, <double>before_power * FRAME, &other)
                    if _is_good(&other) and other.power[0] + other.power[1] > STEADY * value:
                        det.edge[0] = det.before
                        _add_good(det, &other, before_power)
                _add_good(det, &fit, power)
    if det.pair >= 0 and not good:
        det.bad += 1
        det.linked = 0
        _advance(det)
        if det.bad == 1:
            det.edge[1] = power
        if det.bad >= (END_FRAMES if det.digit else GIVE_UP_FRAMES):
            if det.digit and hits < room:
                _hit(det, DTMF_END, offset, out + hits)
                hits += 1
            _clear_run(det)
    if good:
        if det.good >= 2:
            det.tentative = 1
        if not det.digit and _confirmed(det):
            det.digit = KEYS[det.pair]
            if hits < room:
                _hit(det, DTMF_START, offset, out + hits)
                hits += 1
    det.before = before_power
    return hits


cdef int dtmf_det_feed(DtmfDet* det, const short* samples, int n, DtmfHit* out, int max_hits) noexcept nogil:
    cdef int i, k, hits = 0
    cdef float x, y, power
    cdef float z[16]
    for i in range(n):
        x = samples[i]
        if det.decimate == 2 and not decimator_push(&det.decim, x, &x):
            continue
        # elliptic high-pass, 4th order: 0.4 dB ripple from 655 Hz, 36 dB stop band
        y = <float>0.53032830 * x + det.hp[0]
        det.hp[0] = <float>-1.04909614 * x + <float>1.05044210 * y + det.hp[1]
        det.hp[1] = <float>0.53032830 * x - <float>0.38214299 * y
        x = y
        y = x + det.hp[2]
        det.hp[2] = <float>-1.89724154 * x + <float>1.65668030 * y + det.hp[3]
        det.hp[3] = x - <float>0.88264795 * y
        det.frame[det.filled] = y
        det.filled += 1
        if det.filled == FRAME:
            det.filled = 0
            power = kernel_energy(det.frame, FRAME) / FRAME
            for k in range(16):
                z[k] = kernel_dot(det.frame, wave[k], FRAME)
            hits += _frame(det, det.last, det.last_power, z, power, out + hits, max_hits - hits, i + 1)
            for k in range(16):
                det.last[k] = z[k]
            det.last_power = power
    return hits


cdef int dtmf_gen_init(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double level_dbm0,
                       int rate) noexcept nogil:
    cdef int i, k
    memset(gen, 0, sizeof(DtmfGen))
    if ndigits < 1 or ndigits > DTMF_MAX_DIGITS or on_ms < 10 or on_ms > 60000 or off_ms < 0 or off_ms > 60000:
        return -1
    if rate != 8000 and rate != 16000:
        return -1
    for i in range(ndigits):
        k = 0
        while k < 16 and KEYS[k] != digits[i] and KEYS[k] != digits[i] - 32:
            k += 1
        if k == 16:
            return -1
        gen.digits[i] = <char>k
    gen.on = on_ms * (rate // 1000)
    gen.off = off_ms * (rate // 1000)
    gen.ramp = rate // 500
    gen.amplitude = <float>(22750.0 * pow(10.0, level_dbm0 / 20.0))
    for i in range(8):
        gen.cos_w[i] = cos(2.0 * M_PI * FREQ[i] / rate)
        gen.sin_w[i] = sin(2.0 * M_PI * FREQ[i] / rate)
    gen.n = ndigits
    return 0


cdef int dtmf_gen_fill(DtmfGen* gen, short* out, int n) noexcept nogil:
    cdef int i, k, f
    cdef double re
    cdef float gain, total
    for i in range(n):
        if gen.index >= gen.n:
            out[i] = 0
            continue
        if gen.at == 0:
            for k in range(2):
                gen.re[k] = 1.0
                gen.im[k] = 0.0
        total = 0.0
        if gen.at < gen.on:
            gain = 1.0
            if gen.at < gen.ramp:
                gain = <float>gen.at / gen.ramp
            elif gen.on - gen.at < gen.ramp:
                gain = <float>(gen.on - gen.at) / gen.ramp
            for k in range(2):
                f = 4 + (gen.digits[gen.index] & 3) if k else gen.digits[gen.index] >> 2
                total += <float>gen.im[k]
                re = gen.re[k] * gen.cos_w[f] - gen.im[k] * gen.sin_w[f]
                gen.im[k] = gen.re[k] * gen.sin_w[f] + gen.im[k] * gen.cos_w[f]
                gen.re[k] = re
            total *= gen.amplitude * gain * gain * (<float>3.0 - <float>2.0 * gain)
        out[i] = kernel_round(total)
        gen.at += 1
        if gen.at == gen.on + gen.off:
            gen.at = 0
            gen.index += 1
    return 1 if gen.index < gen.n else 0


class DtmfEvent(NamedTuple):
    """One key press, reported when about 40 ms of its tone have passed.

    `start_ms` counts from the first sample fed; `duration_ms` is the length of the tone when it was reported, `level_dbm0` the
    level of both tones together, `twist_db` low group minus high group.
    """

    digit: str
    start_ms: int
    duration_ms: int
    level_dbm0: float
    twist_db: float


cdef class DtmfDetector:
    """Hears DTMF digits in 16-bit little-endian samples at 8000 or 16000 Hz."""

    cdef DtmfDet det
    cdef long long fed
    cdef int rate

    def __init__(self, sample_rate=8000):
        if dtmf_det_init(&self.det, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")
        self.rate = sample_rate

    def _feed(self, samples, bint ends):
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, block, count, i
        cdef DtmfHit hits[4]
        cdef long long end
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const short* data = <const short*><const char*>aligned
        found = []
        while at < n:
            block = min(n - at, 80)
            with nogil:
                count = dtmf_det_feed(&self.det, data + at, block, hits, 4)
            for i in range(count):
                if hits[i].kind == DTMF_START or ends:
                    end = (self.fed + hits[i].offset) * 1000 // self.rate
                    if hits[i].kind == DTMF_END:
                        end -= 5 * END_FRAMES
                    event = DtmfEvent(chr(hits[i].digit), max(0, end - hits[i].duration_ms), hits[i].duration_ms,
                                      hits[i].level_dbm0, hits[i].twist_db)
                    found.append((hits[i].kind == DTMF_END, event) if ends else event)
            self.fed += block
            at += block
        return found

    def feed(self, samples) -> list:
        """Take samples of any number; returns a `DtmfEvent` for each digit confirmed in them. Raises ValueError for odd bytes."""
        return self._feed(samples, False)

    def feed_edges(self, samples) -> list:
        """Like `feed`, but returns (ended, event) for the start and again for the end of each digit, then with its whole length."""
        return self._feed(samples, True)

    @property
    def tentative(self) -> bool:
        """True while a possible digit is present: 10 to 15 ms after its start, and before it is confirmed."""
        return self.det.tentative != 0


cdef class DtmfGenerator:
    """Sends up to 64 digits; `level_dbm0` is the level of each of the two tones."""

    cdef DtmfGen gen

    def __init__(self, digits, on_ms=100, off_ms=100, level_dbm0=-9.0, sample_rate=8000):
        cdef bytes raw = digits.encode("ascii", "replace")
        if dtmf_gen_init(&self.gen, raw, <int>len(raw), on_ms, off_ms, level_dbm0, sample_rate) < 0:
            raise ValueError(f"cannot send DTMF {digits!r} with {on_ms}/{off_ms} ms at {sample_rate} Hz: give 1 to 64 of 0-9 * # A-D, "
                             "10 ms to 60 s on, up to 60 s off, and a rate of 8000 or 16000")

    def generate(self, int samples) -> bytes:
        """The next `samples` samples, 16-bit little-endian; silence after the last digit."""
        cdef bytearray out = bytearray(2 * samples)
        cdef short[::1] view
        if samples > 0:
            view = memoryview(out).cast("h")
            with nogil:
                dtmf_gen_fill(&self.gen, &view[0], samples)
        return bytes(out)

    @property
    def running(self) -> bool:
        """False when the last digit and its pause have been sent."""
        return self.gen.index < self.gen.n
