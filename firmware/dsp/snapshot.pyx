# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What media runs: an event for each open port and each watched line (L2).

Theory of operation. Core asks for a snapshot when it starts; the events go out within the tick that carries the command out, before its
answer, so that core has all of them when the answer comes.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit, tick_ms
from firmware.dsp.rtp cimport rtp_counts
from firmware.dsp.rtp_source cimport source_follow
from firmware.dsp.state cimport *


cdef void snapshot(EngineState* e) noexcept nogil:
    """Tell all ports; the tick, while it carries out commands."""
    cdef pay_port s
    cdef int i
    cdef Port* p
    cdef Line* n
    cdef RtpPort* r
    cdef RtpCounts counts
    for i in range(e.nports):
        p = &e.port[i]
        if not p.open and not (i < TDM_PORTS and e.line[i].kind):
            continue
        memset(&s, 0, sizeof(s))
        s.open = p.open
        s.bridge = p.bridge
        s.relay = p.relay
        s.hear = p.hear
        s.speak = p.speak
        s.whisper = p.whisper
        s.clear = p.clear
        s.relaying = p.relaying
        s.playing = p.player.kind != PLAYER_IDLE
        s.player_token = p.player.token
        memcpy(s.tag, p.tag, RING_TAG)
        if p.open and p.recorder >= 0:
            s.recording = 1
            s.recording_token = e.recorder[p.recorder].token
            s.recording_file = e.recorder[p.recorder].file
        if p.rtp == NULL:
            n = &e.line[i]
            s.watched = n.kind
            s.drive = load32(&e.drive[i])
            s.volts = n.volts
            s.battery = loadi32(&n.battery)
            s.reversed = loadi32(&n.reversed)
            s.flowing = loadi32(&n.flowing)
            s.closed = loadi32(&n.closed)
            s.ringing = loadi32(&n.ringing)
            s.dtmf_type = -1
        else:
            r = p.rtp
            s.rtp = 1
            s.local_port = r.local_port
            source_follow(r, &s.remote)
            s.codec = r.codec
            s.payload_type = r.payload_type
            s.dtmf_type = r.dtmf_type
            s.ptime_ms = r.ptime // 8
            s.send = r.send
            s.receive = r.receive
            counts = rtp_counts(r)
            s.rx_packets = counts.rx - r.before.rx
            s.tx_packets = r.tx_packets
            s.lost = r.jitter.lost
            s.late = r.jitter.late
            s.foreign = counts.foreign - r.before.foreign
            s.malformed = counts.malformed - r.before.malformed
            s.forged = counts.forged - r.before.forged
            s.repeated = counts.repeated - r.before.repeated
            s.suite = <uint8_t>r.suite
        emit(e, EVT_PORT, i, tick_ms(e), &s, sizeof(s))
