from libc.stdint cimport int16_t, int64_t

from firmware.sim.chip_base cimport line_fact
from firmware.sim.hearing cimport Ear
from firmware.sim.signal cimport Mouth

cdef enum:
    BLOCK = 80
    TAPS = 64
    TRACE = 2048
    PROGRAM = 512
    CADENCE = 8
    EDGES = 64

# What is plugged into the near end of a wire does to it in this millisecond.
ctypedef struct wire_jack:
    int drive                       # FEED_* or LINE_* of world_segment.h
    double volts, ohms, amps        # FXS: open volts (signed), feed resistance, constant current. FXO off hook: volts without current, slope, limit
    double ring_volts, ring_hz      # FXS while ringing: instantaneous volts, frequency
    double ring_dc                  # FXS while ringing: volts of its DC part


cdef class Wire:
    cdef readonly Mouth mouth
    cdef readonly Ear ear
    cdef readonly int slot
    cdef public int flags
    cdef float taps[TAPS]
    cdef int tap_count, delay, trace_at, trace_quiet
    cdef float trace[TRACE]
    cdef public Mouth noise
    cdef public double hum_volts
    cdef int64_t now                # ms of the world within the block
    cdef int carry(self, const int16_t *said, int16_t *back, bint outward, bint inward, long long block) except -1


cdef class TrunkWire(Wire):
    cdef public double feed_volts, resistance, ring_volts, ring_hz, hum_angle
    cdef public bint reversed, opened, cut, stuck, parallel
    cdef readonly bint off_hook
    cdef readonly double milliamps, volts
    cdef readonly bint ringing, ring_burst
    cdef readonly int bursts
    cdef int cadence[CADENCE]
    cdef int cadence_size, cadence_at, cadence_left
    cdef double ring_angle, ac
    cdef public int stray_ms
    cdef int64_t edge_at[EDGES]
    cdef bint edge_off[EDGES]
    cdef int edges


cdef class PhoneWire(Wire):
    cdef public double resistance, ren, leak_ohms
    cdef public bint cut, stuck, shorted, earthed, reversed
    cdef readonly bint lifted
    cdef readonly int feed
    cdef readonly double milliamps, volts
    cdef public Ear caller_id_ear
    cdef int program_ms[PROGRAM]
    cdef bint program_lifted[PROGRAM]
    cdef int program_size, program_at, program_left
    cdef int hear(self, const int16_t *said, int16_t *back, long long block) except -1
    cdef int listen(self, const int16_t *said, bint talks, long long block) except -1
    cdef int show(self, const int16_t *said, long long block) except -1


cdef void trunk_advance(TrunkWire w) noexcept nogil
cdef void trunk_settle(TrunkWire w, const wire_jack *jack, line_fact *fact) noexcept nogil
cdef void phone_advance(PhoneWire w) noexcept nogil
cdef double phone_settle(PhoneWire w, const wire_jack *jack, line_fact *fact) noexcept nogil
cdef bint phone_closed(PhoneWire w) noexcept nogil
cdef void phone_joined(PhoneWire w, TrunkWire line) noexcept nogil
