# The alerting tones of call waiting (CAS) and of ETSI caller id on hook (DT-AS): 2130 and 2750 Hz together. No pointers in the structs.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef enum:
    CAS_NONE = 0
    CAS_CALL_WAITING = 1        # 75 to 85 ms: an off-hook terminal acknowledges with DTMF
    CAS_ALERT = 2               # 88 to 110 ms: DT-AS, FSK follows by itself

cdef struct CasHit:
    int kind                    # CAS_CALL_WAITING or CAS_ALERT
    int duration_ms
    int offset                  # samples of the fed block after which it was certain that the tone had ended
    float level_dbm0            # of each of the two tones, mean
    float twist_db              # 2130 Hz over 2750 Hz

cdef struct CasDet:
    int rate
    int decimate
    Decimator decim
    float hp[4]                 # two high-pass sections
    float frame[40]
    int filled
    # the run of good frames
    int good
    int bad                     # frames within it that were not good
    int gap                     # of them since the last good one
    int spoilt                  # what was heard is none, wait for its end
    int fitting                 # 1 while the tones are present and right so far
    float past[4]               # correlations of the frame before: 2130 re, im, 2750 re, im
    float turn[4]               # sum of turns from frame to frame
    float weight[2]             # and of their lengths
    float power[2]              # sums over the run
    float whole                 # likewise, of everything in the band
    float sum                   # of the amplitudes in the run
    float first                 # of its first and last frame, and those next to it
    float last
    float before
    float after
    float size                  # of the last frame

cdef struct CasGen:
    int at
    int total
    int ramp
    float amplitude
    double cos_w[2]
    double sin_w[2]
    double re[2]
    double im[2]

cdef int cas_det_init(CasDet* det, int rate) noexcept nogil
cdef int cas_det_feed(CasDet* det, const short* samples, int n, CasHit* hit) noexcept nogil      # 1: a tone has ended and is in `hit`
cdef int cas_gen_init(CasGen* gen, int duration_ms, double level_dbm0, int rate) noexcept nogil  # level of each tone; -1: refused
cdef int cas_gen_fill(CasGen* gen, short* out, int n) noexcept nogil                            # 0: sent
