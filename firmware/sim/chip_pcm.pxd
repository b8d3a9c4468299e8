# The PCM highway: slots of all chips, companding, gains, mutes, loops.
from libc.stdint cimport int16_t, uint64_t

from firmware.sim.chip_base cimport chip_room
from firmware.sim.chip_fxo cimport fxo_chip
from firmware.sim.chip_fxs cimport fxs_chip

cdef enum:
    PCM_BLOCK = 80          # most samples per call
    PCM_CHIPS = 32          # FXO chips first, then FXS chips

ctypedef struct pcm_slot:
    bint on
    int width, law              # law: 0 A, 1 mu, 2 linear
    int listen, speak           # bits after the frame's start, -1: outside
    bint early                  # lets go of the bus half a clock early

ctypedef struct pcm_highway:
    chip_room *room
    int bits, delay             # bits of a frame; clocks between FSYNC and the first data bit (dsp_a: 1)
    uint64_t seen               # signature of the slot table that was judged last
    pcm_slot slot[PCM_CHIPS]
    int16_t heard[PCM_CHIPS][PCM_BLOCK]     # what each chip took off the highway
    int16_t sent[PCM_CHIPS][PCM_BLOCK]      # what it put on its line

cdef void pcm_init(pcm_highway *h, chip_room *room) noexcept nogil
cdef void pcm_playback(pcm_highway *h, fxo_chip *fxo, int fxo_count, fxs_chip *fxs, int fxs_count, const int16_t *play, int16_t *lines,
                       int n) noexcept nogil
cdef void pcm_capture(pcm_highway *h, fxo_chip *fxo, int fxo_count, fxs_chip *fxs, int fxs_count, const int16_t *lines, int16_t *capture,
                      int n) noexcept nogil
