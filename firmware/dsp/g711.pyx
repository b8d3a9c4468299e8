"""G.711 A-law and mu-law companding, bit exact.

Theory of operation. ITU-T G.711 (1988) tables 1a/1b and 2a/2b on 16-bit linear samples: A-law codes the upper 13 bits,
mu-law the upper 14. Negative input is coded from its ones' complement, so that coding is symmetric about -1/2 and every
code decodes and codes back to itself, except mu-law 0x7F: both of its zeros decode to 0, which codes to 0xFF.
The even bits of A-law (0x55) and all bits of mu-law are inverted on the wire.

Decoding reads a table filled from the formula at import; coding finds the segment from the highest set bit.
Invariant: no allocation and no Python object in any function of the C interface.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_AS_STRING

cdef extern from "kernels.h" nogil:
    int kernel_log2(unsigned int x)

cdef short _alaw[256]
cdef short _ulaw[256]


cdef short alaw_expand(int code) noexcept nogil:
    cdef int bits = (code ^ 0x55) & 0x7F
    cdef int segment = bits >> 4
    cdef int value = ((bits & 0x0F) << 4) + 8
    if segment > 0:
        value = (value + 256) << (segment - 1)
    return <short>value if code & 0x80 else <short>-value


cdef short ulaw_expand(int code) noexcept nogil:
    cdef int bits = ~code & 0x7F
    cdef int value = ((((bits & 0x0F) << 3) + 132) << (bits >> 4)) - 132
    return <short>value if code & 0x80 else <short>-value


cdef void _fill_tables() noexcept nogil:
    cdef int code
    for code in range(256):
        _alaw[code] = alaw_expand(code)
        _ulaw[code] = ulaw_expand(code)


_fill_tables()


cdef short alaw_decode(unsigned char code) noexcept nogil:
    return _alaw[code]


cdef short ulaw_decode(unsigned char code) noexcept nogil:
    return _ulaw[code]


cdef inline unsigned char alaw_code(int sample) noexcept nogil:
    cdef int sign = 0x80
    cdef int segment
    if sample < 0:
        sign = 0
        sample = ~sample
    sample >>= 4
    if sample < 32:                     # segments 0 and 1 share a step
        return <unsigned char>((sample | sign) ^ 0x55)
    segment = kernel_log2(<unsigned int>sample) - 4
    return <unsigned char>(((((segment + 1) << 4) | ((sample >> segment) & 0x0F)) | sign) ^ 0x55)


cdef inline unsigned char ulaw_code(int sample) noexcept nogil:
    cdef int sign = 0x80
    cdef int segment
    if sample < 0:
        sign = 0
        sample = ~sample
    sample = (sample >> 2) + 33         # the bias makes every segment start at a power of two
    if sample > 0x1FFF:
        sample = 0x1FFF
    segment = kernel_log2(<unsigned int>sample) - 5
    return <unsigned char>(~((segment << 4) | ((sample >> (segment + 1)) & 0x0F)) & 0x7F | sign)


cdef unsigned char alaw_encode(short sample) noexcept nogil:
    return alaw_code(sample)


cdef unsigned char ulaw_encode(short sample) noexcept nogil:
    return ulaw_code(sample)


cdef void g711_decode(int law, const unsigned char* data, short* out, int n) noexcept nogil:
    cdef const short* table = _ulaw
    cdef int i
    if law == LAW_PCMA:
        table = _alaw
    for i in range(n):
        out[i] = table[data[i]]


cdef void g711_encode(int law, const short* samples, unsigned char* out, int n) noexcept nogil:
    cdef int i
    if law == LAW_PCMA:
        for i in range(n):
            out[i] = alaw_code(samples[i])
    else:
        for i in range(n):
            out[i] = ulaw_code(samples[i])


def _law(law):
    if law == 0 or law == "ulaw":
        return LAW_PCMU
    if law == 8 or law == "alaw":
        return LAW_PCMA
    raise ValueError(f"unknown companding law {law!r}: use 'ulaw' (payload type 0) or 'alaw' (payload type 8)")


def encode(law, samples) -> bytes:
    """Code 16-bit little-endian samples, one byte out for each.

    `law` is "ulaw" or 0, "alaw" or 8 (ITU-T G.711). Raises ValueError for another law or an odd number of bytes.
    """
    cdef int number = _law(law)
    cdef const unsigned char[::1] view = memoryview(samples).cast("B")
    cdef Py_ssize_t n = view.shape[0]
    if n & 1:
        raise ValueError(f"samples are 16-bit, but {n} bytes were given: pass an even number of bytes")
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n // 2)
    cdef bytes aligned = bytes(view)            # a view into a packet may start at an odd address
    cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(out)
    cdef const short* source = <const short*>PyBytes_AS_STRING(aligned)
    with nogil:
        g711_encode(number, source, to, <int>(n // 2))
    return out


def decode(law, data) -> bytes:
    """Decode G.711 bytes to 16-bit little-endian samples.

    `law` is "ulaw" or 0, "alaw" or 8. Raises ValueError for another law.
    """
    cdef int number = _law(law)
    cdef const unsigned char[::1] view = memoryview(data).cast("B")
    cdef int n = <int>view.shape[0]
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 2 * n)
    cdef short* to = <short*>PyBytes_AS_STRING(out)
    if n:
        with nogil:
            g711_decode(number, &view[0], to, n)
    return out
