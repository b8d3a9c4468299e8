# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""RTP (RFC 3550) and telephone events (RFC 4733) (L2).

Theory of operation
-------------------
Receiving runs in the RTP thread, packet by packet. STUN and DTLS go to the side (`rtp_side.pyx`), RTCP to `rtcp.pyx`. A packet is *malformed* (counted,
ignored) when its version, its CSRC, extension or padding lengths, its payload type or its size do not fit. Then its source is judged
(`rtp_source.pyx`). A new SSRC from the source that is believed is a new stream. Audio goes to the tick through a ring without locks, or,
while the port is relayed, straight to the peer's socket with our SSRC, our sequence numbers and timestamps moved by a constant; so
switching between relay and mixing is invisible to the telephone. Telephone events: packets of one timestamp are one key. Its start is
taken from whichever packet comes first, its end from the first end packet, or from a new timestamp, or from 200 ms without packets. A key
that ended is never reported again. Timestamps run in the clock of the codec: 8000 Hz, with Opus 48 000 Hz (RFC 7587 section 4.1; G.722
keeps 8000, RFC 3551 section 4.5.2); a key lasts in the clock its payload type was negotiated with. A stream whose clock changes becomes
another one (RFC 7160). Sending runs in the tick: continuous audio, also silence; a key is sent instead of audio and ends with three end
packets. The sending state of a port belongs to the tick, or to the RTP thread while another port is relayed to it. The tick gives it up
before it sets `relay_peer`; it takes it back after clearing `relay_peer` and seeing `relay_turn` change or even. Encrypted ports: every
packet is opened before anything else is believed of it (rtp_secure.pyx). Invariants: nothing here allocates or blocks; a hostile packet
touches no memory but counters.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.codec cimport codec_encode, codec_span
from firmware.dsp.emit cimport emit_from
from firmware.dsp.jitter cimport JITTER_NOISE, jitter_put
from firmware.dsp.rtcp cimport rtcp_clock, rtcp_count, rtcp_leave, rtcp_leave_all, rtcp_receive
from firmware.dsp.rtp_secure cimport secure_flush, secure_queue, secure_send, secure_sync, secure_take, secure_wipe
from firmware.dsp.rtp_side cimport side_kind, side_put
from firmware.dsp.rtp_source cimport source_answer, source_follow, source_foreign, source_judge
from firmware.dsp.state cimport *

cdef const char* KEY_BYTES = "0123456789*#ABCD"


cdef uint32_t _random(EngineState* e) noexcept nogil:
    e.random ^= e.random << 13
    e.random ^= e.random >> 17
    e.random ^= e.random << 5
    return e.random


cdef RtpCounts rtp_counts(RtpPort* r) noexcept nogil:
    """What came to a port since the start of the engine; a call's own figures are the differences."""
    cdef RtpCounts c
    c.rx = load32(&r.rx_packets)
    c.foreign = r.foreign
    c.malformed = r.malformed
    c.forged = r.forged + r.unproven
    c.repeated = r.repeated
    return c


cdef void rtp_reset_sender(EngineState* e, RtpPort* r) noexcept nogil:
    """New stream: random SSRC, sequence number and timestamp (RFC 3550 section 5.1)."""
    r.tx_ssrc = _random(e) ^ <uint32_t>mono_ns()
    r.tx_seq = _random(e) & 0x7FFF
    r.tx_ts = _random(e)
    r.tx_last_ts = r.tx_ts
    r.tx_packets = 0
    r.tx_bytes = 0
    r.tx_marker = 1
    r.hold = 0
    r.renew = 0
    r.fill = 0


cdef int _send(EngineState* e, RtpPort* r, int payload_type, int marker, uint32_t ts, const uint8_t* payload, int n, int relayed) noexcept nogil:
    """One packet to the telephone; `relayed`: in the RTP thread, which alone may encrypt."""
    cdef uint8_t packet[512]
    cdef net_address to
    if relayed:
        source_answer(r, &to)
    else:
        source_follow(r, &to)
    if not net_known(&to) or n > 500:
        return 0
    packet[0] = 0x80
    packet[1] = payload_type | (0x80 if marker else 0)
    packet[2] = (r.tx_seq >> 8) & 0xFF
    packet[3] = r.tx_seq & 0xFF
    packet[4] = ts >> 24
    packet[5] = (ts >> 16) & 0xFF
    packet[6] = (ts >> 8) & 0xFF
    packet[7] = ts & 0xFF
    packet[8] = r.tx_ssrc >> 24
    packet[9] = (r.tx_ssrc >> 16) & 0xFF
    packet[10] = (r.tx_ssrc >> 8) & 0xFF
    packet[11] = r.tx_ssrc & 0xFF
    memcpy(&packet[12], payload, n)
    r.tx_seq = (r.tx_seq + 1) & 0xFFFF
    r.tx_packets += 1
    r.tx_bytes += n
    if not relayed and loadi32(&r.suite):
        secure_queue(e, r, packet, 12 + n, &to)
        return 1
    if relayed and secure_sync(r):
        if load32(&e.seal.ask):
            rtcp_leave_all(e)
        secure_flush(e)         # what the tick sent before
        secure_send(r, packet, 12 + n, &to)
        return 1
    net_send(r.fd, r.family, packet, 12 + n, &to)
    return 1


# --- receiving: RTP thread ---------------------------------------------------------------------------------------------

cdef void _end_key(EngineState* e, Port* p) noexcept nogil:
    cdef RtpReceive* x = &p.rtp.rx
    cdef pay_digit d
    x.key_active = 0
    store32(&p.rtp.key_now, 0)
    if loadi32(&p.rtp.report_keys):
        memset(&d, 0, sizeof(d))
        d.digit = x.key
        d.duration_ms = x.key_duration // loadi32(&p.rtp.dtmf_khz)
        d.rfc4733 = 1
        emit_from(e, &e.rtp_lane, EVT_DIGIT, p.id, <int64_t>load64(&e.tick) * 10, &d, sizeof(d))


cdef void _key(EngineState* e, Port* p, uint32_t ts, const uint8_t* data, int n) noexcept nogil:
    cdef RtpReceive* x = &p.rtp.rx
    cdef int code = data[0]
    cdef int duration = (data[2] << 8) | data[3]
    if code > 15:
        return                  # flash and other events are not keys
    if x.key_seen and ts == x.key_ts and not x.key_active:
        return                  # a repeated end packet
    if x.key_seen and <int32_t>(ts - x.key_ts) < 0 and <int32_t>(x.key_ts - ts) < 80000:
        return                  # older than what was reported
    if x.key_active and ts != x.key_ts:
        _end_key(e, p)
    if not x.key_active:
        x.key_active = 1
        x.key_seen = 1
        x.key_ts = ts
        x.key = KEY_BYTES[code]
        x.key_duration = 0
        add32(&p.rtp.key_count, 1)
        store32(&p.rtp.key_now, <uint32_t>x.key)
    if duration > x.key_duration:
        x.key_duration = duration
    x.key_ns = rtcp_clock(e)
    if data[1] & 0x80:
        _end_key(e, p)


cdef void rtp_keys_expire(EngineState* e, Port* p) noexcept nogil:
    """End a key whose end packets were all lost; called at least every 50 ms."""
    cdef RtpReceive* x = &p.rtp.rx
    cdef uint64_t now_ns
    if not x.key_active:
        return
    now_ns = rtcp_clock(e)
    if now_ns > x.key_ns and now_ns - x.key_ns > 200000000:
        _end_key(e, p)


cdef int _forward(EngineState* e, Port* p, int peer, int is_key, int is_noise, int marker, uint32_t ssrc, uint32_t ts,
                  const uint8_t* data, int n) noexcept nogil:
    """Send a packet of p on to its relay peer; 0 when the relay has just ended."""
    cdef RtpPort* to = e.port[peer].rtp
    cdef RtpReceive* x = &p.rtp.rx
    cdef uint32_t out
    cdef int32_t length = 2 * <int32_t>load32(&to.ts_block) if is_key or is_noise else codec_span(loadi32(&to.codec), data, n)
    add32(&e.relay_turn, 1)
    if loadi32(&p.rtp.relay_peer) != peer:
        add32(&e.relay_turn, 1)
        return 0
    if loadi32(&to.send) and length > 0 and (not is_noise or loadi32(&to.comfort_noise)):
        if not x.relay_fresh or x.relay_ssrc != ssrc:
            out = load32(&to.tx_ts)
            if <int32_t>(to.tx_last_ts - out) > 0:
                out = to.tx_last_ts
            x.relay_offset = out - ts
            x.relay_ssrc = ssrc
            x.relay_fresh = 1
            marker = not is_key
        out = ts + x.relay_offset
        _send(e, to, to.dtmf_type if is_key else NOISE_TYPE if is_noise else to.payload_type, marker, out, data, n, 1)
        if <int32_t>(out + length - to.tx_last_ts) > 0:
            to.tx_last_ts = out + length
    add32(&e.relay_turn, 1)
    return 1


cdef void rtp_receive(EngineState* e, Port* p, uint8_t* data, int n, const net_address* source) noexcept nogil:
    """One datagram of n bytes (aligned, decrypted in place) from the port's socket."""
    cdef RtpPort* r = p.rtp
    cdef RtpReceive* x = &r.rx
    cdef PacketRing* q = &r.packets
    cdef Packet* slot
    cdef uint32_t generation = load32(&r.generation), ts, ssrc
    cdef int head, pt, peer, is_key, is_noise, payload, suite
    if generation == 0:
        return                  # closed
    if side_kind(data, n):
        side_put(e, p, data, n, source)
        return
    if n >= 2 and data[0] >> 6 == 2 and 192 <= data[1] <= 223:      # RFC 5761 section 4
        rtcp_receive(e, p, data, n, source, 0)
        return
    rtcp_leave(e, p)
    if generation != x.generation:
        memset(x, 0, sizeof(RtpReceive))
        x.generation = generation
    suite = secure_sync(r)
    if suite:
        if source_foreign(e, r, source):
            r.foreign += 1      # not worth the arithmetic
            return
        n = secure_take(r, data, n)
        if n < 0:
            return
    if n < 13 or (data[0] >> 6) != 2:
        r.malformed += 1
        return
    head = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        if n < head + 4:
            r.malformed += 1
            return
        head += 4 + 4 * ((data[head + 2] << 8) | data[head + 3])
    if data[0] & 0x20:
        if data[n - 1] == 0 or data[n - 1] > n - 12:
            r.malformed += 1
            return
        n -= data[n - 1]
    payload = n - head
    pt = data[1] & 0x7F
    is_key = loadi32(&r.dtmf_type) >= 0 and pt == loadi32(&r.dtmf_type)
    is_noise = pt == NOISE_TYPE and not is_key and pt != loadi32(&r.payload_type)
    if (payload <= 0 or payload > PACKET_BYTES or (is_key and payload < 4)
            or (not is_key and not is_noise and pt != loadi32(&r.payload_type))):
        r.malformed += 1
        return
    ssrc = (<uint32_t>data[8] << 24) | (<uint32_t>data[9] << 16) | (<uint32_t>data[10] << 8) | data[11]
    if not source_judge(e, r, source, ssrc, <uint16_t>((data[2] << 8) | data[3]), suite):
        r.foreign += 1
        return
    ts = (<uint32_t>data[4] << 24) | (<uint32_t>data[5] << 16) | (<uint32_t>data[6] << 8) | data[7]
    if x.have_ssrc and x.ssrc != ssrc:
        if x.key_active:
            _end_key(e, p)
        x.key_seen = 0
    x.ssrc = ssrc
    x.have_ssrc = 1
    rtcp_count(e, p, ssrc, <uint16_t>((data[2] << 8) | data[3]), ts, payload, not is_key)
    add32(&r.rx_packets, 1)
    if not loadi32(&r.receive):
        return
    if is_key:
        _key(e, p, ts, data + head, payload)
    peer = loadi32(&r.relay_peer)
    if peer >= 0:
        if x.relay_seen != load32(&r.relay_start):
            x.relay_seen = load32(&r.relay_start)
            x.relay_fresh = 0
        if _forward(e, p, peer, is_key, is_noise, data[1] >> 7, ssrc, ts, data + head, payload):
            return
    if is_key or q.head - load64(&q.tail) >= PACKET_RING:
        return
    slot = &q.slot[q.head % PACKET_RING]
    slot.ssrc = ssrc
    slot.ts = ts
    slot.seq = (data[2] << 8) | data[3]
    slot.marker = data[1] >> 7
    slot.n = payload
    slot.kind = JITTER_NOISE if is_noise else loadi32(&r.codec)
    memcpy(slot.data, data + head, payload)
    store64(&q.head, q.head + 1)


cdef int rtp_alike(RtpPort* a, RtpPort* b) noexcept nogil:
    """Packets of one may be sent on by the other: the codecs and what keys mean are the same."""
    if a.codec != b.codec or (a.dtmf_type >= 0) != (b.dtmf_type >= 0):
        return 0
    return a.dtmf_type < 0 or a.dtmf_khz == b.dtmf_khz


# --- tick --------------------------------------------------------------------------------------------------------------

cdef void rtp_take_packets(EngineState* e, Port* p) noexcept nogil:
    """Move what arrived into the jitter buffer."""
    cdef PacketRing* q = &p.rtp.packets
    cdef uint64_t head = load64(&q.head)
    cdef uint64_t tail = q.tail
    cdef Packet* slot
    secure_wipe(p.rtp)
    while tail < head:
        slot = &q.slot[tail % PACKET_RING]
        jitter_put(&p.rtp.jitter, e.tick, slot.ssrc, slot.seq, slot.ts, slot.marker, slot.kind, slot.data, slot.n)
        tail += 1
        store64(&q.tail, tail)


cdef void rtp_send_block(EngineState* e, Port* p, const short* samples) noexcept nogil:
    """Append 80 samples to the frame being built; send it when full. NULL: the time passes without audio (a key is being sent)."""
    cdef RtpPort* r = p.rtp
    cdef int n
    if samples == NULL or not r.send:
        r.fill = 0
        r.tx_marker = 1
    else:
        memcpy(&r.pcm[r.fill], samples, BLOCK * sizeof(short))
        r.fill += BLOCK
        if r.fill >= r.ptime:
            n = codec_encode(&r.coder, r.pcm, r.fill, r.frame, sizeof(r.frame))
            if n > 0:
                _send(e, r, r.payload_type, r.tx_marker, r.tx_ts - r.ts_block * <uint32_t>(r.fill // BLOCK - 1), r.frame, n, 0)
                r.tx_marker = 0
            r.fill = 0
    store32(&r.tx_ts, r.tx_ts + r.ts_block)


cdef int rtp_send_key(EngineState* e, Port* p, char digit, uint32_t ts, int duration, int marker, int end) noexcept nogil:
    """One telephone-event packet; duration since ts in ticks of the key clock (a longer key than 16 bits can tell stays at their end)."""
    cdef uint8_t data[4]
    cdef int code
    duration = duration if duration < 0xFFFF else 0xFFFF
    for code in range(16):
        if KEY_BYTES[code] == digit:
            data[0] = code
            data[1] = (0x80 if end else 0) | 10
            data[2] = (duration >> 8) & 0xFF
            data[3] = duration & 0xFF
            return _send(e, p.rtp, p.rtp.dtmf_type, marker, ts, data, 4, 0)
    return 0
