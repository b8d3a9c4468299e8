# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The bits of a caller-id byte that are in doubt, decided by the phase of their neighbours.

Theory of operation. The two tones of one bit overlap in frequency (Bell 202 by 0.19, V.23 by 0.41 of the amplitude), and judged alone a
bit of V.23 errs about once in 100 000 at 11 dB. But a modulator never jumps in phase: from the middle of a bit to that of the next the
phase goes on by half a bit of either tone. So for both values of a doubtful bit the filters of five bits are turned back by what each
value implies and added; the sum is longer for the true one, since a wrong one turns all later bits by 60 degrees (Bell 202) or 120
(V.23). What the line itself turns space against mark is taken from all changes of the byte. All frequencies are whole multiples of 50 Hz,
1/48 of a turn in half a bit.
"""

from libc.math cimport M_PI, cos, sin

cdef extern from "math.h" nogil:
    float sqrtf(float x)

cdef extern from "fsk_front.h" nogil:
    float fsk_at(const float* ring, unsigned int base, float t)

cdef int tone[3][2]             # frequency of mark and space in units of 50 Hz: Bell 202, V.23, half-way
tone[0][:] = [24, 44]
tone[1][:] = [26, 42]
tone[2][:] = [25, 43]
cdef float unit_re[48]
cdef float unit_im[48]


def _fill_tables():
    cdef int k
    for k in range(48):
        unit_re[k] = <float>cos(2.0 * M_PI * k / 48.0)
        unit_im[k] = <float>sin(2.0 * M_PI * k / 48.0)


_fill_tables()


cdef float _agreement(FskRx* rx, Bits* bits, int middle, float turn_re, float turn_im) noexcept nogil:
    """How well the two bits on either side of `middle` agree with it in phase; a modulator never jumps."""
    cdef int first = middle - 2 if middle > 2 else 0, last = middle + 2 if middle < 8 else 10
    cdef int j, b, angle, past = 0
    cdef float re = 0.0, im = 0.0, x, y, swap, owed = 0.0
    for j in range(first, last + 1):
        b = bits.on[j]
        if j > first:
            past += tone[rx.standard][bits.on[j - 1]] + tone[rx.standard][b]
        angle = (2 * tone[rx.tones][b] * j - past) % 48
        if angle < 0:
            angle += 48
        x = rx.level[b] * (bits.re[b][j] * unit_re[angle] - bits.im[b][j] * unit_im[angle])
        y = rx.level[b] * (bits.re[b][j] * unit_im[angle] + bits.im[b][j] * unit_re[angle])
        if b:
            swap = x * turn_re - y * turn_im
            y = x * turn_im + y * turn_re
            x = swap
        re += x
        im += y
        owed += rx.level[b] * rx.level[b]
    return sqrtf(re * re + im * im) - <float>0.5 * owed


cdef void fsk_review(FskRx* rx, unsigned int base, float first, float bit, Bits* bits, float doubt) noexcept nogil:
    """Decides the bits that one bit alone leaves in doubt by the phase of their neighbours."""
    cdef float turn_re = 0.0, turn_im = 0.0, t, x, y, u, v, size
    cdef int j, k, b, angle
    cdef float as_is
    for j in range(11):
        t = first + (j - 1) * bit
        for b in range(2):
            bits.re[b][j] = fsk_at(rx.filter[2 * b], base, t)
            bits.im[b][j] = fsk_at(rx.filter[2 * b + 1], base, t)
    # what the line turns space against mark, from all changes between the two
    for j in range(10):
        if bits.on[j] == bits.on[j + 1]:
            continue
        k = j if bits.on[j] == 0 else j + 1             # the mark, the space being the other
        b = 2 * j + 1 - k
        angle = 2 * tone[rx.tones][0] * k - 2 * tone[rx.tones][1] * b
        x = tone[rx.standard][0] + tone[rx.standard][1]
        angle = (angle - <int>x if k > j else angle + <int>x) % 48
        if angle < 0:
            angle += 48
        u = bits.re[0][k] * bits.re[1][b] + bits.im[0][k] * bits.im[1][b]
        v = bits.im[0][k] * bits.re[1][b] - bits.re[0][k] * bits.im[1][b]
        turn_re += u * unit_re[angle] - v * unit_im[angle]
        turn_im += u * unit_im[angle] + v * unit_re[angle]
    size = sqrtf(turn_re * turn_re + turn_im * turn_im)
    if size <= 0.0:
        return
    turn_re /= size
    turn_im /= size
    while True:                                         # the most doubtful first, so that it does not mislead the others
        k = 2
        for j in range(3, 11):
            if bits.clear[j] < bits.clear[k]:
                k = j
        if bits.clear[k] >= doubt:
            return
        bits.clear[k] = doubt
        as_is = _agreement(rx, bits, k, turn_re, turn_im)
        bits.on[k] ^= 1
        if _agreement(rx, bits, k, turn_re, turn_im) < as_is:
            bits.on[k] ^= 1
