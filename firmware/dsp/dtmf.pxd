# DTMF detector and generator at C level. Structs are fixed-size and hold no pointers.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef enum:
    DTMF_START = 1
    DTMF_END = 2
    DTMF_MAX_DIGITS = 64

cdef struct DtmfHit:
    char digit                  # 0-9 * # A-D
    int duration_ms             # so far (start) or whole (end)
    float level_dbm0            # both tones together
    float twist_db              # low group minus high group: positive is normal twist
    int kind                    # DTMF_START or DTMF_END
    int offset                  # samples from the start of the buffer just fed

cdef struct DtmfDet:
    int tentative               # nonzero while a possible digit is present: mute on it
    int digit                   # digit being reported, 0 = none
    # signal state
    int decimate
    Decimator decim
    float hp[4]                 # two high-pass biquads, transposed direct form
    float frame[40]             # 5 ms at 8 kHz
    int filled
    float last[16]              # correlations of the frame before: cosine and sine of the eight frequencies
    float last_power
    # candidate run
    int pair                    # low * 4 + high of the run, -1 = none
    int good                    # good frames in the run
    int length                  # frames from the run's first to its last good frame
    int bad                     # frames since the last good one
    int age                     # frames of the run, good or bad
    int linked                  # the frame before was good: rotations may be summed
    float last_re[2]            # phasor of low and high tone in the last good frame
    float last_im[2]
    float turn_re[2]            # sum of frame-to-frame rotations: their angle is the frequency error
    float turn_im[2]
    float line_re[2][8]         # phasors of the last good frames, turned back to the frame of the first; slot = frame of the run & 7
    float line_im[2][8]
    float line_power[8]         # signal power of those frames; negative: no good frame
    float spin_re[2]            # turns back to the first frame
    float spin_im[2]
    float before                # power of the last bad frame
    double power[2]             # sum of tone powers over good frames
    double total                # sum of signal power over good frames
    float floor_power           # weakest and strongest good frame
    float peak_power
    int rival                   # other pair seen while this one is reported, and for how many frames
    int rival_frames
    float edge[2]               # power of the frame before the run and of the first one after it

cdef struct DtmfGen:
    int n
    int index
    int on
    int off
    int at                      # sample inside the current digit's on + off
    int ramp
    char digits[64]
    float amplitude
    double cos_w[8]
    double sin_w[8]
    double re[2]
    double im[2]

cdef int dtmf_det_init(DtmfDet* det, int rate) noexcept nogil
cdef int dtmf_det_feed(DtmfDet* det, const short* samples, int n, DtmfHit* out, int max_hits) noexcept nogil
cdef int dtmf_gen_init(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double level_dbm0,
                       int rate) noexcept nogil
cdef int dtmf_gen_fill(DtmfGen* gen, short* out, int n) noexcept nogil
