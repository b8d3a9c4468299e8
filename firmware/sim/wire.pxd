from libc.stdint cimport int16_t, uint32_t, uint64_t

from firmware.sim.hearing cimport Ear
from firmware.sim.signal cimport Mouth

cdef extern from "../dsp/world_segment.h":
    ctypedef struct line_fact:
        int16_t dc_dv
        int16_t current
        int16_t ac_dv
        int16_t ring_dc

cdef enum:
    BLOCK = 80
    TAPS = 64
    TRACE = 2048
    PROGRAM = 128
    CADENCE = 8


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
    cdef int carry(self, const int16_t *playback, int16_t *capture, bint outward, bint inward, long long block) except -1
    cdef int step(self, uint32_t drive, const int16_t *playback, int16_t *capture, line_fact *facts, long long block) except -1


cdef class TrunkWire(Wire):
    cdef public double feed_volts, resistance, ring_volts, ring_hz, hum_angle, daa_volts, daa_ohms
    cdef public bint reversed, opened, cut, stuck, parallel
    cdef readonly bint off_hook
    cdef readonly double milliamps, volts
    cdef readonly bint ringing, ring_burst
    cdef readonly int bursts
    cdef int cadence[CADENCE]
    cdef int cadence_size, cadence_at, cadence_left
    cdef double ring_angle
    cdef public int stray_ms


cdef class PhoneWire(Wire):
    cdef public double resistance, feed_volts, feed_limit
    cdef readonly bint lifted
    cdef readonly int feed
    cdef readonly double milliamps, volts
    cdef public Ear caller_id_ear
    cdef int program_ms[PROGRAM]
    cdef bint program_lifted[PROGRAM]
    cdef int program_size, program_at, program_left
    cdef public bint cut, stuck
