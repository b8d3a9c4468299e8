from libc.stdint cimport uint32_t, uint64_t

from firmware.dsp.state cimport Jitter


cdef void jitter_init(Jitter* j, int least_ms, int most_ms) noexcept nogil
cdef void jitter_restart(Jitter* j) noexcept nogil
cdef void jitter_put(Jitter* j, uint64_t tick, uint32_t ssrc, uint32_t ts, const short* samples, int n) noexcept nogil
cdef int jitter_get(Jitter* j, uint64_t tick, short* out) noexcept nogil
