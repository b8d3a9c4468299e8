from firmware.dsp.state cimport EngineState


cdef void seam_world(EngineState* e) noexcept nogil
cdef void seam_none(EngineState* e) noexcept nogil
cdef int seam_virtual(EngineState* e) noexcept nogil
