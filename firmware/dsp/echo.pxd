# Line echo canceller at C level. echo_new is the only allocation; echo_process and echo_reset never allocate.
cdef extern from "spectrum.h" nogil:
    ctypedef struct Fft:
        int n

cdef enum:
    ECHO_NORMAL = 0             # modes of echo_set_mode
    ECHO_LINEAR = 1             # the filter runs, the residual control does not (data calls, fax CED)
    ECHO_BYPASS = 2             # captured samples pass untouched, nothing is learned (fax, modems with a canceller of their own)

cdef struct EchoStats:
    float erl_db                # echo return loss of the line: reference level minus echo level
    float erle_db               # how much of the echo the linear filter takes away
    float noise_dbm0            # background noise of the line
    int delay_ms                # where the strongest tap lies
    int converged               # 0: nothing learned, 1: learned in double talk, 2: proven
    int disabled                # 1: 2100 Hz with phase reversals was heard and is not over
    int mode                    # ECHO_NORMAL, ECHO_LINEAR, ECHO_BYPASS

cdef struct EchoFilter:
    float* re                   # [parts][bins]
    float* im

cdef struct EchoState:
    int rate
    int hop                     # samples in 10 ms
    int n                       # FFT points
    int bins                    # padded
    int parts                   # partitions of one hop
    int slots                   # spectra of the reference kept
    int nlp
    Fft fft
    # reference
    float* frame                # [n] latest reference samples
    float* xr                   # [slots][bins]
    float* xi
    float* xp                   # [slots][bins] powers
    int slot                    # of the newest spectrum
    float* loud                 # [slots] mean reference power of each hop
    # filters
    EchoFilter back             # adapts
    EchoFilter front            # is heard
    float* var                  # [parts][bins] variance of the background's error
    float* noise                # [bins] power of what is not echo in the background's error
    # scratch
    float* yr
    float* yi
    float* er
    float* ei
    float* sr
    float* si
    float* sum
    float* inverse              # [bins] 1 / (explained + unexplained power)
    float* wave                 # [n]
    float* near                 # [hop] captured
    float* past                 # [2 * hop] the last two hops captured
    float* echo_front           # [2 * hop]
    float* echo_back            # [2 * hop]
    # judging
    float error_front           # smoothed powers
    float error_back
    float level_near
    float level_echo
    float level_far
    int better                  # hops in a row the background won
    int worse                   # hops in a row it lost
    int stuck                   # hops the heard filter has been poor although the far end talks
    int since_copy
    float gained, moved
    int converged
    # background noise and residual control
    float noise_power
    float noise_track           # smoothed power
    float noise_low             # its minimum in the current window
    int noise_age
    float gain
    int hang
    float* comfort_psd          # [bins] noise spectrum for comfort noise
    float* comfort_wave         # [2 * hop] overlap of the last comfort noise frame
    unsigned int seed
    float leak                  # residual echo power over echo estimate power
    float expected              # decaying peak of the echo estimate's power
    float sum_far               # long-term powers for the statistics
    float sum_echo
    float sum_before
    float sum_left
    long long hops
    int mode
    int trial                   # hops an imported filter has left to prove itself

cdef EchoState* echo_new(int rate, int tail_ms, int nlp) noexcept nogil     # NULL: rate not 8000 or 16000, tail not 8..256, or no memory
cdef void echo_free(EchoState* echo) noexcept nogil
cdef void echo_reset(EchoState* echo) noexcept nogil
cdef int echo_process(EchoState* echo, const short* reference, const short* captured, short* out,
                      int n) noexcept nogil                                 # 0; -1: n is not a multiple of 10 ms, out is then a copy of captured
cdef void echo_stats(const EchoState* echo, EchoStats* stats) noexcept nogil
cdef void echo_set_mode(EchoState* echo, int mode) noexcept nogil           # one of ECHO_...; stays until changed or reset
cdef int echo_taps(const EchoState* echo) noexcept nogil                    # length of the impulse response in samples
cdef int echo_export(const EchoState* echo, float* taps, int most) noexcept nogil
# writes the heard filter's impulse response and returns its length; 0: not proven yet, or `most` is too small. Its quality is EchoStats.erle_db.
cdef int echo_import(EchoState* echo, const float* taps, int n) noexcept nogil
# a response exported earlier, to be heard once it has been seen to remove echo; 0, or -1: wrong length or not finite
