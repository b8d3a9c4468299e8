from libc.stdint cimport uint32_t, uint64_t

from firmware.dsp.scan_state cimport Scan
from firmware.dsp.state cimport EngineState


cdef void spi_bind(Scan* s, int chain, int fd, uint32_t speed_hz) noexcept nogil
cdef int spi_there(const Scan* s) noexcept nogil
cdef void spi_scan(EngineState* e, int missed) noexcept nogil
cdef void spi_run(EngineState* e) noexcept nogil
cdef int spi_lock(Scan* s, int chain, uint64_t wait_ns) noexcept nogil
cdef void spi_unlock(Scan* s, int chain) noexcept nogil
