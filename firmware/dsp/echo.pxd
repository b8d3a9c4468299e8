# Line echo canceller at C level. echo_new is the only allocation; echo_process and echo_reset never allocate.
cdef extern from "echo_core.h" nogil:
    ctypedef struct EchoState:
        pass
    ctypedef struct EchoStats:
        float erl_db            # echo return loss of the line: reference level minus echo level
        float erle_db           # how much of the echo the linear filter takes away
        float noise_dbm0        # background noise of the line
        int delay_ms            # where the strongest tap lies

cdef EchoState* echo_new(int rate, int tail_ms, int nlp) noexcept nogil     # NULL: rate not 8000 or 16000, tail not 8..256, or no memory
cdef void echo_free(EchoState* echo) noexcept nogil
cdef void echo_reset(EchoState* echo) noexcept nogil
cdef int echo_process(EchoState* echo, const short* reference, const short* captured, short* out,
                      int n) noexcept nogil                                 # 0; -1: n is not a multiple of 10 ms, out is then a copy of captured
cdef void echo_stats(const EchoState* echo, EchoStats* stats) noexcept nogil
