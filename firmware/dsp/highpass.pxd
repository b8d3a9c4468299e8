# DC removal and 50/60 Hz high-pass at C level; nothing here allocates.
cdef struct HighPass:
    float pole                  # first order: zero at DC
    float first                 # its gain
    float b1                    # second order: zero between 50 and 60 Hz, on the unit circle
    float a1
    float a2
    float second
    float z0                    # states
    float z1
    float z2

cdef int highpass_init(HighPass* h, int rate) noexcept nogil            # 0; -1: rate is not 8000 or 16000
cdef void highpass_reset(HighPass* h) noexcept nogil                    # forget the past, keep the rate
cdef void highpass_run(HighPass* h, const short* samples, short* out, int n) noexcept nogil     # out may be samples
