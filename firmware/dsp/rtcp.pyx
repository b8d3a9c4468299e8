# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""RTCP of the RTP ports (RFC 3550 section 6; RFC 3605, RFC 5761): reports both ways, and the quality they tell (L2).

Theory of operation
-------------------
All of it runs in the RTP thread (under a virtual clock in the tick): that thread sees every packet, mixed or relayed, and owns the SRTP contexts.
What arrives is counted as in appendix A.1 and A.3, jitter as in A.8; keys count as packets but not for jitter, since their timestamps
stand still (RFC 4733). Every 2.5 to 7.5 s, divided by 1.21828 (A.7; the first after half of that), a compound packet goes out: SR when we
have sent since the last two reports, else RR, then SDES with CNAME. At the end of a call BYE, also where the port was opened again meanwhile.
Where reports go: with mux to where RTP goes; else back to where the far end's reports come from, to the address of `a=rtcp`, or to the
port above RTP's; where RTP was learned at another host than SDP's (NAT), to the port above the learned one.
What is heard must be one well-formed compound packet (A.2) from the host RTP comes from, or from one the SDP names, or be proven genuine by
SRTCP; anything else is counted and ignored. Of the far end's blocks the one about our SSRC is taken: loss, jitter, round trip (section 6.4.1).
The figures are shown in the ring segment (`gauges.h`, rtp_gauge) once a second and after each report.
Invariants: nothing here allocates or waits; at most one packet goes out for a port and interval, whatever arrives: no amplification.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.rtp_secure cimport secure_sync
from firmware.dsp.rtp_source cimport source_answer
from firmware.dsp.seam cimport seam_virtual
from firmware.dsp.srtp cimport SECURE_ROOM, secure_open, secure_seal
from firmware.dsp.state cimport *

cdef enum:
    SR = 200
    RR = 201
    SDES = 202
    BYE = 203
    DROPOUT = 3000              # RFC 3550 appendix A.1
    MISORDER = 100
    SHOW_NS = 1000000000
    QUIET_REPORTS = 2           # after which a sender is none any more
    ROUND_TRIP_MOST = 30 << 16  # 30 s: more is nonsense
    PACKET_WORDS = 64

cdef uint64_t FIRST_NS = 2052074976         # 2.5 s / 1.21828
cdef uint64_t EVERY_NS = 4104147980         # 5 s / 1.21828


cdef uint64_t rtcp_clock(EngineState* e) noexcept nogil:
    """Time as the telephones have it, ns."""
    return load64(&e.tick) * 10000000 if seam_virtual(e) else mono_ns()


cdef uint64_t _ntp(EngineState* e, uint64_t ns) noexcept nogil:
    """NTP time, 32.32 bits."""
    cdef uint64_t gone = ns - e.ntp_ns
    return e.ntp_base + ((gone // 1000000000) << 32) + ((gone % 1000000000) << 32) // 1000000000


cdef uint64_t _interval(Rtcp* c, uint64_t mean) noexcept nogil:
    """Between half and one and a half of `mean` (RFC 3550 section 6.3.1)."""
    c.dice ^= c.dice << 13
    c.dice ^= c.dice >> 17
    c.dice ^= c.dice << 5
    return mean // 2 + mean * <uint64_t>(c.dice >> 16) // 65536


cdef inline uint32_t _word(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline void _put(uint8_t* p, uint32_t v) noexcept nogil:
    p[0] = v >> 24
    p[1] = (v >> 16) & 0xFF
    p[2] = (v >> 8) & 0xFF
    p[3] = v & 0xFF


# --- counting what arrives ------------------------------------------------------------------------------------------------

cdef uint32_t _expected(Rtcp* c) noexcept nogil:
    return c.cycles + c.top - c.base + 1 if c.counting else 0


cdef void _stream(Rtcp* c, uint32_t ssrc, uint16_t seq) noexcept nogil:
    """A stream begins, or begins anew: what was counted before stays counted."""
    c.past_expected += _expected(c)
    c.past_received += c.received
    c.counting = 1
    c.ssrc = ssrc
    c.base = c.top = seq
    c.cycles = 0
    c.bad = 0x10001             # no number
    c.received = 0
    c.expected_prior = c.received_prior = 0
    c.timed = 0
    c.jitter = 0


cdef void rtcp_count(EngineState* e, Port* p, uint32_t ssrc, uint16_t seq, uint32_t ts, int payload, int timed) noexcept nogil:
    """A packet of the peer; `timed`: its timestamp tells when it was spoken."""
    cdef Rtcp* c = &p.rtp.rtcp
    cdef uint16_t step
    cdef uint32_t transit
    cdef int32_t d
    cdef int clock = loadi32(&p.rtp.clock_khz)
    cdef float jitter
    if c.opened != load32(&p.rtp.opened):
        _begin(e, p)
    if not c.counting or c.ssrc != ssrc:
        _stream(c, ssrc, seq)
    step = <uint16_t>(seq - c.top)
    if step < DROPOUT:
        if seq < c.top:
            c.cycles += 65536
        c.top = seq
    elif step <= 65536 - MISORDER:
        if seq != c.bad:        # a very large jump: the next in line makes it a restart
            c.bad = (seq + 1) & 0xFFFF
            return
        _stream(c, ssrc, seq)
    c.received += 1
    c.bytes += payload
    if not timed:
        return
    transit = <uint32_t>(rtcp_clock(e) * <uint64_t>clock // 1000000) - ts
    if c.timed and c.clock_khz == clock:
        d = <int32_t>(transit - c.transit)
        d = -d if d < 0 else d
        if d < clock * 10000:   # a jump of the sender's clock is no jitter
            c.jitter += <uint32_t>d - ((c.jitter + 8) >> 4)
    c.transit = transit
    c.timed = 1
    c.clock_khz = clock
    jitter = <float>(c.jitter >> 4) / clock
    if jitter > c.show.worst_jitter_ms:
        c.show.worst_jitter_ms = jitter


# --- saying ------------------------------------------------------------------------------------------------------------

cdef void _begin(EngineState* e, Port* p) noexcept nogil:
    """The port has been opened."""
    cdef Rtcp* c = &p.rtp.rtcp
    cdef uint32_t dice = c.dice ^ <uint32_t>mono_ns() ^ (<uint32_t>p.id << 20)
    memset(c, 0, sizeof(Rtcp))
    c.opened = load32(&p.rtp.opened)
    c.alive = 1
    c.dice = dice if dice else 1
    c.due_ns = rtcp_clock(e) + _interval(c, FIRST_NS)
    c.show.round_trip_ms = c.show.worst_round_trip_ms = -1
    c.show.generation = c.opened
    _show(e, p, rtcp_clock(e))  # a call that is over at once must not show the figures of the last one


cdef void _show(EngineState* e, Port* p, uint64_t now) noexcept nogil:
    cdef RtpPort* r = p.rtp
    cdef Rtcp* c = &r.rtcp
    cdef rtp_gauge* g = &e.ring.gauges.rtp[p.id]
    c.shown_ns = now
    c.show.tick = load64(&e.tick)
    c.show.received = c.past_received + c.received
    c.show.expected = c.past_expected + _expected(c)
    c.show.received_bytes = c.bytes
    c.show.lost = <int32_t>(c.show.expected - c.show.received)
    c.show.jitter_ms = <float>(c.jitter >> 4) / c.clock_khz if c.clock_khz else 0
    c.show.sent = r.tx_packets
    c.show.sent_bytes = r.tx_bytes
    turn_begin(&g.turn)
    c.show.turn = g.turn
    g[0] = c.show
    turn_end(&g.turn)


cdef int _block(Rtcp* c, uint8_t* b, uint64_t now) noexcept nogil:
    """A reception report block (RFC 3550 section 6.4.1, appendix A.3); 24 bytes."""
    cdef uint32_t expected = _expected(c), wanted = expected - c.expected_prior, got = c.received - c.received_prior
    cdef int32_t lost = <int32_t>(expected - c.received), missing = <int32_t>(wanted - got)
    cdef uint64_t since
    c.expected_prior = expected
    c.received_prior = c.received
    lost = 0x7FFFFF if lost > 0x7FFFFF else (-0x800000 if lost < -0x800000 else lost)
    _put(b, c.ssrc)
    _put(b + 4, <uint32_t>lost & 0xFFFFFF)
    b[4] = <uint8_t>((<uint32_t>missing << 8) // wanted if wanted and missing > 0 else 0)
    if wanted and missing >= <int32_t>wanted:
        b[4] = 255
    _put(b + 8, c.cycles + c.top)
    _put(b + 12, c.jitter >> 4)
    _put(b + 16, c.sr_ntp)
    since = (now - c.sr_ns) * 65536 // 1000000000 if c.sr_ntp else 0
    _put(b + 20, <uint32_t>since)
    return 24


cdef int _sdes(EngineState* e, uint32_t ssrc, uint8_t* b) noexcept nogil:
    cdef int name = <int>strlen(e.cname), n = 4 + 4 + 2 + name
    n = (n // 4 + 1) * 4        # at least one null octet ends the chunk
    memset(b, 0, n)
    b[0] = 0x81
    b[1] = SDES
    b[3] = n // 4 - 1
    _put(b + 4, ssrc)
    b[8] = 1                    # CNAME
    b[9] = name
    memcpy(b + 10, e.cname, name)
    return n


cdef int _where(RtpPort* r, net_address* to) noexcept nogil:
    """Where a report goes; the socket's descriptor, -1 = it has nowhere to go."""
    cdef Rtcp* c = &r.rtcp
    box_follow(&r.remote_seen, &r.remote)
    source_answer(r, to)
    c.to_mux = loadi32(&r.mux)
    if not net_known(to):
        return -1
    if c.to_mux:
        return r.fd
    if net_known(&c.source) and (net_same_host(&c.source, to) or net_same_host(&c.source, &r.rtcp_to.at)):
        to[0] = c.source        # not one of an address the call has left
    elif net_known(&r.rtcp_to.at) and net_same_host(to, &r.remote_seen.at):
        to[0] = r.rtcp_to.at
    else:
        to.port += 1
    return r.rtcp_fd if to.port < 65536 else -1


cdef void _send(RtpPort* r, uint8_t* data, int n, int fd, const net_address* to) noexcept nogil:
    if r.suite_now:
        n = secure_seal(r.sealer, data, n, 1) if r.sealer != NULL else -1
    if n > 0:
        net_send(fd, r.family, data, n, to)


cdef void _report(EngineState* e, Port* p, uint64_t now) noexcept nogil:
    cdef RtpPort* r = p.rtp
    cdef Rtcp* c = &r.rtcp
    cdef uint64_t words[PACKET_WORDS]
    cdef uint8_t* b = <uint8_t*>words
    cdef uint64_t ntp
    cdef int n, fd, sender
    cdef uint32_t packets = r.tx_packets
    cdef net_address to
    secure_sync(r)
    fd = _where(r, &to)
    if fd < 0:
        return
    c.quiet = 0 if packets != c.told_packets else c.quiet + 1
    c.told_packets = packets
    c.tx_ssrc = r.tx_ssrc
    sender = packets and c.quiet < QUIET_REPORTS
    b[0] = 0x80 | (c.counting != 0)
    b[1] = SR if sender else RR
    _put(b + 4, c.tx_ssrc)
    n = 8
    if sender:
        ntp = _ntp(e, now)
        _put(b + 8, <uint32_t>(ntp >> 32))
        _put(b + 12, <uint32_t>ntp)
        _put(b + 16, load32(&r.tx_ts))
        _put(b + 20, packets)
        _put(b + 24, r.tx_bytes)
        n = 28
    if c.counting:
        n += _block(c, b + n, now)
    b[2] = 0
    b[3] = n // 4 - 1
    n += _sdes(e, c.tx_ssrc, b + n)
    c.to = to
    c.show.reports_sent += 1
    _send(r, b, n, fd, &to)


cdef void rtcp_leave(EngineState* e, Port* p) noexcept nogil:
    """Say goodbye when the port was closed, or closed and opened; under the keys that still are there."""
    cdef RtpPort* r = p.rtp
    cdef Rtcp* c = &r.rtcp
    cdef uint64_t words[PACKET_WORDS]
    cdef uint8_t* b = <uint8_t*>words
    cdef int n
    if not c.alive or c.opened == load32(&r.opened):
        return
    c.alive = 0
    _show(e, p, c.shown_ns)
    if c.show.reports_sent == 0:
        return                  # nobody was told of us: nothing to take back (RFC 3550 section 6.3.7)
    b[0] = 0x80
    b[1] = RR
    b[2] = 0
    b[3] = 1
    _put(b + 4, c.tx_ssrc)
    n = 8 + _sdes(e, c.tx_ssrc, b + 8)
    b[n] = 0x81
    b[n + 1] = BYE
    b[n + 2] = 0
    b[n + 3] = 1
    _put(b + n + 4, c.tx_ssrc)
    _send(r, b, n + 8, r.fd if c.to_mux else r.rtcp_fd, &c.to)


cdef void rtcp_leave_all(EngineState* e) noexcept nogil:
    """Before keys are given up."""
    cdef int i
    for i in range(e.nrtp):
        rtcp_leave(e, &e.port[TDM_PORTS + i])


cdef void rtcp_run(EngineState* e, Port* p) noexcept nogil:
    """At least every 50 ms: reports that are due, goodbyes, and what is shown."""
    cdef RtpPort* r = p.rtp
    cdef Rtcp* c = &r.rtcp
    cdef uint64_t now
    rtcp_leave(e, p)
    if load32(&r.generation) == 0:
        return
    if c.opened != load32(&r.opened):
        _begin(e, p)
    now = rtcp_clock(e)
    if now >= c.due_ns:
        c.due_ns = now + _interval(c, EVERY_NS)
        _report(e, p, now)
        _show(e, p, now)
    elif now - c.shown_ns >= SHOW_NS:
        _show(e, p, now)


# --- hearing -----------------------------------------------------------------------------------------------------------

cdef int _well_formed(const uint8_t* data, int n) noexcept nogil:
    """RFC 3550 appendix A.2; a lone packet of reports is enough."""
    cdef int at = 0, size
    if n < 8 or (data[0] & 0xE0) != 0x80 or (data[1] != SR and data[1] != RR):
        return 0                # version, no padding in the first, a report first
    while at + 4 <= n:
        if data[at] >> 6 != 2:
            return 0
        size = 4 * (((data[at + 2] << 8) | data[at + 3]) + 1)
        if data[at] & 0x20 and at + size != n:
            return 0            # padding in the last only
        at += size
    return at == n


cdef void _far_block(EngineState* e, RtpPort* r, const uint8_t* b, uint64_t now) noexcept nogil:
    """What the far end says of our stream."""
    cdef Rtcp* c = &r.rtcp
    cdef uint32_t lsr = _word(b + 16), dlsr = _word(b + 20), trip
    cdef int32_t lost = <int32_t>(_word(b + 4) << 8) >> 8
    cdef uint32_t top = _word(b + 8), clock = <uint32_t>loadi32(&r.clock_khz)
    cdef float value
    if c.far_ssrc != r.tx_ssrc or c.show.far_reports == 0:
        c.far_ssrc = r.tx_ssrc
        c.far_lost = 0
    elif top - c.far_top < 1 << 24:
        c.show.far_expected += top - c.far_top
    c.show.far_lost += lost - c.far_lost
    c.far_lost = lost
    c.far_top = top
    c.show.far_reports += 1
    c.show.far_loss = <float>b[4] / 256
    c.show.far_jitter_ms = <float>_word(b + 12) / clock
    if lsr == 0:
        return
    trip = <uint32_t>(_ntp(e, now) >> 16) - lsr - dlsr
    if <int32_t>trip < 0 or trip > ROUND_TRIP_MOST:
        return
    value = <float>trip * 1000 / 65536
    c.show.round_trip_ms = value
    if value > c.show.worst_round_trip_ms:
        c.show.worst_round_trip_ms = value


cdef void _hear(EngineState* e, RtpPort* r, const uint8_t* data, int n) noexcept nogil:
    cdef Rtcp* c = &r.rtcp
    cdef uint64_t now = rtcp_clock(e)
    cdef int at = 0, size, i, kind, blocks, head
    while at < n:
        size = 4 * (((data[at + 2] << 8) | data[at + 3]) + 1)
        kind = data[at + 1]
        blocks = data[at] & 31
        head = 28 if kind == SR else 8
        if kind == SR and size >= 28:
            c.sr_ntp = (_word(data + at + 8) << 16) | (_word(data + at + 12) >> 16)
            c.sr_ns = now
        if kind == SR or kind == RR:
            for i in range(blocks):
                if head + 24 * (i + 1) <= size and _word(data + at + head + 24 * i) == r.tx_ssrc:
                    _far_block(e, r, data + at + head + 24 * i, now)
        elif kind == BYE and blocks and size >= 8:
            c.show.far_bye = 1
        at += size


cdef int _from_peer(RtpPort* r, const net_address* source) noexcept nogil:
    """Whether reports may come from there."""
    cdef net_address answer
    box_follow(&r.remote_seen, &r.remote)
    source_answer(r, &answer)
    return ((net_known(&answer) and net_same_host(source, &answer)) or (net_known(&r.remote_seen.at) and net_same_host(source, &r.remote_seen.at))
            or (net_known(&r.rtcp_to.at) and net_same_host(source, &r.rtcp_to.at)))


cdef void rtcp_receive(EngineState* e, Port* p, uint8_t* data, int n, const net_address* source, int own_socket) noexcept nogil:
    """One datagram (aligned, decrypted in place) that is RTCP: on the RTCP socket (`own_socket`), or by its type on that of RTP."""
    cdef RtpPort* r = p.rtp
    cdef Rtcp* c = &r.rtcp
    cdef int suite
    if load32(&r.generation) == 0:
        return
    rtcp_leave(e, p)
    if c.opened != load32(&r.opened):
        _begin(e, p)
    suite = secure_sync(r)
    if suite:
        n = secure_open(r.opener, data, n, 1) if r.opener != NULL else -1
    if n < 0 or (own_socket != 0) == (loadi32(&r.mux) != 0) or not _well_formed(data, n) or not (suite or _from_peer(r, source)):
        c.show.reports_refused += 1
        return
    c.show.reports_received += 1
    c.source = source[0]
    _hear(e, r, data, n)
    _show(e, p, rtcp_clock(e))
