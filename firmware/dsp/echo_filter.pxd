# Adaptive part of the line echo canceller.
from firmware.dsp.echo_state cimport EchoState

cdef void filter_reset(EchoState* s) noexcept nogil
cdef void filter_predict(EchoState* s, bint both) noexcept nogil    # echo_front; both: also echo_back and `known`
cdef void filter_error(EchoState* s, const float* echo) noexcept nogil      # er, ei of what was captured less `echo`
cdef void filter_learn(EchoState* s) noexcept nogil                 # after filter_error
cdef void filter_peak(EchoState* s) noexcept nogil                  # every hop, after the reference's spectrum
cdef bint filter_on_trial(const EchoState* s) noexcept nogil
cdef bint filter_poor(EchoState* s) noexcept nogil                  # there is much to learn
cdef bint filter_judge(EchoState* s, bint active) noexcept nogil    # True: the background's result is heard from now on
cdef void filter_watch(EchoState* s, bint active) noexcept nogil    # every hop, before filter_judge
cdef void filter_restart(EchoState* s) noexcept nogil               # the background begins again from what is heard
cdef void filter_take(EchoState* s, const float* taps) noexcept nogil
cdef void filter_give(EchoState* s, float* taps) noexcept nogil
