# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The jitter buffer for Python: tests and measurements feed it with virtual packets; the tick uses the same functions (L2)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from firmware.dsp.codec cimport CODEC_G722, CODEC_OPUS, CODEC_PCMA, CODEC_PCMU, Codec, codec_init, codec_size
from firmware.dsp.jitter cimport (JITTER_NOISE, JITTER_PCM, JITTER_SLOTS, Jitter, JitterFigures, jitter_codec, jitter_figures, jitter_get,
                                  jitter_init, jitter_put, jitter_restart)

KINDS = {"pcmu": CODEC_PCMU, "pcma": CODEC_PCMA, "g722": CODEC_G722, "opus": CODEC_OPUS, "noise": JITTER_NOISE}


cdef class JitterBuffer:
    """The jitter buffer of one RTP stream: packets in, 80 samples at 8 kHz for every tick of 10 ms out.

    `codec` ("pcmu", "pcma", "g722" or "opus") is what packets without a kind hold; both G.711 laws are always understood.
    """

    cdef Jitter state
    cdef Codec codec
    cdef void* memory
    cdef int kind

    def __cinit__(self, least_ms=20, most_ms=200, codec="pcma"):
        if codec not in KINDS or codec == "noise":
            raise ValueError(f"unknown codec {codec!r}: use pcmu, pcma, g722 or opus")
        jitter_init(&self.state, least_ms, most_ms)
        self.kind = KINDS[codec]
        self.memory = calloc(1, codec_size())
        if self.memory == NULL:
            raise MemoryError("no memory for a codec")
        if codec_init(&self.codec, self.kind, 8000, self.memory) < 0:
            raise ValueError(f"the codec {codec!r} does not work at 8000 Hz")
        jitter_codec(&self.state, &self.codec)

    def __dealloc__(self):
        free(self.memory)

    def put(self, tick, seq, timestamp, payload, kind=None, marker=False, ssrc=1) -> None:
        """A packet arrived before this tick's `get`. `kind` may be another codec or "noise" (RFC 3389); malformed packets are counted."""
        cdef bytes data = bytes(payload)
        cdef const char* x = data
        cdef uint64_t at = tick
        cdef uint32_t ts = timestamp & 0xFFFFFFFF, source = ssrc & 0xFFFFFFFF
        cdef uint16_t number = seq & 0xFFFF
        cdef int what = self.kind if kind is None else KINDS[kind], n = <int>len(data), first = 1 if marker else 0
        with nogil:
            jitter_put(&self.state, at, source, number, ts, first, what, <const uint8_t*>x, n)

    def get(self, tick) -> tuple:
        """(1 received, 2 concealed or 0 background or nothing; 80 samples as 16-bit little-endian bytes)."""
        cdef short out[80]
        cdef uint64_t at = tick
        cdef int kind
        with nogil:
            kind = jitter_get(&self.state, at, out)
        return kind, (<char*>out)[:160]

    def restart(self) -> None:
        """Forget the stream; counters stay."""
        jitter_restart(&self.state)

    def figures(self) -> dict:
        """Counters since construction; delays and jitter in ms, `concealed`, `pause`, `removed`, `added` and `longest` in samples."""
        cdef JitterFigures f
        jitter_figures(&self.state, &f)
        figures = dict(f)
        figures["jitter_ms"] = figures.pop("jitter") / 8.0
        figures["delay_ms"] = figures.pop("delay") / 8.0
        figures["target_ms"] = figures.pop("target") / 8.0
        figures["lost"] = self.state.lost
        figures["late"] = self.state.late
        figures["inserted"] = self.state.inserted
        figures["dropped"] = self.state.dropped
        return figures

    @property
    def size(self) -> int:
        """Bytes of memory, the codec's apart."""
        return sizeof(Jitter)

    def check(self) -> bool:
        """True while the indices are where they must be (for tests)."""
        cdef Jitter* j = &self.state
        cdef int i, used = 0
        for i in range(JITTER_SLOTS):
            used += <int>((j.taken[i >> 6] >> (i & 63)) & 1)
        if used != j.count or not 0 <= j.count <= JITTER_SLOTS or not 240 <= j.head <= j.tail <= JITTER_PCM:
            return False
        for i in range(1, j.count):
            if j.slot[j.order[i]].place < j.slot[j.order[i - 1]].place:
                return False
        return j.least <= j.target <= j.most and 0 <= j.conceal.end <= 2048
