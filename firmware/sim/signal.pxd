cdef enum:
    BLOCK = 80
    MAX_FREQS = 4
    MAX_SOURCES = 8

cdef struct tone_phase:
    double step[MAX_FREQS]
    double peak[MAX_FREQS]
    int count
    long long samples


cdef class Source:
    cdef readonly bint done
    cdef int mix(self, float *out) except -1


cdef class ToneSource(Source):
    cdef tone_phase *phases
    cdef int phase_count, index
    cdef long long left, cycles
    cdef double angle[MAX_FREQS]


cdef class FskSource(Source):
    cdef bytes bits
    cdef double mark_step, space_step, angle, peak, bit_position, bit_step


cdef class ClipSource(Source):
    cdef bytes samples
    cdef Py_ssize_t position
    cdef float gain
    cdef bint loop


cdef class NoiseSource(Source):
    cdef unsigned int state
    cdef float scale


cdef class Mouth:
    cdef list sources
    cdef int count
    cdef int mix(self, float *out) except -1
