"""Call-progress tones: a generator without clicks and a cadence detector vetoed by anything that is not the tone.

Theory of operation. Tones and cadences after ITU-T E.180 and its national supplements; 0 dBm0 is a sine of peak 22 750.

Generator: up to four rotating phasors (a rotation by a fixed angle per sample) under one gain that moves from 0 to 1 and back
in 2 ms raised-cosine steps at the cadence edges. Phase runs on through pauses.

Detector, at 8 kHz (16 kHz input is halved first): every 10 ms the last 20 ms are projected on an orthonormal basis that spans
each wanted frequency +-25 Hz (time-bandwidth product 1, hence two complex functions for a band of one frequency). Projection energy over
total energy is the *purity*: near 1 for the tone at any phase and any offset in the band, a few percent for noise, and
below the limit for speech, music and keypad tones. The basis is split into parts even and odd about the window centre, which
halves the multiplications. A frame is tone (pure, above -41.5 dBm0, every frequency group present), quiet (10 dB below
the burst, or below -46 dBm0), or other; more than three *other* frames in a row throw the pattern away, so nothing is decided
while somebody talks. Burst edges come from energy: duration = sum of frame powers / steady power, placed around the centroid;
this is exact to about 2 ms although frames are 10 ms.

Cadence: phases must be within +-15 % of nominal and within 10 % of the same phase of the first cycle. The pause that ends a
cycle counts when 85 % of it has passed. TONE_HEARD is raised once, at the wanted cycle; TONE_STOPPED when the pattern breaks.
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from libc.math cimport cos, sin, pow, log10, sqrt, fabs, M_PI
from libc.string cimport memset

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)
    float kernel_dot(const float* a, const float* b, int n)
    float kernel_energy(const float* a, int n)
    void decimator_reset(Decimator* d)
    int decimator_push(Decimator* d, float x, float* out)

cdef double PEAK_0DBM0 = 22750.0
cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef double PURE = 0.80
cdef double TONE_FLOOR = POWER_0DBM0 * 7.08e-5          # -41.5 dBm0
cdef double QUIET_FLOOR = POWER_0DBM0 * 2.51e-5         # -46 dBm0
cdef double GROUP_SHARE = 0.13                          # weakest group, 9 dB below the sum; half of 350+440 leaks 0.08 into the other
cdef int DOUBT_LIMIT = 3
# Butterworth high-pass, 200 Hz at 8 kHz: keeps DC and hum out of the purity test.
cdef double HP_B0 = 0.8948588
cdef double HP_A1 = -1.7786318
cdef double HP_A2 = 0.8008026


cdef int tone_gen_init(ToneGen* gen, int nfreq, const double* freqs, double level_dbm0, int nphases, const int* cadence_ms,
                       int rate) noexcept nogil:
    cdef int i
    memset(gen, 0, sizeof(ToneGen))
    if nfreq < 1 or nfreq > TONE_MAX_FREQS or nphases < 0 or nphases > TONE_MAX_PHASES or (rate != 8000 and rate != 16000):
        return -1
    for i in range(nfreq):
        if not (freqs[i] > 0.0 and freqs[i] < rate / 2.0):
            return -1
    for i in range(nphases):
        if cadence_ms[i] <= 0 or cadence_ms[i] > 600000:
            return -1
        gen.cadence[i] = cadence_ms[i] * (rate // 1000)
    gen.nfreq = nfreq
    gen.nphases = nphases
    gen.left = gen.cadence[0] if nphases else -1
    gen.amplitude = <float>(PEAK_0DBM0 * pow(10.0, level_dbm0 / 20.0))
    gen.gain_step = <float>(1.0 / (rate // 500))
    for i in range(nfreq):
        gen.cos_w[i] = cos(2.0 * M_PI * freqs[i] / rate)
        gen.sin_w[i] = sin(2.0 * M_PI * freqs[i] / rate)
        gen.re[i] = 1.0
    return 0


cdef void tone_gen_fill(ToneGen* gen, short* out, int n) noexcept nogil:
    cdef int i, k
    cdef double re, total
    cdef float shape
    for i in range(n):
        if gen.left == 0:
            gen.phase = gen.phase + 1 if gen.phase + 1 < gen.nphases else 0
            gen.left = gen.cadence[gen.phase]
        if gen.left > 0:
            gen.left -= 1
        if gen.phase & 1:
            gen.gain = gen.gain - gen.gain_step if gen.gain > gen.gain_step else 0.0
        else:
            gen.gain = gen.gain + gen.gain_step if gen.gain + gen.gain_step < 1.0 else 1.0
        total = 0.0
        for k in range(gen.nfreq):
            total += gen.im[k]
            re = gen.re[k] * gen.cos_w[k] - gen.im[k] * gen.sin_w[k]
            gen.im[k] = gen.re[k] * gen.sin_w[k] + gen.im[k] * gen.cos_w[k]
            gen.re[k] = re
        shape = gen.gain * gen.gain * (3.0 - 2.0 * gen.gain)
        out[i] = kernel_round(<float>total * gen.amplitude * shape)


cdef int _add_function(ToneDet* det, double freq) noexcept nogil:
    """Adds one frequency to the basis, orthonormal to what is there (Gram-Schmidt, twice for accuracy)."""
    cdef double vector[2][80]
    cdef double w = 2.0 * M_PI * freq / 8000.0
    cdef double norm, dot
    cdef int parity, i, k, round_
    cdef float* other
    if det.dims >= TONE_DIMS:
        return -1
    for i in range(TONE_HALF):
        vector[0][i] = cos(w * (i + 0.5))
        vector[1][i] = sin(w * (i + 0.5))
    for parity in range(2):
        for round_ in range(2):
            for k in range(det.dims):
                other = &det.odd[k][0] if parity else &det.even[k][0]
                dot = 0.0
                for i in range(TONE_HALF):
                    dot += other[i] * vector[parity][i]
                for i in range(TONE_HALF):
                    vector[parity][i] -= 2.0 * dot * other[i]
        norm = 0.0
        for i in range(TONE_HALF):
            norm += 2.0 * vector[parity][i] * vector[parity][i]
        if norm < 1e-3:
            return -1
        norm = 1.0 / sqrt(norm)
        other = &det.odd[det.dims][0] if parity else &det.even[det.dims][0]
        for i in range(TONE_HALF):
            other[i] = <float>(vector[parity][i] * norm)
    det.dims += 1
    return 0


cdef int tone_det_init(ToneDet* det, int nfreq, const double* freqs, int nphases, const int* cadence_ms, int cycles,
                       int rate) noexcept nogil:
    cdef double ordered[4]
    cdef double swap, low, high
    cdef int i, j, k, count
    memset(det, 0, sizeof(ToneDet))
    if nfreq < 1 or nfreq > TONE_MAX_FREQS or nphases < 0 or nphases > TONE_MAX_PHASES or nphases & 1 or cycles < 1:
        return -1
    if rate != 8000 and rate != 16000:
        return -1
    for i in range(nphases):
        if cadence_ms[i] < 50:
            return -1
        det.cadence_ms[i] = cadence_ms[i]
    for i in range(nfreq):
        if not (freqs[i] >= 250.0 and freqs[i] <= 3000.0):
            return -1
        ordered[i] = freqs[i]
        j = i
        while j > 0 and ordered[j] < ordered[j - 1]:
            swap = ordered[j]
            ordered[j] = ordered[j - 1]
            ordered[j - 1] = swap
            j -= 1
    det.nfreq = nfreq
    det.nphases = nphases
    det.want_cycles = cycles
    det.decimate = rate // 8000
    i = 0
    while i < nfreq:                                    # neighbours closer than 80 Hz share one band
        j = i
        while j + 1 < nfreq and ordered[j + 1] - ordered[j] < 80.0:
            j += 1
        low = ordered[i] - 15.0
        high = ordered[j] + 15.0
        count = 2 + <int>((ordered[j] - ordered[i]) / 40.0 + 0.5)
        for k in range(count):
            if _add_function(det, low + (high - low) * k / (count - 1)) < 0:
                break
        det.group_end[det.groups] = det.dims
        det.groups += 1
        i = j + 1
    det.last_end_ms = -1.0
    return 0


cdef void _forget_pattern(ToneDet* det, int* flags) noexcept nogil:
    if det.heard:
        flags[0] |= TONE_STOPPED
        det.heard = 0
    det.pos = 0
    det.cycles = 0
    det.closed = 0
    memset(det.measured, 0, sizeof(det.measured))


cdef bint _phase_fits(ToneDet* det, int phase, double ms) noexcept nogil:
    cdef double want = det.cadence_ms[phase]
    cdef double first = det.measured[phase]
    if fabs(ms - want) > 0.15 * want + 6.0:
        return False
    if first > 0.0:
        return fabs(ms - first) <= 0.10 * first + 10.0
    det.measured[phase] = ms
    return True


cdef void _count_cycle(ToneDet* det, int* flags) noexcept nogil:
    det.cycles += 1
    det.closed = 1
    if det.cycles >= det.want_cycles and not det.heard:
        det.heard = 1
        flags[0] |= TONE_HEARD


cdef void _burst_ended(ToneDet* det, int* flags) noexcept nogil:
    cdef double steady, ms, centre, start, end
    if det.steady_frames < 1 or det.nphases == 0:
        _forget_pattern(det, flags)
        det.last_end_ms = -1.0
        return
    steady = det.steady_power / det.steady_frames
    ms = 10.0 * det.sum_power / steady
    centre = det.sum_moment / det.sum_power
    start = centre - 0.5 * ms
    end = centre + 0.5 * ms
    det.reference_power = steady
    det.level_dbm0 = <float>(10.0 * log10(steady / POWER_0DBM0))
    if det.pos & 1:                                     # the pause before this burst ends an off phase
        if not _phase_fits(det, det.pos, start - det.last_end_ms):
            _forget_pattern(det, flags)
        else:
            det.pos += 1
            if det.pos == det.nphases:
                if not det.closed:
                    _count_cycle(det, flags)
                det.pos = 0
                det.closed = 0
    if not _phase_fits(det, det.pos, ms):
        _forget_pattern(det, flags)
        if not _phase_fits(det, 0, ms):
            det.last_end_ms = -1.0
            return
    if det.pos == 0 and det.cycles == 0:
        det.pattern_start_ms = start
    det.pos += 1
    det.last_end_ms = end


cdef void _burst_begins(ToneDet* det, double power, double centre_ms) noexcept nogil:
    det.state = 1
    det.doubt = 0
    det.tone_frames = 1
    det.overlong = 0
    det.steady_power = 0.0
    det.steady_frames = 0
    det.last_power = power
    det.sum_power = power + det.before
    det.sum_moment = power * centre_ms + det.before * (centre_ms - 10.0)


cdef void _frame(ToneDet* det, int* flags) noexcept nogil:
    cdef float fold[2][80]
    cdef double projection = 0.0, group = 0.0, power, value, now, centre, limit
    cdef float total
    cdef int i, k, g
    cdef bint tone, quiet
    for i in range(TONE_HALF):
        fold[0][i] = det.window[TONE_HALF + i] + det.window[TONE_HALF - 1 - i]
        fold[1][i] = det.window[TONE_HALF + i] - det.window[TONE_HALF - 1 - i]
    total = kernel_energy(det.window, TONE_WINDOW)
    power = total / TONE_WINDOW
    det.frame += 1
    now = det.frame * 10.0
    centre = now - 10.0
    tone = False
    if power > TONE_FLOOR:
        tone = True
        g = 0
        limit = GROUP_SHARE * total
        for k in range(det.dims):
            value = kernel_dot(det.even[k], fold[0], TONE_HALF)
            group += value * value
            value = kernel_dot(det.odd[k], fold[1], TONE_HALF)
            group += value * value
            if k + 1 == det.group_end[g]:
                projection += group
                if group < limit:
                    tone = False
                group = 0.0
                g += 1
        if projection < PURE * total:
            tone = False
    if det.state != 1 and det.pos & 1 and power < 0.1 * det.reference_power:
        tone = False                                    # a pause of the pattern with a trace of the tone in it, such as residual echo
    quiet = not tone and (power < QUIET_FLOOR or power < 0.1 * (det.steady_power / det.steady_frames if det.state == 1
                          and det.steady_frames else det.reference_power))
    if det.state == 1:
        if not quiet:
            det.sum_power += power
            det.sum_moment += power * centre
        if tone:
            det.tone_frames += 1
            if det.doubt == 0 and det.tone_frames > 2:
                det.steady_power += det.last_power
                det.steady_frames += 1
            det.last_power = power
            det.doubt = 0
            if det.nphases == 0:
                if det.tone_frames % 10 == 0:
                    det.cycles = det.tone_frames // 10
                if det.tone_frames == 1 + det.want_cycles * 10:
                    det.pattern_start_ms = now - det.tone_frames * 10.0
                    det.level_dbm0 = <float>(10.0 * log10(det.steady_power / det.steady_frames / POWER_0DBM0))
                    det.heard = 1
                    flags[0] |= TONE_HEARD
            elif not det.overlong and det.tone_frames * 10.0 > det.cadence_ms[(det.pos + 1) // 2 * 2 % det.nphases] * 1.15 + 60.0:
                det.overlong = 1                        # longer than its phase: the pattern is over, wait for the end
                _forget_pattern(det, flags)
        elif quiet:
            det.state = 0
            det.doubt = 0
            det.sum_power += power
            det.sum_moment += power * centre
            _burst_ended(det, flags)
        else:
            det.doubt += 1
            if det.doubt > DOUBT_LIMIT:
                det.state = 2
                det.last_end_ms = -1.0
                _forget_pattern(det, flags)
    elif tone:
        _burst_begins(det, power, centre)
    elif quiet:
        det.state = 0
        det.doubt = 0
    else:
        det.doubt += 1
        if det.doubt > DOUBT_LIMIT and det.state == 0:
            det.state = 2
            det.reference_power = 0.0
            det.last_end_ms = -1.0
            _forget_pattern(det, flags)
    if det.state != 1 and det.pos & 1:                  # in a pause of the pattern
        value = now - det.last_end_ms
        limit = det.cadence_ms[det.pos]
        if det.pos + 1 == det.nphases and not det.closed and value >= 0.85 * limit + 15.0:
            _count_cycle(det, flags)
        if value > 1.15 * limit + 40.0:
            det.last_end_ms = -1.0
            _forget_pattern(det, flags)
    det.before = power if not tone else 0.0


cdef int tone_det_feed(ToneDet* det, const short* samples, int n) noexcept nogil:
    cdef int i, k, flags = 0
    cdef float x
    cdef double y, v
    for i in range(n):
        x = samples[i]
        if det.decimate == 2 and not decimator_push(&det.decim, x, &x):
            continue
        v = x - HP_A1 * det.hp[0] - HP_A2 * det.hp[1]
        y = HP_B0 * (v - 2.0 * det.hp[0] + det.hp[1])
        det.hp[1] = det.hp[0]
        det.hp[0] = v
        det.window[TONE_HALF + det.filled] = <float>y
        det.filled += 1
        if det.filled == TONE_HALF:
            _frame(det, &flags)
            for k in range(TONE_HALF):
                det.window[k] = det.window[TONE_HALF + k]
            det.filled = 0
    if det.heard or flags & TONE_HEARD:
        det.start_ms_ago = <int>(det.frame * 10.0 + det.filled * 0.125 - det.pattern_start_ms)
    return flags


cdef _raise_spec(freqs, cadence, rate):
    raise ValueError(f"tone of {list(freqs)} Hz, cadence {list(cadence)} ms at {rate} Hz cannot be made or heard: give 1 to 4 frequencies "
                     "(250 to 3000 Hz to detect), up to 8 phases as on, off pairs of at least 50 ms, and a rate of 8000 or 16000")


cdef class ToneGenerator:
    """A tone of up to four frequencies with a cadence; `level_dbm0` is the level of each frequency."""

    cdef ToneGen gen

    def __init__(self, freqs_hz, level_dbm0=-10.0, cadence_ms=(), sample_rate=8000):
        cdef double freqs[4]
        cdef int cadence[8]
        if not 1 <= len(freqs_hz) <= 4 or len(cadence_ms) > 8:
            _raise_spec(freqs_hz, cadence_ms, sample_rate)
        for i, f in enumerate(freqs_hz):
            freqs[i] = f
        for i, ms in enumerate(cadence_ms):
            cadence[i] = ms
        if tone_gen_init(&self.gen, len(freqs_hz), freqs, level_dbm0, len(cadence_ms), cadence, sample_rate) < 0:
            _raise_spec(freqs_hz, cadence_ms, sample_rate)

    def generate(self, int samples) -> bytes:
        """The next `samples` samples, 16-bit little-endian."""
        cdef bytearray out = bytearray(2 * samples)
        cdef short[::1] view
        if samples > 0:
            view = memoryview(out).cast("h")
            with nogil:
                tone_gen_fill(&self.gen, &view[0], samples)
        return bytes(out)


cdef class ToneDetector:
    """Hears one tone by frequency and cadence; () = continuous, decided after `cycles` * 100 ms."""

    cdef ToneDet det

    def __init__(self, freqs_hz, cadence_ms=(), cycles=4, sample_rate=8000):
        cdef double freqs[4]
        cdef int cadence[8]
        if not 1 <= len(freqs_hz) <= 4 or len(cadence_ms) > 8:
            _raise_spec(freqs_hz, cadence_ms, sample_rate)
        for i, f in enumerate(freqs_hz):
            freqs[i] = f
        for i, ms in enumerate(cadence_ms):
            cadence[i] = ms
        if tone_det_init(&self.det, len(freqs_hz), freqs, len(cadence_ms), cadence, cycles, sample_rate) < 0:
            _raise_spec(freqs_hz, cadence_ms, sample_rate)

    def feed(self, samples) -> int:
        """Take 16-bit little-endian samples of any number; returns TONE_HEARD = 1 and TONE_STOPPED = 2 as bit flags."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), flags
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const char* data = aligned
        with nogil:
            flags = tone_det_feed(&self.det, <const short*>data, n)
        return flags

    @property
    def cycles(self) -> int:
        """Equal cycles matched so far (continuous tone: units of 100 ms)."""
        return self.det.cycles

    @property
    def start_ms_ago(self) -> int:
        """How long ago the first matched cycle began, in ms before the end of the last buffer fed."""
        return self.det.start_ms_ago

    @property
    def heard(self) -> bool:
        """True between TONE_HEARD and TONE_STOPPED."""
        return self.det.heard != 0

    @property
    def level_dbm0(self) -> float:
        """Level of the last burst, all frequencies together."""
        return self.det.level_dbm0
