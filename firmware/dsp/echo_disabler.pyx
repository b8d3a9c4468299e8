# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Tone disabler: modems and fax machines switch the echo canceller off with 2100 Hz (ITU-T G.165 clause 5, G.168 clause 7, V.8, V.25).

Theory of operation. 10 ms hold 21 periods of 2100 Hz, so the product of each block with one table gives its phase, which stands
still for 2100 Hz and turns evenly for a tone up to 21 Hz away. A block is tone when that component holds most of its power.
* 2100 Hz with phase reversals 450 ms apart (ANS with reversals, ANSam): the block after next has the opposite of the phase that the
  even turning foretells. The second such reversal in time disables the canceller altogether.
* 2100 Hz without reversals (fax CED, V.25 ANS) for 400 ms takes only the residual control out: fax needs a full-duplex line, but its
  modems have no canceller of their own.
Both directions are watched. Either state ends after 250 ms without a signal above -36 dBm0 in both directions.
Decisions compare products of sums only; no library function takes part, so they are the same everywhere.
"""

from libc.string cimport memset

cdef extern from "kernels.h" nogil:
    float kernel_dot(const float* a, const float* b, int n)
    float kernel_energy(const float* a, int n)

from libc.math cimport cos, sin, sqrtf

cdef float TONE_FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 7.94e-4)      # -31 dBm0 (G.168 clause 7.3)
cdef float QUIET = <float>(22750.0 * 22750.0 / 2.0 * 2.51e-4)           # -36 dBm0 (G.168 clause 7.7)
cdef float PURE = 0.65                  # of a block's power at 2100 Hz, above: tone; 21 Hz off leave 0.86, AM of ANSam 0.98
cdef float OPPOSITE = 0.6               # cosine of the phase jump, at least this far below 0
cdef int LEAST_GAP = 40                 # blocks between reversals: 450 +- 25 ms, and two blocks of blur
cdef int MOST_GAP = 50
cdef int PLAIN_BLOCKS = 40
cdef int QUIET_BLOCKS = 25
cdef int BREAK_BLOCKS = 3


cdef void disabler_init(Disabler* d, int rate) noexcept nogil:
    cdef int k
    d.n = rate // 100
    for k in range(d.n):
        d.table_re[k] = <float>cos(2.0 * 3.14159265358979323846 * 2100.0 * k / rate)
        d.table_im[k] = <float>-sin(2.0 * 3.14159265358979323846 * 2100.0 * k / rate)
    disabler_reset(d)


cdef void disabler_reset(Disabler* d) noexcept nogil:
    memset(&d.far, 0, sizeof(ToneWatch))
    memset(&d.near, 0, sizeof(ToneWatch))
    d.off = d.plain = d.quiet = 0


cdef void _watch(Disabler* d, ToneWatch* w, const float* x, float energy) noexcept nogil:
    cdef float size, re, im, turn_re, turn_im, foretold_re, foretold_im, size2, along
    w.re2 = w.re1
    w.im2 = w.im1
    w.re1 = w.re
    w.im1 = w.im
    w.re = kernel_dot(x, d.table_re, d.n)
    w.im = kernel_dot(x, d.table_im, d.n)
    w.since += 1
    size = w.re * w.re + w.im * w.im
    if energy < TONE_FLOOR * d.n or size < PURE * energy * <float>0.5 * d.n:
        w.missing += 1
        if w.missing > BREAK_BLOCKS:
            w.steady = w.reversals = 0
        return
    w.missing = 0
    w.steady += 1
    size2 = w.re2 * w.re2 + w.im2 * w.im2
    if w.steady >= 5 and size2 > <float>0.5 * size:
        turn_re = w.turn_re * w.turn_re - w.turn_im * w.turn_im
        turn_im = <float>2.0 * w.turn_re * w.turn_im
        foretold_re = w.re2 * turn_re - w.im2 * turn_im
        foretold_im = w.re2 * turn_im + w.im2 * turn_re
        along = w.re * foretold_re + w.im * foretold_im
        if along < 0.0 and along * along > OPPOSITE * OPPOSITE * size * size2:
            if w.since > 2:                             # the same reversal is seen from two blocks
                w.reversals = w.reversals + 1 if LEAST_GAP <= w.since <= MOST_GAP or w.reversals == 0 else 1
                w.since = 0
            return
    re = w.re * w.re1 + w.im * w.im1                    # turn from the last block to this one
    im = w.im * w.re1 - w.re * w.im1
    size2 = re * re + im * im
    if w.since > 2 and size2 > <float>0.25 * size * size:
        size2 = <float>0.3 / sqrtf(size2)
        w.turn_re += size2 * re - <float>0.3 * w.turn_re
        w.turn_im += size2 * im - <float>0.3 * w.turn_im


cdef void disabler_feed(Disabler* d, const float* far, const float* near) noexcept nogil:
    cdef float a = kernel_energy(far, d.n), b = kernel_energy(near, d.n)
    _watch(d, &d.far, far, a)
    _watch(d, &d.near, near, b)
    if d.far.reversals >= 2 or d.near.reversals >= 2:
        d.off = 1
    if d.far.steady >= PLAIN_BLOCKS or d.near.steady >= PLAIN_BLOCKS:
        d.plain = 1
    if not (d.off or d.plain):
        return
    d.quiet = d.quiet + 1 if a < QUIET * d.n and b < QUIET * d.n else 0
    if d.quiet >= QUIET_BLOCKS:
        disabler_reset(d)
