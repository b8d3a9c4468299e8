# Audio codecs at C level: one state per RTP port. Nothing allocates after codec_init's memory was given.
from libc.stdint cimport int32_t, uint8_t

cdef enum:
    CODEC_PCMU = 0
    CODEC_PCMA = 1
    CODEC_G722 = 2
    CODEC_OPUS = 3
    CODEC_KINDS = 4
    CODEC_MOST_BYTES = 480      # of a packet's payload
    CODEC_MOST_SAMPLES = 1920   # of a packet, 120 ms at 16 kHz

cdef struct Codec:
    int kind
    int rate                    # of the samples on our side, Hz: 8000 or 16000
    int clock                   # of the RTP timestamps, Hz: 8000, Opus 48000 (RFC 7587), G.722 8000 (RFC 3551)
    void* encoder               # state of kinds that have one, inside memory given to codec_init
    void* decoder

cdef int codec_clock(int kind) noexcept nogil                                    # of the RTP timestamps, Hz; 0: unknown kind
cdef size_t codec_size() noexcept nogil                                          # bytes of memory codec_init wants, for any kind
cdef int codec_init(Codec* c, int kind, int rate, void* memory) noexcept nogil   # 0; -1: unknown kind or rate. Memory aligned to 16
cdef void codec_restart(Codec* c) noexcept nogil                                 # the decoder as new: another stream begins
cdef int codec_decode(Codec* c, const uint8_t* data, int n, short* out, int most) noexcept nogil   # samples at c.rate; -1: malformed
cdef int codec_conceal(Codec* c, short* out, int n) noexcept nogil               # n samples by the codec's own concealment; 0: it has none
cdef int codec_recover(Codec* c, const uint8_t* next, int bytes, short* out, int n) noexcept nogil  # the packet lost before `next`, from `next`; 0: cannot
cdef int codec_encode(Codec* c, const short* samples, int n, uint8_t* out, int most) noexcept nogil  # bytes; -1: n does not fit the codec
cdef int32_t codec_span(int kind, const uint8_t* data, int n) noexcept nogil     # length of a packet in units of the RTP clock; -1: malformed
cdef int codec_ptime(int kind, int wanted_ms) noexcept nogil                     # the packet time nearest to (not above) what is wanted that the codec knows
