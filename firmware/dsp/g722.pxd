# ITU-T G.722 at 64 kbit/s: 16 kHz linear samples to bytes and back, two samples a byte. See g722.pyx.
from libc.stdint cimport uint8_t


cdef struct G722Band:           # the ADPCM predictor of one sub-band (clause 3.6)
    int s                       # predicted sample
    int sz                      # its part from the zeros
    int det                     # step size
    int nb                      # its logarithm
    int a1
    int a2
    int p1
    int p2
    int r1
    int r2
    int b[8]                    # six zeros; the last two stay 0
    int d[8]                    # twice the last quantised differences, saturated

cdef struct G722Enc:
    G722Band low
    G722Band high
    short first[11]             # QMF history: samples of even and odd index
    short second[11]

cdef struct G722Dec:
    G722Band low
    G722Band high
    int sum[11]                 # QMF history: low + high, low - high
    int difference[11]

cdef void g722_enc_init(G722Enc* g) noexcept nogil
cdef void g722_dec_init(G722Dec* g) noexcept nogil
cdef void g722_encode(G722Enc* g, const short* samples, int n, uint8_t* out) noexcept nogil       # n samples, even; n/2 bytes
cdef void g722_decode(G722Dec* g, const uint8_t* data, int n, short* out) noexcept nogil          # n bytes; 2n samples
