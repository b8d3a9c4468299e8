# The mapped ring segment, for the engine.
from firmware.dsp.abi cimport ring_segment


cdef class RingSegment:
    cdef ring_segment* map
    cdef readonly int fd
    cdef ring_segment* _live(self) except NULL
    cdef _progress(self)
    cpdef close(self)
