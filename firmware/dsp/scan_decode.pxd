from libc.stdint cimport int64_t

from firmware.dsp.scan_state cimport ScanBatch
from firmware.dsp.state cimport EngineState


cdef void scan_decode(EngineState* e, ScanBatch* b, int64_t at) noexcept nogil
