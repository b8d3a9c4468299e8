# G.711 companding at C level: what the media tick and the RTP path call. Law numbers are the RTP payload types: 0 PCMU, 8 PCMA.
cdef enum:
    LAW_PCMU = 0
    LAW_PCMA = 8

cdef short alaw_decode(unsigned char code) noexcept nogil
cdef unsigned char alaw_encode(short sample) noexcept nogil
cdef short ulaw_decode(unsigned char code) noexcept nogil
cdef unsigned char ulaw_encode(short sample) noexcept nogil
cdef void g711_decode(int law, const unsigned char* data, short* out, int n) noexcept nogil
cdef void g711_encode(int law, const short* samples, unsigned char* out, int n) noexcept nogil
