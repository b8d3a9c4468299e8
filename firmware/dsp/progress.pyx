# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Disconnect and call-progress classifier: all tones a line may give, followed at once, with the evidence for each decision.

Theory of operation. Up to eight trackers (`tone_track.pyx`) look at the frames of one front end, so each further tone costs its projections
only. The double condition of a release is in the trackers: the cadence must repeat in length, level, pitch and purity, and anything that is
neither the tone nor quiet for more than 30 ms (speech, music, keys) takes the whole pattern back. A hit therefore needs no further veto;
it carries what it rests on: cycles, confidence, level, frequency, purity, deviation from the nominal lengths, and how much else was heard
in the 3 s before the tone. `start_ms_ago` dates the release back to the first sound of the tone, before its cycles were counted.
Invariants: no allocation, no pointers, independent of buffer sizes.
"""
from libc.string cimport memset

from firmware.dsp.tone cimport shape_of
from firmware.dsp.tone_track cimport (TONE_HEARD, TONE_STOPPED, ToneShape, ToneTrack, tone_age_ms, tone_front_feed, tone_front_init,
                                      tone_track_frame, tone_track_init)

cdef enum:
    FRAMES = 1024
    BEFORE = 300                # frames

cdef float LOUD = 22750.0 * 22750.0 / 2.0 * 2.51e-5 * 160     # energy of a window at -46 dBm0


cdef int progress_init(Progress* p, int rate) noexcept nogil:
    memset(p, 0, sizeof(Progress))
    return tone_front_init(&p.front, rate)


cdef int progress_add(Progress* p, const ToneShape* shape) noexcept nogil:
    """Listen for one more tone; returns its index, or -1 when it cannot be heard or the bank is full."""
    if p.count >= PROGRESS_TONES or tone_track_init(&p.track[p.count], shape) < 0:
        return -1
    p.count += 1
    return p.count - 1


cdef float _unrest(const Progress* p, int start_ms_ago) noexcept nogil:
    cdef long long first = p.front.frame - start_ms_ago // 10 - 5, i
    cdef int sum_ = 0
    if first < p.front.frame - FRAMES + BEFORE:
        first = p.front.frame - FRAMES + BEFORE
    if first < BEFORE:
        return 0.0
    for i in range(first - BEFORE, first):
        sum_ += p.other[i % FRAMES]
    return sum_ / <float>BEFORE


cdef int progress_feed(Progress* p, const short* samples, int n, int* used, ProgressHit* hits) noexcept nogil:
    """Take samples up to the end of a frame (`used` says how many); fills a hit for each tone that has news and returns how many."""
    cdef int i, flags, found = 0
    cdef bint tone = False
    cdef ToneTrack* t
    if not tone_front_feed(&p.front, samples, n, used):
        return 0
    for i in range(p.count):
        t = &p.track[i]
        flags = tone_track_frame(t, &p.front)
        tone = tone or t.state == 1
        if flags:
            hits[found].tone = i
            hits[found].flags = flags
            hits[found].cycles = t.cycles
            hits[found].start_ms_ago = tone_age_ms(t, &p.front)
            hits[found].confidence = t.confidence
            hits[found].level_dbm0 = t.level_dbm0
            hits[found].freq_hz = t.freq_hz
            hits[found].purity = t.purity
            hits[found].deviation = t.deviation
            hits[found].unrest = _unrest(p, hits[found].start_ms_ago)
            found += 1
    p.other[p.front.frame % FRAMES] = not tone and p.front.total > LOUD
    return found


class ProgressEvent:
    """`name` of the tone, `heard` (False: it stopped), and the evidence; times in ms, level in dBm0."""

    __slots__ = ("confidence", "cycles", "deviation", "freq_hz", "heard", "level_dbm0", "name", "purity", "start_ms_ago", "unrest")

    def __init__(self, name, heard, cycles, start_ms_ago, confidence, level_dbm0, freq_hz, purity, deviation, unrest):
        self.name = name
        self.heard = heard
        self.cycles = cycles
        self.start_ms_ago = start_ms_ago
        self.confidence = confidence
        self.level_dbm0 = level_dbm0
        self.freq_hz = freq_hz
        self.purity = purity
        self.deviation = deviation
        self.unrest = unrest

    def __repr__(self):
        return (f"ProgressEvent({self.name} {'heard' if self.heard else 'stopped'}, {self.cycles} cycles since {self.start_ms_ago} ms, "
                f"confidence {self.confidence:.2f})")


cdef class ProgressDetector:
    """Follows up to eight tones (`firmware.line.tones.ToneSpec` or alike) in 16-bit samples of 8 or 16 kHz."""

    cdef Progress bank
    cdef tuple names

    def __init__(self, tones, sample_rate=8000):
        cdef ToneShape shape
        if len(tones) > PROGRESS_TONES:
            raise ValueError(f"{len(tones)} tones, a bank follows at most {PROGRESS_TONES}")
        if progress_init(&self.bank, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate}: give 8000 or 16000")
        for spec in tones:
            shape_of(&shape, spec.freqs_hz, spec.level_dbm0, spec.cadence_ms, spec.cycles, spec.phase_freqs_hz, spec.phase_levels_db)
            if progress_add(&self.bank, &shape) < 0:
                raise ValueError(f"tone {spec.name!r} cannot be heard: 250 to 3000 Hz, phases of at least 50 ms")
        self.names = tuple([spec.name for spec in tones])

    def feed(self, samples) -> list:
        """Take 16-bit little-endian samples of any number; returns what was decided, the oldest first."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, used = 0, k, i, later
        cdef ProgressHit hits[8]
        cdef const short* x
        cdef list found = []
        if raw.shape[0] & 1:
            raise ValueError(f"{raw.shape[0]} bytes are no whole number of 16-bit samples")
        if n == 0:
            return found
        x = <const short*>&raw[0]
        while at < n:
            k = 0
            with nogil:
                while at < n and k == 0:
                    k = progress_feed(&self.bank, x + at, n - at, &used, hits)
                    at += used
            later = (n - at) // (8 * self.bank.front.decimate)
            for i in range(k):
                for flag in (TONE_STOPPED, TONE_HEARD):
                    if hits[i].flags & flag:
                        found.append(ProgressEvent(
                            self.names[hits[i].tone], flag == TONE_HEARD, hits[i].cycles, hits[i].start_ms_ago + later, hits[i].confidence,
                            hits[i].level_dbm0, hits[i].freq_hz, hits[i].purity, hits[i].deviation, hits[i].unrest))
        return found
