from libc.stdint cimport int64_t, uint8_t

from firmware.dsp.abi cimport body_pulse
from firmware.dsp.scan_state cimport ScanBatch, ScanChip
from firmware.dsp.state cimport EngineState


cdef int scan_ask_drive(EngineState* e, int slot, int code, int hold_ms, int then) noexcept nogil
cdef int scan_ask_pulse(EngineState* e, int slot, const body_pulse* b) noexcept nogil
cdef void scan_take(EngineState* e, ScanBatch* b) noexcept nogil
cdef void scan_build(EngineState* e, ScanBatch* b, int ms) noexcept nogil
cdef int scan_wanted(const ScanChip* c, int reg) noexcept nogil
cdef int scan_frames(int framing, int position, int reading, int reg, int value, uint8_t* out) noexcept nogil
