# DTMF generator at C level. The struct is fixed-size and holds no pointers.
cdef enum:
    DTMF_MAX_DIGITS = 64

cdef struct DtmfGen:
    int n
    int index
    int on
    int off
    int at                          # sample inside the current digit's on + off
    int ramp
    char digits[64]
    float amplitude[2]              # of the low and the high group
    double cos_w[8]
    double sin_w[8]
    double re[2]
    double im[2]

# Both tones at one level; or each group at its own, as countries ask.
cdef int dtmf_gen_init(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double level_dbm0,
                       int rate) noexcept nogil
cdef int dtmf_gen_init_levels(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double low_dbm0,
                              double high_dbm0, int rate) noexcept nogil
cdef int dtmf_gen_fill(DtmfGen* gen, short* out, int n) noexcept nogil
