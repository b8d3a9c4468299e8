# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Call-progress tones: a generator without clicks, and a detector of one tone on its own.

Theory of operation. Tones and cadences after ITU-T E.180 and its national supplements; 0 dBm0 is a sine of peak 22 750. A `ToneShape`
(`tone_track.pxd`) names up to four frequencies and, for each phase of the cadence, which of them sound (a mask, 0 = pause) and how loud:
plain tones alternate all and none, special information tones change the frequency, Australian congestion changes the level.

Generator: four rotating phasors in four lanes, brought back to length one every 256 turns; each peak moves to that of the next phase in
2 ms along a raised step. Phases run on through pauses. The detector is `tone_track.pyx` behind a front end of its own.
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from libc.math cimport cos, sin, pow, M_PI
from libc.string cimport memset

from firmware.dsp.tone_track cimport TONE_MAX_FREQS, TONE_MAX_PHASES

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)

cdef extern from "tone_kernels.h" nogil:
    void tone_turn(float* re, float* im, const float* cos_w, const float* sin_w)
    void tone_even_out(float* re, float* im)
    float tone_sum(const float* im, const float* come, const float* go, float shape)

cdef double PEAK_0DBM0 = 22750.0


cdef int tone_shape_plain(ToneShape* shape, int nfreq, const double* freqs, float level_dbm0, int nphases, const int* cadence_ms,
                          int cycles) noexcept nogil:
    """Fills a shape whose phases are all frequencies, none, all, none and so on."""
    cdef int i
    memset(shape, 0, sizeof(ToneShape))
    if nfreq < 1 or nfreq > TONE_MAX_FREQS or nphases < 0 or nphases > TONE_MAX_PHASES:
        return -1
    shape.nfreq = nfreq
    shape.nphases = nphases
    shape.cycles = cycles
    shape.level_dbm0 = level_dbm0
    for i in range(nfreq):
        shape.freqs[i] = freqs[i]
    for i in range(TONE_MAX_PHASES):
        if i < nphases:
            shape.cadence_ms[i] = cadence_ms[i]
            shape.mask[i] = 0 if i & 1 else (1 << nfreq) - 1
    return 0


cdef int tone_gen_init(ToneGen* gen, const ToneShape* shape, int rate) noexcept nogil:
    cdef int i, k
    memset(gen, 0, sizeof(ToneGen))
    if shape.nfreq < 1 or shape.nfreq > TONE_MAX_FREQS or shape.nphases < 0 or shape.nphases > TONE_MAX_PHASES:
        return -1
    if rate != 8000 and rate != 16000:
        return -1
    for i in range(shape.nfreq):
        if not (shape.freqs[i] > 0.0 and shape.freqs[i] < rate / 2.0):
            return -1
    for i in range(shape.nphases):
        if shape.cadence_ms[i] <= 0 or shape.cadence_ms[i] > 600000:
            return -1
        gen.cadence[i] = shape.cadence_ms[i] * (rate // 1000)
        for k in range(shape.nfreq):
            if shape.mask[i] >> k & 1:
                gen.target[i][k] = <float>(PEAK_0DBM0 * pow(10.0, (shape.level_dbm0 + shape.level_db[i]) / 20.0))
    gen.nphases = shape.nphases
    gen.left = gen.cadence[0] if gen.nphases else -1
    gen.ramp_step = <float>(1.0 / (rate // 500))
    for k in range(TONE_MAX_FREQS):
        gen.re[k] = 1.0
        gen.cos_w[k] = 1.0
    for k in range(shape.nfreq):
        gen.cos_w[k] = <float>cos(2.0 * M_PI * shape.freqs[k] / rate)
        gen.sin_w[k] = <float>sin(2.0 * M_PI * shape.freqs[k] / rate)
        gen.go_to[k] = gen.target[0][k] if gen.nphases else <float>(PEAK_0DBM0 * pow(10.0, shape.level_dbm0 / 20.0))
    return 0


cdef void tone_gen_fill(ToneGen* gen, short* out, int n) noexcept nogil:
    cdef int i, k
    cdef float shape
    for i in range(n):
        if gen.left == 0:
            gen.phase = gen.phase + 1 if gen.phase + 1 < gen.nphases else 0
            gen.left = gen.cadence[gen.phase]
            shape = gen.ramp * gen.ramp * (<float>3.0 - <float>2.0 * gen.ramp)
            for k in range(TONE_MAX_FREQS):
                gen.come_from[k] += (gen.go_to[k] - gen.come_from[k]) * shape
                gen.go_to[k] = gen.target[gen.phase][k]
            gen.ramp = 0.0
        if gen.left > 0:
            gen.left -= 1
        if gen.until_even == 0:
            tone_even_out(gen.re, gen.im)
            gen.until_even = 256
        gen.until_even -= 1
        gen.ramp = gen.ramp + gen.ramp_step if gen.ramp + gen.ramp_step < <float>1.0 else <float>1.0
        shape = gen.ramp * gen.ramp * (<float>3.0 - <float>2.0 * gen.ramp)
        out[i] = kernel_round(tone_sum(gen.im, gen.come_from, gen.go_to, shape))
        tone_turn(gen.re, gen.im, gen.cos_w, gen.sin_w)


cdef int tone_det_init(ToneDet* det, const ToneShape* shape, int rate) noexcept nogil:
    if tone_front_init(&det.front, rate) < 0:
        return -1
    return tone_track_init(&det.track, shape)


cdef int tone_det_feed(ToneDet* det, const short* samples, int n) noexcept nogil:
    cdef int at = 0, used = 0, flags = 0
    while at < n:
        if tone_front_feed(&det.front, samples + at, n - at, &used):
            flags |= tone_track_frame(&det.track, &det.front)
        at += used
    return flags


cdef int shape_of(ToneShape* shape, freqs_hz, level_dbm0, cadence_ms, cycles, phase_freqs_hz, phase_levels_db) except -1:
    """A shape from Python values; ValueError where they contradict each other. () for the last two: a plain tone."""
    cdef double freqs[4]
    cdef int cadence[8]
    cdef int i, k
    hint = "give 1 to 4 frequencies (250 to 3000 Hz to detect), up to 8 phases as on, off pairs of at least 50 ms"
    if not 1 <= len(freqs_hz) <= 4 or len(cadence_ms) > 8 or (len(cadence_ms) & 1 and not phase_freqs_hz):
        raise ValueError(f"tone of {list(freqs_hz)} Hz, cadence {list(cadence_ms)} ms: {hint}")
    for i, f in enumerate(freqs_hz):
        freqs[i] = f
    for i, ms in enumerate(cadence_ms):
        cadence[i] = ms
    tone_shape_plain(shape, len(freqs_hz), freqs, level_dbm0, len(cadence_ms), cadence, cycles)
    for name, values in (("frequencies", phase_freqs_hz), ("levels", phase_levels_db)):
        if values and len(values) != len(cadence_ms):
            raise ValueError(f"tone with {len(cadence_ms)} phases has {name} for {len(values)} of them")
    for i, sounding in enumerate(phase_freqs_hz):
        shape.mask[i] = 0
        for f in sounding:
            if f not in freqs_hz:
                raise ValueError(f"phase {i} sounds at {f} Hz, which is none of the tone's {list(freqs_hz)} Hz")
            k = list(freqs_hz).index(f)
            shape.mask[i] |= 1 << k
    for i, level in enumerate(phase_levels_db):
        shape.level_db[i] = level
    return 0


cdef _refuse(freqs, cadence, rate):
    raise ValueError(f"tone of {list(freqs)} Hz, cadence {list(cadence)} ms at {rate} Hz cannot be made or heard: give 1 to 4 frequencies "
                     "(250 to 3000 Hz to detect), up to 8 phases as on, off pairs of at least 50 ms, and a rate of 8000 or 16000")


cdef class ToneGenerator:
    """A tone of up to four frequencies with a cadence; `level_dbm0` is the level of each frequency.

    `phase_freqs_hz` names the frequencies that sound in each phase (() = pause), `phase_levels_db` its level against `level_dbm0`.
    """

    cdef ToneGen gen

    def __init__(self, freqs_hz, level_dbm0=-10.0, cadence_ms=(), sample_rate=8000, phase_freqs_hz=(), phase_levels_db=()):
        cdef ToneShape shape
        shape_of(&shape, freqs_hz, level_dbm0, cadence_ms, 1, phase_freqs_hz, phase_levels_db)
        if tone_gen_init(&self.gen, &shape, sample_rate) < 0:
            _refuse(freqs_hz, cadence_ms, sample_rate)

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

    def __init__(self, freqs_hz, cadence_ms=(), cycles=4, sample_rate=8000, phase_freqs_hz=(), phase_levels_db=()):
        cdef ToneShape shape
        shape_of(&shape, freqs_hz, -10.0, cadence_ms, cycles, phase_freqs_hz, phase_levels_db)
        if tone_det_init(&self.det, &shape, sample_rate) < 0:
            _refuse(freqs_hz, cadence_ms, sample_rate)

    def feed(self, samples) -> int:
        """Take 16-bit little-endian samples of any number; returns TONE_HEARD = 1 and TONE_STOPPED = 2 as bit flags."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), flags
        if raw.shape[0] & 1:
            raise ValueError(f"{raw.shape[0]} bytes are no whole number of 16-bit samples")
        if n == 0:
            return 0
        with nogil:
            flags = tone_det_feed(&self.det, <const short*>&raw[0], n)
        return flags

    @property
    def cycles(self) -> int:
        """Equal cycles matched so far; continuous: units of 100 ms."""
        return self.det.track.cycles

    @property
    def start_ms_ago(self) -> int:
        """Age of the first matched cycle's start, counted back from the last sample fed."""
        return tone_age_ms(&self.det.track, &self.det.front)

    @property
    def heard(self) -> bool:
        """True between TONE_HEARD and TONE_STOPPED."""
        return self.det.track.heard != 0

    @property
    def level_dbm0(self) -> float:
        """Level of the last burst, all frequencies together."""
        return self.det.track.level_dbm0

    @property
    def confidence(self) -> float:
        """0..1, of the pattern so far."""
        return self.det.track.confidence

    @property
    def purity(self) -> float:
        """Mean share of the tone in the power of its bursts."""
        return self.det.track.purity

    @property
    def deviation(self) -> float:
        """Greatest relative departure of a phase from its nominal length."""
        return self.det.track.deviation

    @property
    def freq_hz(self) -> float:
        """Measured frequency of the last burst (the highest of several); 0 where two lie too close to be told apart."""
        return self.det.track.freq_hz
