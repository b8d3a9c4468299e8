# DTMF detector and muting at C level, and the generator's names. Structs are fixed-size and hold no pointers.
from firmware.dsp.dtmf_send cimport DTMF_MAX_DIGITS, DtmfGen, dtmf_gen_fill, dtmf_gen_init, dtmf_gen_init_levels

cdef enum:
    DTMF_START = 1
    DTMF_END = 2
    DTMF_FRAMES = 16                # that the detector remembers

cdef struct DtmfHit:
    char digit                      # 0-9 * # A-D
    int duration_ms                 # so far (start) or whole (end)
    float level_dbm0                # both tones together
    float twist_db                  # low group minus high group: positive is normal twist
    int kind                        # DTMF_START or DTMF_END
    int offset                      # samples from the start of the buffer just fed to the moment of the report
    int onset_ms                    # from the onset of the tone to that moment

cdef struct DtmfFrame:
    float x[40]                     # high-passed sound at 8 kHz
    float z[16]                     # its correlations: cosines, then sines, of the eight frequencies
    float power                     # mean square of x
    float low                       # mean square below some 400 Hz
    float tone[2]                   # mean squares of the low and the high tone of the run
    float re[2]                     # their phasors: re - j im
    float im[2]

cdef struct DtmfDet:
    int tentative                   # nonzero while a possible digit is present: mute on it
    int digit                       # digit being reported, 0 = none
    int age                         # samples from the onset of either to the end of what was fed
    # signal state
    int decimate
    int filled
    float input[104]                # one frame at the rate of the input, behind what the decimator remembers
    float hp[12]                    # of the high-pass
    float gain[8]                   # its power gain at the eight frequencies
    DtmfFrame frame[DTMF_FRAMES]
    unsigned int at                 # frames so far; the last is frame[at % DTMF_FRAMES]
    # the run: frames in which the same two tones are nearly all there is
    int pair                        # low * 4 + high, -1 = none
    int run                         # its frames without a gap
    int bad                         # frames since the last good one
    int follows                     # it took over from another digit without a pause
    int doubts                      # judgements in a row that said no
    int joined                      # frames of a run of the same pair before a break of 10 ms
    int lead                        # frames from its first to the first of this run
    int known                       # onset, background and low_before are those of this run
    float early[2]                  # sums of the power of its tones over its second to fifth frame
    float onset[2]                  # power of its tones before it
    float background                # power of any sound before it
    float colour                    # and its covariance with itself one sample later
    float low_before                # strongest frame below 400 Hz before it
    float edge_before               # how much of the frame before it the tone filled
    float edge_after
    float purity                    # what the tones must hold of all power
    # the digit being reported
    int length                      # frames from its first to its last good one
    int good                        # good frames
    double power[2]                 # sums over the good frames
    int rival                       # another pair seen meanwhile, and for how many frames
    int rival_frames

cdef int dtmf_det_init(DtmfDet* det, int rate) noexcept nogil
cdef int dtmf_det_feed(DtmfDet* det, const short* samples, int n, DtmfHit* out, int max_hits) noexcept nogil
# Could the run in hand become a digit?
cdef bint dtmf_det_plausible(const DtmfDet* det) noexcept nogil
