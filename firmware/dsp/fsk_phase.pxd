# Bits of one byte decided together by their phase (C level).
from firmware.dsp.fsk cimport FskRx

cdef struct Bits:                # of one byte; place 0 is the mark before it, 1 the start bit, 2 to 9 data, 10 the stop bit
    int on[11]                  # 0 mark, 1 space
    float clear[11]             # how far from the threshold
    float re[2][11]             # filters of mark and space in the middle of each bit
    float im[2][11]

cdef void fsk_review(FskRx* rx, unsigned int base, float first, float bit, Bits* bits, float doubt) noexcept nogil
