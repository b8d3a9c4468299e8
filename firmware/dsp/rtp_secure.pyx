# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Encrypted RTP ports: how keys and packets get to the one thread that may use libsrtp (L2).

Theory of operation
-------------------
libsrtp allocates where it makes a context, learns an SSRC, and in some builds for every packet; the tick must not. So the RTP thread
(under a virtual clock the tick, which then has no deadline) owns both contexts of every port. The tick hands keys over in
`RtpPort.keys`, a sequence lock: `version` is odd while it writes. The RTP thread compares `version` before every packet, makes contexts
and stores `taken`; the tick sees that and wipes its copy. The command that brought the keys is wiped when it was carried out.
Packets that the tick sends go, in clear, through one small queue to the RTP thread, which seals and sends them at once: an eventfd
in its epoll set wakes it at the end of the tick. Packets it relays to an encrypted port it seals itself, after the queue, so that a port's
packets leave in the order of their numbers. What finds no room in the queue is lost as on a full socket.
The same key again changes nothing (RFC 3711 section 3.3.1: the roll-over counter goes on), each direction by itself: a peer that renews its
own key leaves our numbers and key stream alone. Another key is a new context; what was queued before a change is dropped.
Invariants: a port with a suite never sends or accepts a packet in clear, also when a context could not be made; a packet is proven
genuine before its source is learned, its numbers are believed or anything is answered; keys are in no event, gauge or log.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.srtp cimport SECURE_FORGED, SECURE_KEY, SECURE_REPEATED, SECURE_ROOM, secure_free, secure_new, secure_open, secure_seal
from firmware.dsp.state cimport *

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)

cdef enum:
    KEY_WORDS = SECURE_KEY // 8
    EARLY_PACKETS = 50          # a second of speech in packets of 20 ms


# --- tick --------------------------------------------------------------------------------------------------------------

cdef uint64_t _mark(int suite, const uint8_t* key) noexcept nogil:
    """Tells keys apart without keeping them (FNV-1a; 64 bits of a random key say nothing about it)."""
    cdef uint64_t h = 0xCBF29CE484222325ULL ^ <uint64_t>suite
    cdef int i
    for i in range(SECURE_KEY):
        h = (h ^ key[i]) * 0x100000001B3ULL
    return h


cdef void secure_want(EngineState* e, RtpPort* r, int suite, const uint8_t* send, const uint8_t* receive) noexcept nogil:
    """The port's suite and keys (SECURE_KEY bytes each) from now on; suite 0: RTP in clear."""
    cdef SecureKeys* k = &r.keys
    cdef uint64_t words[2 * KEY_WORDS]
    cdef uint64_t mark[2]
    cdef int i
    memset(mark, 0, sizeof(mark))
    if suite:
        mark[0], mark[1] = _mark(suite, send), _mark(suite, receive)
    if loadi32(&r.suite) == suite and k.mark[0] == mark[0] and k.mark[1] == mark[1]:
        return
    memset(words, 0, sizeof(words))
    if suite:
        memcpy(words, send, SECURE_KEY)
        memcpy(&words[KEY_WORDS], receive, SECURE_KEY)
    add32(&k.version, 1)
    store32(&k.suite, <uint32_t>suite)
    for i in range(2):
        if k.mark[i] != mark[i]:
            add32(&k.turn[i], 1)
            k.mark[i] = mark[i]
    for i in range(2 * KEY_WORDS):
        store64(&k.word[i], words[i])
    add32(&k.version, 1)
    explicit_bzero(words, sizeof(words))
    k.full = suite != 0
    storei32(&r.suite, suite)
    store32(&e.seal.ask, 1)


cdef void secure_wipe(RtpPort* r) noexcept nogil:
    """Every tick: forget the keys once the RTP thread has them."""
    cdef int i
    if r.keys.full and load32(&r.keys.taken) == r.keys.version:
        for i in range(2 * KEY_WORDS):
            store64(&r.keys.word[i], 0)
        r.keys.full = 0


cdef void secure_queue(EngineState* e, RtpPort* r, const uint8_t* packet, int n, const net_address* to) noexcept nogil:
    """Leave a packet of RTP to the RTP thread."""
    cdef SealSlot* s
    if e.seal.head - load64(&e.seal.tail) >= SEAL_RING or n > <int>sizeof(s.data):
        return
    s = &e.seal.slot[e.seal.head % SEAL_RING]
    s.rtp = <uint32_t>(r - e.rtp)
    s.version = r.keys.version
    s.to = to[0]
    s.n = n
    memcpy(s.data, packet, n)
    store64(&e.seal.head, e.seal.head + 1)


cdef int secure_waits(EngineState* e) noexcept nogil:
    """Whether the RTP thread has something to do for us that it was not told yet."""
    if e.seal.told == e.seal.head and not load32(&e.seal.ask):
        return 0
    e.seal.told = e.seal.head
    return 1


# --- RTP thread --------------------------------------------------------------------------------------------------------

cdef int secure_sync(RtpPort* r) noexcept nogil:
    """Follow the tick's keys; the suite in force, 0 = in clear."""
    cdef SecureKeys* k = &r.keys
    cdef uint64_t words[2 * KEY_WORDS]
    cdef uint32_t version = load32(&k.version), suite
    cdef uint32_t turn[2]
    cdef int i
    if version == r.secured:
        return r.suite_now
    while True:
        version = load32(&k.version)
        suite = load32(&k.suite)
        turn[0], turn[1] = load32(&k.turn[0]), load32(&k.turn[1])
        for i in range(2 * KEY_WORDS):
            words[i] = load64(&k.word[i])
        if not version & 1 and load32(&k.version) == version:
            break
    if turn[0] != r.turned[0]:
        secure_free(r.sealer)
        r.sealer = secure_new(<int>suite, <const uint8_t*>words, 0)     # NULL for suite 0
    if turn[1] != r.turned[1]:
        secure_free(r.opener)
        r.opener = secure_new(<int>suite, <const uint8_t*>&words[KEY_WORDS], 1)
        r.proven = 0            # what was unproven stays so: a DTLS peer may speak under the new keys before we have them
    r.turned[0], r.turned[1] = turn[0], turn[1]
    explicit_bzero(words, sizeof(words))
    r.suite_now = <int>suite
    r.secured = version
    store32(&k.taken, version)
    return r.suite_now


cdef void secure_send(RtpPort* r, const uint8_t* packet, int n, const net_address* to) noexcept nogil:
    """Seal a packet under the contexts in force and send it."""
    cdef uint64_t words[72]
    cdef uint8_t* data = <uint8_t*>words
    if r.sealer == NULL or n + SECURE_ROOM + 4 > <int>sizeof(words):
        return
    memcpy(data, packet, n)
    n = secure_seal(r.sealer, data, n, 0)
    if n < 0:
        return
    net_send(r.fd, r.family, data, n, to)


cdef void secure_flush(EngineState* e) noexcept nogil:
    """Take over new keys, then seal and send what the tick has left here."""
    cdef uint64_t head = load64(&e.seal.head)
    cdef uint64_t tail = e.seal.tail
    cdef SealSlot* s
    cdef RtpPort* r
    cdef int i
    if swap32(&e.seal.ask, 0):
        for i in range(e.nrtp):
            secure_sync(&e.rtp[i])
    while tail < head:
        s = &e.seal.slot[tail % SEAL_RING]
        r = &e.rtp[s.rtp]
        if secure_sync(r) and s.version == r.secured:
            secure_send(r, s.data, s.n, &s.to)
        tail += 1
        store64(&e.seal.tail, tail)


cdef int secure_take(RtpPort* r, uint8_t* packet, int n) noexcept nogil:
    """Open what arrived at a port with a suite, in place; the length of the RTP packet, or negative: counted, to be ignored.

    A peer speaks in clear, or under its earlier keys, until it has the new ones: a second of that before its first genuine
    packet is forgiven; more, or some that no genuine packet follows, is not.
    """
    n = secure_open(r.opener, packet, n, 0) if r.opener != NULL else SECURE_FORGED
    if n == SECURE_REPEATED:
        r.repeated += 1
    elif n >= 0:
        if not r.proven:
            if r.unproven > EARLY_PACKETS:
                r.forged += r.unproven
            r.proven, r.unproven = 1, 0
    elif r.proven:
        r.forged += 1
    else:
        r.unproven += 1
    return n


cdef void secure_drop(RtpPort* r) noexcept nogil:
    """The engine ends: no thread runs any more."""
    secure_free(r.sealer)
    secure_free(r.opener)
    r.sealer = r.opener = NULL
    explicit_bzero(&r.keys, sizeof(r.keys))
