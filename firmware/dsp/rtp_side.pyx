# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What an RTP socket hears beside RTP: STUN and DTLS, handed to the side; and what the side wants of the tick (L2).

Theory of operation
-------------------
RFC 7983 section 7 tells datagrams on one socket apart by their first byte: 0 to 3 STUN, 20 to 63 DTLS. Those are copied into one bounded
queue; an eventfd wakes the side, Python in the event loop of the media process (`media/side.py`), which answers from the same socket. A
port may bring SIDE_BURST of them at once and one more every SIDE_EVERY ticks; what is more, longer than SIDE_BYTES or without room is
counted and lost: both protocols repeat. The side asks the tick for two things, through a queue of its own: SRTP keys (DTLS has ended),
and a nominated remote address (ICE). The tick is so the only writer of a port's configuration. What was meant for an earlier opening of
the port is dropped; keys are wiped behind. Invariants: nothing here allocates, locks or waits; one writer and one reader for each queue.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.rtp_secure cimport secure_want
from firmware.dsp.state cimport *

cdef extern from "<unistd.h>" nogil:
    ssize_t write_fd "write"(int fd, const void* data, size_t n)

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)


cdef int side_kind(const uint8_t* data, int n) noexcept nogil:
    """Whether a datagram is STUN or DTLS by its first byte."""
    return n > 0 and (data[0] < 4 or 20 <= data[0] < 64)


cdef void side_put(EngineState* e, Port* p, const uint8_t* data, int n, const net_address* source) noexcept nogil:
    """RTP thread: leave a datagram to the side."""
    cdef SideRing* q = &e.side
    cdef RtpPort* r = p.rtp
    cdef uint64_t now = load64(&e.tick), more = (now - r.side_tick) // SIDE_EVERY, one = 1
    cdef SideSlot* s
    if more:
        r.side_left = <uint32_t>(r.side_left + more) if r.side_left + more < SIDE_BURST else SIDE_BURST
        r.side_tick = now
    if r.side_left == 0 or n > SIDE_BYTES:
        r.side_refused += 1
        return
    r.side_left -= 1
    if q.head - load64(&q.tail) >= SIDE_RING:
        q.lost += 1
        return
    s = &q.slot[q.head % SIDE_RING]
    s.port = p.id
    s.opened = load32(&r.opened)
    s.n = n
    s.source = source[0]
    memcpy(s.data, data, n)
    store64(&q.head, q.head + 1)
    write_fd(q.fd, &one, 8)


cdef int side_ask(EngineState* e, const SideAsk* ask) noexcept nogil:
    """The side: put a wish; 0 when the tick is that far behind."""
    cdef SideAsks* q = &e.asks
    if q.head - load64(&q.tail) >= SIDE_ASKS:
        return 0
    q.ask[q.head % SIDE_ASKS] = ask[0]
    store64(&q.head, q.head + 1)
    return 1


cdef void rtp_generation(RtpPort* r) noexcept nogil:
    """The tick changed where packets come from: the RTP thread learns anew."""
    r.last_generation += 1
    if r.last_generation == 0:
        r.last_generation = 1
    store32(&r.generation, r.last_generation)


cdef void _nominate(RtpPort* r, const net_address* remote) noexcept nogil:
    """Speak to and hear this address alone; unknown: what the SDP says holds again."""
    cdef int pinned = remote.port != 0
    cdef const net_address* to = remote if pinned else &r.sdp
    if not pinned and not r.pinned:
        return
    storei32(&r.pinned, pinned)
    if net_same(&r.remote.at, to):
        return
    box_put(&r.remote, to, 0)
    rtp_generation(r)


cdef void side_run(EngineState* e) noexcept nogil:
    """Tick: carry out what the side asked for."""
    cdef SideAsks* q = &e.asks
    cdef uint64_t head = load64(&q.head)
    cdef SideAsk* a
    cdef Port* p
    while q.tail < head:
        a = &q.ask[q.tail % SIDE_ASKS]
        p = &e.port[a.port]
        if p.open and p.rtp.opened == a.opened:
            if a.suite < 0:
                _nominate(p.rtp, &a.remote)
            elif p.rtp.later:
                secure_want(e, p.rtp, a.suite, a.send, a.receive)
        explicit_bzero(a, sizeof(SideAsk))
        store64(&q.tail, q.tail + 1)
