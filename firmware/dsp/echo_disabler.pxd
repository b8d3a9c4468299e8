# Tone disabler of an echo canceller (ITU-T G.165, G.168 clause 7), one for both directions.
cdef struct ToneWatch:
    float re, im                # component at 2100 Hz of the latest block
    float re1, im1              # of the block before
    float re2, im2              # and of the one before that
    float turn_re, turn_im      # how its phase turns from block to block, unit length
    int steady                  # blocks of tone without a break
    int missing                 # blocks without tone since then
    int since                   # blocks since the last phase reversal
    int reversals               # in a row, 450 ms apart

cdef struct Disabler:
    float table_re[160]         # 10 ms of 2100 Hz
    float table_im[160]
    int n
    ToneWatch far
    ToneWatch near
    int off                     # 1: the canceller is disabled
    int plain                   # 1: 2100 Hz without reversals, only the residual control is off
    int quiet                   # blocks of silence in both directions

cdef void disabler_init(Disabler* d, int rate) noexcept nogil
cdef void disabler_reset(Disabler* d) noexcept nogil
cdef void disabler_feed(Disabler* d, const float* far, const float* near) noexcept nogil    # 10 ms of both directions
