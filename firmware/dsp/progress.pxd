# A bank of tone trackers on one front end at C level: what a port listens for. Fixed size, no pointers.
from firmware.dsp.tone_track cimport ToneFront, ToneShape, ToneTrack

cdef enum:
    PROGRESS_TONES = 8

cdef struct ProgressHit:
    int tone                    # index in the bank
    int flags                   # TONE_HEARD, TONE_STOPPED
    int cycles
    int start_ms_ago            # of the first matched cycle, from the last sample fed: where a release is dated back to
    float confidence            # 0..1
    float level_dbm0            # evidence: of the last burst
    float freq_hz
    float purity
    float deviation
    float unrest                # share of the 3 s before the tone in which something else sounded: 0 after silence, near 1 after talk

cdef struct Progress:
    ToneFront front
    int count
    ToneTrack track[8]
    unsigned char other[1024]   # by 10 ms frame: loud, and no tone of the bank

cdef int progress_init(Progress* p, int rate) noexcept nogil
cdef int progress_add(Progress* p, const ToneShape* shape) noexcept nogil
cdef int progress_feed(Progress* p, const short* samples, int n, int* used, ProgressHit* hits) noexcept nogil
