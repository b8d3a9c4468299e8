# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The frequencies of a tone in kept sound: steps 1 and 2 of the learner (`learner.pyx` tells the whole)."""
from libc.math cimport M_PI, cos, fabs, sin, sqrt
from libc.string cimport memset

cdef extern from "fft.h" nogil:
    void fft_init(Fft* f, int n)
    void fft_forward(const Fft* f, const float* x, float* re, float* im)

cdef extern from "kernels.h" nogil:
    float kernel_energy(const float* a, int n)

cdef extern from "learner_kernels.h" nogil:
    void learn_unpack(const signed char* sample, float scale, float* x)
    void learn_bin(const float* x, int n, double w, double* re, double* im)

cdef double APART = 18.0    # Hz
cdef float FLOOR = 22750.0 * 22750.0 / 2.0 * 5.0e-5     # -43 dBm0
cdef int POINTS = 512
cdef int LOWEST = 270                                   # Hz of what is learnt
cdef int HIGHEST = 2000


cdef const LearnFrame* learn_frame(const LearnRing* ring, int count, int i) noexcept nogil:
    """Frame `i` of `count`, oldest first."""
    return &ring.frame[(ring.frames - count + i) % LEARN_FRAMES]


cdef void learn_sound(const LearnRing* ring, int count, int first, int n, float* out) noexcept nogil:
    """`n` samples from frame `first` on."""
    cdef float part[80]
    cdef int i, at = 0
    cdef const LearnFrame* f
    while at < n:
        f = learn_frame(ring, count, first)
        learn_unpack(f.sample, f.scale, part)
        for i in range(80 if n - at >= 80 else n - at):
            out[at + i] = part[i]
        at += 80
        first += 1


cdef void learn_spectra(const LearnRing* ring, LearnWork* w, int count) noexcept nogil:
    """Strongest frequency and purity of every frame (with its neighbours)."""
    cdef float wave[512]
    cdef float re[260]
    cdef float im[260]
    cdef float power[260]
    cdef float total, best, second, peak, place, a, b, c
    cdef int i, k, at, other
    fft_init(&w.fft, POINTS)
    for i in range(240):
        w.taper[i] = <float>(0.5 - 0.5 * cos(2.0 * M_PI * (i + 0.5) / 240))
    memset(wave, 0, sizeof(wave))
    for i in range(count):
        w.pitch[i] = w.share[i] = 0.0
        if i < 1 or i + 1 >= count or learn_frame(ring, count, i).power < FLOOR:
            continue
        learn_sound(ring, count, i - 1, 240, wave)
        for k in range(240):
            wave[k] *= w.taper[k]
        fft_forward(&w.fft, wave, re, im)
        total = best = 0.0
        at = 0
        for k in range(1, POINTS // 2):
            power[k] = re[k] * re[k] + im[k] * im[k]
            total += power[k]
            if power[k] > best:
                best = power[k]
                at = k
        if at < 8 or at > 140:
            continue
        peak = 0.0
        for k in range(at - 6, at + 7):
            peak += power[k]
        second = 0.0
        other = 0
        for k in range(8, 141):
            if (k < at - 8 or k > at + 8) and power[k] > second and power[k] >= power[k - 1] and power[k] >= power[k + 1]:
                second = power[k]
                other = k
        if second > <float>0.06 * best:
            for k in range(other - 6, other + 7):
                if k < at - 6 or k > at + 6:
                    peak += power[k]
            if other < at and second > <float>0.25 * best:
                at = other                              # of two like strong ones the lower speaks for both
        w.share[i] = peak / total
        if w.share[i] < <float>0.85:
            continue
        a = sqrt(power[at - 1])
        b = sqrt(power[at])
        c = sqrt(power[at + 1])
        place = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else 0.0
        w.pitch[i] = (at + place) * <float>(8000.0 / POINTS)


cdef void learn_vote(LearnWork* w, int count) noexcept nogil:
    """Frames whose frequency stays for five frames vote for it."""
    cdef int i, k, run = 0, slot
    memset(w.votes, 0, sizeof(w.votes))
    for i in range(count):
        run = run + 1 if i and w.pitch[i] > 0 and fabs(w.pitch[i] - w.pitch[i - 1]) < 14.0 else 0
        if run >= 4:
            slot = <int>(w.pitch[i] / LEARN_VOTE_HZ)
            for k in range(-3, 4):
                if 0 <= slot + k < 512:
                    w.votes[slot + k] += 4 - (k if k > 0 else -k)


cdef double _highest(const float* x, int n, double low, double high, double step, double* power) noexcept nogil:
    """Frequency (Hz) of the greatest spectrum between two limits: on a grid, then halving the step."""
    cdef double re, im, f = low, best = -1.0, at = low, p, around
    cdef int side
    while f <= high:
        learn_bin(x, n, 2.0 * M_PI * f / 8000.0, &re, &im)
        p = re * re + im * im
        if p > best:
            best = p
            at = f
        f += step
    while step > 0.05:
        step *= 0.5
        around = at
        for side in range(2):           # not over a pair of floats: Cython 3.1, which images are made with, would make a tuple of it
            f = around + step if side else around - step
            learn_bin(x, n, 2.0 * M_PI * f / 8000.0, &re, &im)
            p = re * re + im * im
            if p > best:
                best = p
                at = f
    power[0] = best
    return at


cdef void _remove(const float* x, const float* taper, float* out, int n, double f, double gain) noexcept nogil:
    """out = x without its tone of `f` Hz; x is tapered, `gain` the sum of the taper."""
    cdef double re, im, w = 2.0 * M_PI * f / 8000.0, c = cos(w), s = sin(w), a = 1.0, b = 0.0, t
    cdef int i
    learn_bin(x, n, w, &re, &im)
    re *= 2.0 / gain
    im *= 2.0 / gain
    for i in range(n):
        out[i] = x[i] - taper[i] * <float>(re * a - im * b)
        t = a * c - b * s
        b = a * s + b * c
        a = t


cdef int _two(LearnWork* w, int n, double near, double* f1, double* f2) noexcept nogil:
    """The one or two frequencies of the burst in `cut`; returns how many, 0 where much else remains."""
    cdef double total, gain = 0.0, p1, p2, rest
    cdef int i, turn
    for i in range(n):
        w.taper[i] = <float>(0.5 - 0.5 * cos(2.0 * M_PI * (i + 0.5) / n))
        gain += w.taper[i]
        w.cut[i] *= w.taper[i]
    total = kernel_energy(w.cut, n)
    f1[0] = _highest(w.cut, n, near - 45.0, near + 45.0, 4.0, &p1)
    _remove(w.cut, w.taper, w.rest, n, f1[0], gain)
    f2[0] = _highest(w.rest, n, LOWEST, HIGHEST, 6.0, &p2)
    if p2 < 0.06 * p1:
        f2[0] = 0.0
        rest = kernel_energy(w.rest, n)
        return 1 if rest < 0.2 * total else 0
    for turn in range(3):
        _remove(w.cut, w.taper, w.rest, n, f2[0], gain)
        f1[0] = _highest(w.rest, n, f1[0] - 8.0, f1[0] + 8.0, 4.0, &p1)
        _remove(w.cut, w.taper, w.rest, n, f1[0], gain)
        f2[0] = _highest(w.rest, n, f2[0] - 8.0, f2[0] + 8.0, 4.0, &p2)
    _remove(w.cut, w.taper, w.rest, n, f1[0], gain)
    _remove(w.rest, w.taper, w.cut, n, f2[0], gain)
    # Closer than any exchange's two (25 Hz is the least): one voice that glides.
    if kernel_energy(w.cut, n) > 0.2 * total or fabs(f1[0] - f2[0]) < APART:
        return 0
    if p2 < 0.06 * p1:
        f2[0] = 0.0
        return 1
    return 2


cdef double _middle(double* x, int n) noexcept nogil:
    cdef int i, k
    cdef double v
    for i in range(1, n):
        v = x[i]
        k = i
        while k > 0 and x[k - 1] > v:
            x[k] = x[k - 1]
            k -= 1
        x[k] = v
    return x[n // 2] if n & 1 else 0.5 * (x[n // 2] + x[n // 2 - 1])


cdef int learn_frequencies(const LearnRing* ring, LearnWork* w, int count, double near, LearntTone* out) noexcept nogil:
    """Measure a candidate in the longest of its runs; 1 when they agree."""
    cdef double alone[8]
    cdef double first[8]
    cdef double second[8]
    cdef double f1, f2
    cdef int used[8]
    cdef int i, k, n, runs, longest, start, length, fresh, single = 0, pairs = 0
    for runs in range(8):
        longest = start = length = 0
        for i in range(count):                          # runs of this pitch, the longest not yet used
            if w.pitch[i] <= 0 or fabs(w.pitch[i] - near) > 30.0:
                length = 0
                continue
            length += 1
            if length > longest:
                fresh = 1
                for k in range(runs):
                    if i - length < used[k] <= i:
                        fresh = 0
                if fresh:
                    longest = length
                    start = i - length + 1
        if longest < 4:
            break
        used[runs] = start + longest // 2
        n = longest * 80 if longest * 80 < LEARN_CUT else LEARN_CUT
        learn_sound(ring, count, start + (longest - n // 80) // 2, n, w.cut)
        k = _two(w, n & ~3, near, &f1, &f2)
        if k == 1:
            alone[single] = f1
            single += 1
        elif k == 2:
            first[pairs] = f1 if f1 < f2 else f2
            second[pairs] = f2 if f1 < f2 else f1
            pairs += 1
    if pairs > single:
        out.nfreq = 2
        out.freqs[0] = _middle(first, pairs)
        out.freqs[1] = _middle(second, pairs)
        return pairs >= 2 and _agree(first, pairs) and _agree(second, pairs)
    out.nfreq = 1
    if single < 2:
        return 0
    out.freqs[0] = _middle(alone, single)
    return _agree(alone, single)


cdef bint _agree(const double* x, int n) noexcept nogil:
    """Ordered frequencies lie within 1.5 %, but for one of four at either end."""
    return x[n - 1 - n // 4] - x[n // 4] <= 0.015 * x[n // 2] + 2.0
