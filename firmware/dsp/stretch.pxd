# Time scaling of 16-bit sound in place, at C level.
cdef struct StretchPlan:
    int rate                    # Hz: 8000 or 16000
    int least                   # samples to remove or insert, at least and at most
    int most
    float match                 # least normalised correlation of what is joined; -1 = wherever it fits best
    float quiet                 # mean power up to which any place will do and `wanted` samples go or come exactly
    int wanted

# x: n samples not played yet; `past` samples before x are played. Both return the samples removed or inserted, 0 = no good place here.
cdef int stretch_shorten(const StretchPlan* p, short* x, int n) noexcept nogil
cdef int stretch_lengthen(const StretchPlan* p, short* x, int n, int past) noexcept nogil    # x must have room for n + most samples
cdef int stretch_least(int rate, int wanted) noexcept nogil                  # a fit `least` for `wanted`
