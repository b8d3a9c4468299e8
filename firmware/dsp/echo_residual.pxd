# Residual control of the line echo canceller: noise, comfort noise, suppression.
from firmware.dsp.echo_state cimport EchoState

cdef void residual_init(EchoState* s) noexcept nogil
cdef void residual_reset(EchoState* s) noexcept nogil
cdef void residual_noise(EchoState* s, float power) noexcept nogil          # every hop: power after the linear filter
cdef bint residual_wants_error(EchoState* s) noexcept nogil                 # the noise's spectrum should be looked at
cdef void residual_look(EchoState* s) noexcept nogil                        # er, ei hold the error's spectrum
cdef void residual_control(EchoState* s, float* heard, float left, float echo, bint active, bint on) noexcept nogil
