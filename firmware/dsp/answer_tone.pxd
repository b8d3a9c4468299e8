# Fax and modem tones at C level: fixed size, no pointers; runs on the frames of a tone front end.
from firmware.dsp.tone_track cimport ToneFront

cdef enum:
    ANSWER_NONE = 0
    ANSWER_CNG = 1              # calling fax: 1100 Hz, 0.5 s every 3.5 s (T.30 4.3.3.3)
    ANSWER_CED = 2              # 2100 Hz steady: called fax (T.30 4.3.3.2) and V.25 ANS are the same tone
    ANSWER_REVERSED = 3         # 2100 Hz with phase reversals every 450 ms (V.25 4.2, G.165)
    ANSWER_ANSAM = 4            # 2100 Hz with 15 Hz amplitude modulation of 20 % (V.8 3.1)
    ANSWER_ANSAM_REVERSED = 5
    ANSWER_END = 6              # the 2100 Hz tone ended; `duration_ms` is its length
    ANSWER_DIMS = 5
    ANSWER_ENVELOPE = 40        # 400 ms: six periods of 15 Hz

cdef struct AnswerHit:
    int kind
    int start_ms_ago            # of the tone, or of the first CNG burst
    int duration_ms             # so far; CNG: of the last burst
    float level_dbm0
    float confidence            # 0..1

cdef struct AnswerTones:
    float even[10][80]          # 1100 +-38 Hz (three functions), 2100 +-15 Hz (two)
    float odd[10][80]
    # 2100 Hz
    int kind                    # reported last
    int frames                  # 10 ms frames of the tone, gaps included
    int gap                     # frames since the last pure one
    int reversals
    int since_reversal          # frames
    int filled
    float level                 # sum of powers of pure frames
    float rest                  # sum of what else was in them
    float sounded               # power of what there was lately, fading; without the last two frames, which the tone may share
    float sounded_before[2]
    int pure
    float last_re
    float last_im
    float turn_re               # how far the phase goes per frame: the frequency offset
    float turn_im
    float envelope[40]
    float wave_re[40]           # 15 Hz
    float wave_im[40]
    # 1100 Hz
    int state                   # 0 quiet, 1 burst, 2 something else
    int doubt
    int tone_frames
    int steady_frames
    float before                # power of the last frame and of that before it, 0 = pure
    float second_before
    float earlier               # power two frames before the burst
    float sum_power
    float last_power
    float steady_power
    float steady_square
    float steady_moment
    float cng_re
    float cng_im
    float cng_turn_re
    float cng_turn_im
    float reference
    int bursts                  # CNG bursts in the right rhythm
    long long first_start_ms    # of the first of them, and of the last, on the front end's clock
    long long last_start_ms

cdef int answer_init(AnswerTones* a) noexcept nogil
cdef int answer_frame(AnswerTones* a, const ToneFront* front, AnswerHit* hits) noexcept nogil
