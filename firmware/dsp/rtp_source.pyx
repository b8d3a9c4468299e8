# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Whom an RTP port believes and whom it answers: symmetric RTP (RFC 4961) that locks after learning (L2).

Theory of operation
-------------------
The address in the SDP is right unless a NAT stands between: its first packet locks the port to it. Any other source is a *candidate*:
heard at once, spoken to after SPEAK packets in a row (one SSRC, numbers that follow each other), locked after LEARN. A second candidate
is counted beside it, so that who sends one packet to every port of ours neither gets a telephone's audio nor keeps the telephone out.
After the lock every other source is *foreign*: counted, ignored. Three things move a lock, each only after LEARN packets in a row: the
address of the SDP begins to speak after all; the locked source is silent for SILENT and its host, or that of the SDP, speaks from another
port (a NAT that forgot); a re-INVITE that names another address (then learning begins anew). A packet that SRTP has proven genuine needs
no row of others: it locks a port that is open to it, and moves a lock that has been silent for a moment. A port with a nominated address
(ICE) speaks to that address alone, and hears it alone; only when it is silent, what SRTP has proven genuine is heard from elsewhere, too:
the far end moves, and its nomination is on its way (RFC 8445 section 12.2). Who reads: the RTP thread judges and writes `learned`; the
tick follows it. Invariant: a hostile packet costs a few comparisons.
"""
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.state cimport *

cdef enum:
    SPEAK = 3                   # packets in a row after which a candidate is spoken to,
    LEARN = 25                  # and after which it is locked: half a second
    SILENT = 200                # ticks after which a lock may move
    PAUSED = 20                 # the same for packets proven genuine
    MOVING = 3                  # ticks of silence of a nominated address, after which genuine packets from elsewhere are heard
    STEP = 5                    # numbers that may be missing within a row
    IDLE = 50                   # ticks after which a candidate is given up


cdef void _take(RtpPort* r, const net_address* at, int sdp, int locked) noexcept nogil:
    cdef RtpReceive* x = &r.rx
    if not net_same(&x.source, at):
        x.have_ssrc = 0
    x.source = at[0]
    x.sdp = sdp
    x.locked = locked
    memset(&x.one, 0, sizeof(Candidate))
    memset(&x.other, 0, sizeof(Candidate))
    box_put(&r.learned, at, x.generation)


cdef int _run(Candidate* c, const net_address* at, uint32_t ssrc, uint16_t seq, uint64_t now) noexcept nogil:
    """Count a packet of a candidate; the length of its row."""
    cdef int step = <int16_t>(seq - c.seq)
    if not net_same(&c.at, at) or c.ssrc != ssrc or step > STEP or step < -STEP or now - c.tick > IDLE:
        c.at = at[0]
        c.ssrc = ssrc
        c.run = 0
        step = 1
    if step > 0:
        c.run += 1
        c.seq = seq
    c.tick = now
    return c.run


cdef int _challenge(Candidate* c, const net_address* at, uint32_t ssrc, uint16_t seq, uint64_t now) noexcept nogil:
    """The same for the second of two candidates: a third must wait until that has been given up."""
    if c.at.port and not net_same(&c.at, at) and now - c.tick <= IDLE:
        return 0
    return _run(c, at, ssrc, seq, now)


cdef int source_foreign(EngineState* e, RtpPort* r, const net_address* at) noexcept nogil:
    """Whether a packet need not even be decrypted."""
    cdef RtpReceive* x = &r.rx
    if not x.locked or net_same(at, &x.source):
        return 0
    if r.pinned:
        return load64(&e.tick) - x.heard_tick < MOVING
    return load64(&e.tick) - x.heard_tick < PAUSED and not net_same(at, &r.remote_seen.at)


cdef int source_judge(EngineState* e, RtpPort* r, const net_address* at, uint32_t ssrc, uint16_t seq, int genuine) noexcept nogil:
    """Whether a packet is the peer's; learns from it."""
    cdef RtpReceive* x = &r.rx
    cdef uint64_t now = load64(&e.tick)
    cdef int sdp
    if x.locked and net_same(at, &x.source):
        x.heard_tick = now
        return 1
    box_follow(&r.remote_seen, &r.remote)
    sdp = net_same(at, &r.remote_seen.at)
    if loadi32(&r.pinned):
        if not sdp:
            return genuine and (not x.locked or now - x.heard_tick >= MOVING)
        _take(r, at, 1, 1)
    elif x.locked:
        if genuine:
            if now - x.heard_tick < PAUSED and not (sdp and not x.sdp):
                return 0
        elif sdp and not x.sdp:
            if _challenge(&x.other, at, ssrc, seq, now) < LEARN:
                return 0
        elif now - x.heard_tick < SILENT or not (net_same_host(at, &x.source) or net_same_host(at, &r.remote_seen.at)):
            return 0
        elif _challenge(&x.other, at, ssrc, seq, now) < LEARN:
            return 0
        _take(r, at, sdp, 1)
    elif sdp or genuine:
        _take(r, at, sdp, 1)
    elif x.one.at.port == 0 or net_same(at, &x.one.at) or now - x.one.tick > IDLE:
        if not net_same(&x.source, at):
            x.have_ssrc = 0
            x.source = at[0]
        if _run(&x.one, at, ssrc, seq, now) >= LEARN:
            _take(r, at, 0, 1)
        elif x.one.run == SPEAK:
            box_put(&r.learned, at, x.generation)
    elif _challenge(&x.other, at, ssrc, seq, now) >= LEARN:
        _take(r, at, 0, 1)
    else:
        return 0
    x.heard_tick = now
    return 1


cdef void source_answer(RtpPort* r, net_address* to) noexcept nogil:
    """Where packets go; RTP thread. Port 0: nowhere yet."""
    if r.learned.generation == load32(&r.generation):
        to[0] = r.learned.at
        return
    box_follow(&r.remote_seen, &r.remote)
    to[0] = r.remote_seen.at


cdef void source_follow(RtpPort* r, net_address* to) noexcept nogil:
    """Where packets go; tick. Port 0: nowhere yet."""
    box_follow(&r.learned_seen, &r.learned)
    to[0] = r.learned_seen.at if r.learned_seen.generation == r.generation and r.generation else r.remote.at
