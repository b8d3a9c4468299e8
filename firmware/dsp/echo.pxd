# Line echo canceller at C level. echo_new is the only allocation; nothing else allocates.
from firmware.dsp.echo_state cimport EchoState

cdef enum:
    ECHO_NORMAL = 0             # modes of echo_set_mode
    ECHO_LINEAR = 1             # the filter runs, the residual control does not (data calls, fax CED)
    ECHO_BYPASS = 2             # captured samples pass untouched, nothing is learned (fax, modems with a canceller of their own)

cdef struct EchoStats:
    float erl_db                # echo return loss of the line: reference level minus echo level; 0 until proven
    float erle_db               # how much of the echo the linear filter takes away; 0 until proven
    float noise_dbm0            # background noise of the line
    int delay_ms                # where the strongest tap lies
    int converged               # 0: nothing learned, 1: learned in double talk, 2: proven
    int disabled                # 1: 2100 Hz with phase reversals was heard and is not over
    int mode                    # ECHO_NORMAL, ECHO_LINEAR, ECHO_BYPASS

cdef EchoState* echo_new(int rate, int tail_ms, int nlp) noexcept nogil     # NULL: rate not 8000 or 16000, tail not 8..256, or no memory
cdef void echo_free(EchoState* echo) noexcept nogil
cdef void echo_reset(EchoState* echo) noexcept nogil
cdef int echo_process(EchoState* echo, const short* reference, const short* captured, short* out,
                      int n) noexcept nogil                                 # 0; -1: n is not a multiple of 10 ms, out is then a copy of captured
cdef void echo_stats(const EchoState* echo, EchoStats* stats) noexcept nogil
cdef void echo_set_mode(EchoState* echo, int mode) noexcept nogil           # one of ECHO_...; stays until changed or reset
cdef int echo_taps(const EchoState* echo) noexcept nogil                    # length of the impulse response in samples
cdef int echo_export(EchoState* echo, float* taps, int most) noexcept nogil
# writes the heard impulse response and returns its length; 0: not proven yet, or `most` is too small; its quality is EchoStats.erle_db
cdef int echo_import(EchoState* echo, const float* taps, int n) noexcept nogil
# a response exported earlier, to be heard once it has been seen to remove echo; 0, or -1: wrong length or not finite
