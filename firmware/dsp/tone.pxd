# Tone generator and cadence detector at C level. Structs are fixed-size and hold no pointers: a port embeds them and may copy them.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef enum:
    TONE_MAX_FREQS = 4
    TONE_MAX_PHASES = 8
    TONE_HEARD = 1
    TONE_STOPPED = 2
    TONE_WINDOW = 160           # detector window at 8 kHz: 20 ms, moved by 10 ms
    TONE_HALF = 80
    TONE_DIMS = 8               # basis functions per parity

cdef struct ToneGen:
    int nfreq
    int nphases
    int phase                   # index into cadence, even = on
    int left                    # samples left in this phase; -1 = continuous
    int cadence[8]              # samples per phase
    double cos_w[4]
    double sin_w[4]
    double re[4]
    double im[4]
    float amplitude             # peak of each frequency
    float gain                  # ramp, 0..1
    float gain_step

cdef struct ToneDet:
    # results
    int cycles                  # equal cycles matched so far (continuous tone: units of 100 ms)
    int start_ms_ago            # age of the first matched cycle's start, counted back from the end of the last buffer fed
    int heard                   # 1 between TONE_HEARD and TONE_STOPPED
    float level_dbm0            # level of the last burst
    # specification
    int nfreq
    int nphases
    int want_cycles
    int decimate                # 2 at 16 kHz
    int cadence_ms[8]
    int groups                  # sets of neighbouring frequencies; each must be present
    int dims                    # basis functions per parity
    int group_end[4]            # last basis function + 1 of each group
    float even[8][80]           # orthonormal basis of the accepted bands, even part about the window centre
    float odd[8][80]
    # signal state
    Decimator decim
    float window[160]
    int filled                  # samples of the current 10 ms frame
    double hp[2]                # high-pass memory
    # burst state
    long long frame             # 10 ms frames since init
    int state                   # 0 quiet, 1 burst, 2 something else
    int doubt                   # consecutive frames that are neither tone nor quiet
    int tone_frames
    int overlong                # this burst already outlasted its phase
    double before               # power of the frame before a burst is recognised
    double last_power
    double sum_power            # of all frames of the burst, edges included
    double sum_moment
    double steady_power         # of the inner frames only
    int steady_frames
    double reference_power      # steady power of the last burst
    # cadence state
    double last_end_ms          # end of the last burst; negative = none
    double pattern_start_ms
    int pos                     # phase expected next; odd: waiting for the next burst
    int closed                  # the off phase that ends a cycle is already counted
    double measured[8]          # durations of the first matched cycle, 0 = not yet known

cdef int tone_gen_init(ToneGen* gen, int nfreq, const double* freqs, double level_dbm0, int nphases, const int* cadence_ms,
                       int rate) noexcept nogil
cdef void tone_gen_fill(ToneGen* gen, short* out, int n) noexcept nogil
cdef int tone_det_init(ToneDet* det, int nfreq, const double* freqs, int nphases, const int* cadence_ms, int cycles,
                       int rate) noexcept nogil
cdef int tone_det_feed(ToneDet* det, const short* samples, int n) noexcept nogil
