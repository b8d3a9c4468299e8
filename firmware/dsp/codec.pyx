# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The four audio codecs behind one set of functions (L2).

Theory of operation. A `Codec` is the state of one RTP port: a kind, the rate of the samples on our side, and memory that the
caller gave once. PCMU and PCMA (ITU-T G.711) have no state. G.722 works at 16 kHz; on an 8 kHz port its sound passes the
half-band filter of resample.pyx, 1.7 ms each way. Opus (RFC 6716) is libopus, which runs at either rate by itself.
Opus is set up for speech over bad networks on a small processor: VOIP application, variable bit rate around 24 kbit/s at 8 kHz
and 28 kbit/s at 16 kHz, in-band forward error correction, no discontinuous transmission (the far side and our own recorder
expect packets all the time), complexity 1. libopus sends redundancy only where bit rate, complexity and expected loss together
allow it: measured on speech at 8 kHz, none below 20 kbit/s at any complexity, none at 20 kbit/s below complexity 2, always at 24
kbit/s with 15 % expected.
Concealment: Opus continues by itself (`codec_conceal`) or takes the lost packet from the redundancy in the next one
(`codec_recover`); for the other kinds the jitter buffer conceals on the samples.
Invariants: nothing allocates, blocks or reads beyond `n` bytes; hostile packets end in -1 at worst and leave a usable state;
`most` is never exceeded.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport calloc, free

from firmware.dsp.g711 cimport LAW_PCMA, LAW_PCMU, g711_decode, g711_encode
from firmware.dsp.g722 cimport G722Dec, G722Enc, g722_dec_init, g722_decode, g722_enc_init, g722_encode
from firmware.dsp.opus cimport *
from firmware.dsp.resample cimport Down2, Up2, down2, down2_init, up2, up2_init

cdef enum:
    OPUS_CLOCK = 48000
    OPUS_COMPLEXITY = 1
    OPUS_LOSS = 15              # per cent that the redundancy is made for
    CHUNK = 80                  # bytes of G.722 handled at once

cdef struct WideEncoder:        # G.722 with what an 8 kHz port needs
    G722Enc codec
    Up2 up

cdef struct WideDecoder:
    G722Dec codec
    Down2 down

NAMES = ("pcmu", "pcma", "g722", "opus")


cdef inline size_t _aligned(size_t n) noexcept nogil:
    return (n + 15) & ~<size_t>15


cdef int codec_clock(int kind) noexcept nogil:
    if kind == CODEC_OPUS:
        return OPUS_CLOCK
    return 8000 if 0 <= kind < CODEC_KINDS else 0


cdef size_t codec_size() noexcept nogil:
    cdef size_t wide = _aligned(sizeof(WideEncoder)) + _aligned(sizeof(WideDecoder))
    cdef size_t opus = _aligned(opus_encoder_get_size(1)) + _aligned(opus_decoder_get_size(1))
    return opus if opus > wide else wide


cdef int _opus_init(Codec* c) noexcept nogil:
    cdef OpusEncoder* e = <OpusEncoder*>c.encoder
    if opus_encoder_init(e, c.rate, 1, OPUS_APPLICATION_VOIP) != OPUS_OK or opus_decoder_init(<OpusDecoder*>c.decoder, c.rate, 1) != OPUS_OK:
        return -1
    opus_encoder_ctl(e, OPUS_SET_BITRATE_REQUEST, <int32_t>(28000 if c.rate == 16000 else 24000))
    opus_encoder_ctl(e, OPUS_SET_COMPLEXITY_REQUEST, <int32_t>OPUS_COMPLEXITY)
    opus_encoder_ctl(e, OPUS_SET_INBAND_FEC_REQUEST, <int32_t>1)
    opus_encoder_ctl(e, OPUS_SET_PACKET_LOSS_PERC_REQUEST, <int32_t>OPUS_LOSS)
    opus_encoder_ctl(e, OPUS_SET_DTX_REQUEST, <int32_t>0)
    opus_encoder_ctl(e, OPUS_SET_SIGNAL_REQUEST, <int32_t>OPUS_SIGNAL_VOICE)
    return 0


cdef int codec_init(Codec* c, int kind, int rate, void* memory) noexcept nogil:
    """A new codec; `memory` (codec_size() bytes, aligned to 16) may be NULL for G.711."""
    if kind < 0 or kind >= CODEC_KINDS or (rate != 8000 and rate != 16000) or (kind <= CODEC_PCMA and rate != 8000):
        return -1
    c.kind = kind
    c.rate = rate
    c.clock = codec_clock(kind)
    c.encoder = c.decoder = NULL
    if kind <= CODEC_PCMA:
        return 0
    if memory == NULL:
        return -1
    c.encoder = memory
    if kind == CODEC_OPUS:
        c.decoder = <char*>memory + _aligned(opus_encoder_get_size(1))
        return _opus_init(c)
    c.decoder = <char*>memory + _aligned(sizeof(WideEncoder))
    g722_enc_init(&(<WideEncoder*>c.encoder).codec)
    up2_init(&(<WideEncoder*>c.encoder).up)
    codec_restart(c)
    return 0


cdef void codec_restart(Codec* c) noexcept nogil:
    if c.kind == CODEC_OPUS:
        opus_decoder_ctl(<OpusDecoder*>c.decoder, OPUS_RESET_STATE)
    elif c.kind == CODEC_G722:
        g722_dec_init(&(<WideDecoder*>c.decoder).codec)
        down2_init(&(<WideDecoder*>c.decoder).down)


cdef int codec_decode(Codec* c, const uint8_t* data, int n, short* out, int most) noexcept nogil:
    cdef short wide[2 * CHUNK]
    cdef WideDecoder* w = <WideDecoder*>c.decoder
    cdef int count, done = 0
    if n <= 0:
        return -1
    if c.kind == CODEC_OPUS:
        n = opus_decode(<OpusDecoder*>c.decoder, data, n, out, most, 0)
        return n if n > 0 else -1
    if c.kind == CODEC_G722 and c.rate == 16000:
        if 2 * n > most:
            return -1
        g722_decode(&w.codec, data, n, out)
        return 2 * n
    if n > most:
        return -1
    if c.kind == CODEC_G722:
        while done < n:
            count = n - done if n - done < CHUNK else CHUNK
            g722_decode(&w.codec, data + done, count, wide)
            down2(&w.down, wide, 2 * count, out + done)
            done += count
        return n
    g711_decode(LAW_PCMA if c.kind == CODEC_PCMA else LAW_PCMU, data, out, n)
    return n


cdef int codec_conceal(Codec* c, short* out, int n) noexcept nogil:
    if c.kind != CODEC_OPUS or n <= 0:
        return 0
    n = opus_decode(<OpusDecoder*>c.decoder, NULL, 0, out, n, 0)
    return n if n > 0 else 0


cdef int codec_recover(Codec* c, const uint8_t* next, int bytes, short* out, int n) noexcept nogil:
    if c.kind != CODEC_OPUS or n <= 0 or bytes <= 0:
        return 0
    n = opus_decode(<OpusDecoder*>c.decoder, next, bytes, out, n, 1)
    return n if n > 0 else 0


cdef int codec_encode(Codec* c, const short* samples, int n, uint8_t* out, int most) noexcept nogil:
    cdef short wide[2 * CHUNK]
    cdef WideEncoder* w = <WideEncoder*>c.encoder
    cdef int count, done = 0
    if n <= 0:
        return -1
    if c.kind == CODEC_OPUS:
        n = opus_encode(<OpusEncoder*>c.encoder, samples, n, out, most)
        return n if n > 0 else -1
    if c.kind == CODEC_G722 and c.rate == 16000:
        if n & 1 or n // 2 > most:
            return -1
        g722_encode(&w.codec, samples, n, out)
        return n // 2
    if n > most:
        return -1
    if c.kind == CODEC_G722:
        while done < n:
            count = n - done if n - done < CHUNK else CHUNK
            up2(&w.up, samples + done, count, wide)
            g722_encode(&w.codec, wide, 2 * count, out + done)
            done += count
        return n
    g711_encode(LAW_PCMA if c.kind == CODEC_PCMA else LAW_PCMU, samples, out, n)
    return n


cdef int32_t codec_span(int kind, const uint8_t* data, int n) noexcept nogil:
    if n <= 0:
        return -1
    if kind == CODEC_OPUS:
        n = opus_packet_get_nb_samples(data, n, OPUS_CLOCK)
        return n if n > 0 else -1
    return n                    # one byte is one tick of the 8 kHz clock, in G.722 too


cdef int codec_ptime(int kind, int wanted_ms) noexcept nogil:
    """10 to 60 ms in steps of 10; Opus has frames of 10, 20, 40 and 60 ms only."""
    wanted_ms = 10 if wanted_ms < 10 else (60 if wanted_ms > 60 else wanted_ms // 10 * 10)
    if kind == CODEC_OPUS and (wanted_ms == 30 or wanted_ms == 50):
        wanted_ms -= 10
    return wanted_ms


cdef class VoiceCodec:
    """One codec of each direction. `kind` is "pcmu", "pcma", "g722" or "opus"; `rate` that of the 16-bit little-endian samples, Hz."""
    cdef Codec _c
    cdef void* _memory
    cdef readonly str kind
    cdef readonly int rate
    cdef readonly int clock

    def __cinit__(self, str kind, int rate=8000):
        if kind not in NAMES:
            raise ValueError(f"unknown codec {kind!r}: use one of {', '.join(NAMES)}")
        self._memory = calloc(1, codec_size())
        if self._memory == NULL:
            raise MemoryError
        if codec_init(&self._c, NAMES.index(kind), rate, self._memory):
            raise ValueError(f"{kind} does not run at {rate} Hz: use 8000, or 16000 with g722 and opus")
        self.kind = kind
        self.rate = rate
        self.clock = self._c.clock

    def __dealloc__(self):
        free(self._memory)

    def encode(self, samples) -> bytes:
        """One packet. Raises ValueError when the codec has no packet of that length."""
        cdef bytes data = bytes(samples)
        cdef uint8_t[CODEC_MOST_BYTES] out
        cdef const short* source = <const short*>PyBytes_AS_STRING(data)
        cdef int n = <int>(len(data) // 2)
        with nogil:
            n = codec_encode(&self._c, source, n, out, CODEC_MOST_BYTES)
        if n < 0 or len(data) % 2:
            raise ValueError(f"{self.kind} has no packet of {len(data)} bytes of samples at {self.rate} Hz")
        return (<char*>out)[:n]

    def decode(self, packet) -> bytes:
        """Samples of a packet. Raises ValueError when it is malformed or longer than 120 ms."""
        cdef bytes data = bytes(packet)
        cdef short[CODEC_MOST_SAMPLES] out
        cdef const uint8_t* source = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef int n = <int>len(data)
        with nogil:
            n = codec_decode(&self._c, source, n, out, CODEC_MOST_SAMPLES)
        if n < 0:
            raise ValueError(f"malformed {self.kind} packet of {len(data)} bytes")
        return (<char*>out)[: 2 * n]

    def conceal(self, int n) -> bytes:
        """n samples in place of a lost packet, b"" when the codec has no concealment of its own."""
        cdef short[CODEC_MOST_SAMPLES] out
        n = min(n, CODEC_MOST_SAMPLES)
        with nogil:
            n = codec_conceal(&self._c, out, n)
        return (<char*>out)[: 2 * n]

    def recover(self, packet, int n) -> bytes:
        """The n samples before `packet` from its redundancy (Opus); `packet` itself is decoded afterwards."""
        cdef bytes data = bytes(packet)
        cdef short[CODEC_MOST_SAMPLES] out
        cdef const uint8_t* source = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef int bytes_ = <int>len(data)
        n = min(n, CODEC_MOST_SAMPLES)
        with nogil:
            n = codec_recover(&self._c, source, bytes_, out, n)
        return (<char*>out)[: 2 * n]

    def restart(self) -> None:
        """Another stream begins: the decoder as new."""
        codec_restart(&self._c)

    def span(self, packet) -> int:
        """Length of a packet in units of the RTP clock, -1 when it is malformed."""
        cdef bytes data = bytes(packet)
        return codec_span(self._c.kind, <const uint8_t*>PyBytes_AS_STRING(data), <int>len(data))


def nearest_ptime(str kind, int wanted_ms) -> int:
    """The packet time in ms that the codec uses where `wanted_ms` is asked for."""
    return codec_ptime(NAMES.index(kind), wanted_ms)


def memory_size() -> int:
    """Bytes of state one port of any kind needs."""
    return codec_size()
