# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One tick of audio: hear every port, detect, mix the bridges, play, record, speak to every port (L2).

Theory of operation
-------------------
A port's telephone is *heard* (line: high-pass, canceller, gain; RTP: jitter buffer), passes the detectors and the gain control, and what it may *say* to its
bridge is added to the bridge's sum. What goes *out* to a telephone is the sum without its own part, plus its player, saturated
once at the end. A port that whispers is heard by one port of its bridge only. A clear channel is left as it is: no filter, canceller, gain or muting. `mute_digits` keeps in-band keys from the bridge; keys of RFC 4733 never enter a bridge by themselves, because core
passes them on. Between the two ports of a relay all keys travel like audio: RFC 4733 packets are forwarded, and while the pair is
mixed a key that came as RFC 4733 becomes a DTMF tone.
Echo reference: what we play in tick n reaches the wire in block n + depth, so the canceller's reference for the capture of
tick n is the playback of tick n - depth. Both pass the same high-pass, so the canceller sees the line's own path.
Relay: two RTP ports paired by core are forwarded on arrival as long as neither has a player, a recorder or a detector that
needs samples, their codecs agree, and no third port is in their bridge; otherwise they are mixed here. The pair need not be
in a bridge: mixed, it behaves as a bridge of two. A port relayed to itself is a loop: its telephone hears itself. Each tick decides anew (two comparisons), and a change loses at most the
jitter buffer's delay.
Invariant: the cost of a tick depends on the open ports only.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.activity cimport frame_power
from firmware.dsp.agc cimport agc_run
from firmware.dsp.detect cimport detect_block
from firmware.dsp.dtmf cimport dtmf_gen_fill, dtmf_gen_init
from firmware.dsp.dtmf_mute cimport dtmf_mute_process
from firmware.dsp.echo cimport echo_process
from firmware.dsp.emit cimport emit, emit_lossy, tick_ms
from firmware.dsp.gauge cimport echo_power, gauge_block
from firmware.dsp.highpass cimport highpass_run
from firmware.dsp.jitter cimport jitter_get, jitter_restart
from firmware.dsp.player cimport player_digit, player_fill, player_keys
from firmware.dsp.recorder cimport recorder_push
from firmware.dsp.rtp cimport rtp_alike, rtp_reset_sender, rtp_send_block, rtp_take_packets
from firmware.dsp.state cimport *


cdef inline short _clip(int32_t v) noexcept nogil:
    return 32767 if v > 32767 else (-32768 if v < -32768 else v)


cdef void _gain(short* x, float gain) noexcept nogil:
    cdef int i
    if gain == 1.0:
        return
    for i in range(BLOCK):
        x[i] = _clip(<int32_t>(x[i] * gain))


# --- relay -------------------------------------------------------------------------------------------------------------

cdef int _bare(Port* p) noexcept nogil:
    """Nothing on this port needs its samples."""
    return (p.player.kind == PLAYER_IDLE and p.recorder < 0 and p.tones == 0 and p.fsk == 0 and not p.voice.on and not p.agc_on and not p.measure
            and p.rtp.receive and p.rtp.send and (p.rtp.dtmf_type >= 0 or not p.digits))


cdef int _may_relay(EngineState* e, Port* a, Port* b) noexcept nogil:
    if not (a.open and b.open and _bare(a) and _bare(b)):
        return 0
    if not rtp_alike(a.rtp, b.rtp):
        return 0
    if a.bridge != b.bridge:
        return 0
    return a.bridge < 0 or (e.members[a.bridge] == 2 and a.hear and a.speak and b.hear and b.speak)


cdef void _begin(Port* p, Port* peer) noexcept nogil:
    p.relaying = 1
    p.rtp.fill = 0
    jitter_restart(&p.rtp.jitter)
    add32(&p.rtp.relay_start, 1)


cdef void _stop(EngineState* e, Port* p) noexcept nogil:
    p.relaying = 0
    p.rtp.hold = 1
    p.rtp.hold_mark = load32(&e.relay_turn)


cdef void relay_end(EngineState* e, Port* p) noexcept nogil:
    """Back to mixing, both ports of the pair."""
    cdef Port* peer
    if not p.relaying:
        return
    peer = &e.port[p.relay]
    storei32(&p.rtp.relay_peer, -1)
    storei32(&peer.rtp.relay_peer, -1)
    _stop(e, p)
    _stop(e, peer)


cdef void _review_relays(EngineState* e) noexcept nogil:
    cdef int i, may
    cdef Port* a
    cdef Port* b
    for i in range(TDM_PORTS, e.nports):
        a = &e.port[i]
        if not a.open or a.relay <= i:
            continue
        b = &e.port[a.relay]
        may = _may_relay(e, a, b)
        if may and not a.relaying and not (a.rtp.hold or b.rtp.hold or a.rtp.renew or b.rtp.renew):
            _begin(a, b)
            _begin(b, a)
            storei32(&a.rtp.relay_peer, b.id)
            storei32(&b.rtp.relay_peer, a.id)
        elif not may and a.relaying:
            relay_end(e, a)


cdef int _may_send(EngineState* e, RtpPort* r) noexcept nogil:
    """Take the sending state back from the RTP thread once it cannot be inside it any more."""
    cdef uint32_t turn
    if r.hold:
        turn = load32(&e.relay_turn)
        if turn == r.hold_mark and turn & 1:
            return 0
        r.hold = 0
        if <int32_t>(r.tx_last_ts - r.tx_ts) > 0:
            store32(&r.tx_ts, r.tx_last_ts)
    if r.renew:
        rtp_reset_sender(e, r)
    return 1


# --- hearing -----------------------------------------------------------------------------------------------------------

cdef void _hear_line(EngineState* e, Port* p) noexcept nogil:
    cdef short raw[80]
    cdef short reference[80]
    cdef short* sent = p.sent[(e.tick - e.depth) % WORLD_BLOCKS]
    e.seam.capture(e, p.id, raw)
    if p.clear:
        memcpy(p.heard, raw, sizeof(p.heard))
        return
    highpass_run(&p.captured_high, raw, raw, BLOCK)
    highpass_run(&p.reference_high, sent, reference, BLOCK)
    if p.echo == NULL or p.relay == p.id:      # in a loop the canceller would take the voice for its own echo
        memcpy(p.heard, raw, sizeof(p.heard))
    else:
        echo_process(p.echo, reference, raw, p.heard, BLOCK)
    _gain(p.heard, p.rx_gain)


cdef void _watch_stream(EngineState* e, Port* p) noexcept nogil:
    """RtpStarted, and RtpSilent once a second while nothing arrives."""
    cdef RtpPort* r = p.rtp
    cdef uint32_t now = load32(&r.rx_packets)
    cdef pay_line d
    cdef uint64_t silent
    if now != r.seen_packets:
        r.seen_packets = now
        r.heard_tick = e.tick
        if not r.heard:
            r.heard = 1
            emit(e, EVT_RTP_STARTED, p.id, tick_ms(e), NULL, 0)
    elif r.receive:
        silent = e.tick - r.heard_tick
        if silent and silent % 100 == 0:
            memset(&d, 0, sizeof(d))
            d.on = <int32_t>(silent * 10)
            if r.heard or silent == 100:
                emit(e, EVT_RTP_SILENT, p.id, tick_ms(e), &d, sizeof(d))
            else:
                emit_lossy(e, EVT_RTP_SILENT, p.id, tick_ms(e), &d, sizeof(d))
            r.heard = 0


cdef void _keys(EngineState* e, Port* p) noexcept nogil:
    """RFC 4733 keys of the telephone: barge in, and give the bridge the tone."""
    cdef RtpPort* r = p.rtp
    cdef uint32_t count = load32(&r.key_count), now = load32(&r.key_now)
    cdef char digit
    if count != r.seen_keys:
        r.seen_keys = count
        digit = <char>now if now else r.rx.key
        player_digit(e, p, digit)
        if p.relay >= 0 and p.bridge < 0 and not p.relaying:
            r.inject = digit
            r.inject_left = 60
            dtmf_gen_init(&r.inject_gen, &digit, 1, 6000, 20, -9.0, 8000)
    if r.inject:
        if now == 0 and r.inject_left <= 0 or p.relay < 0:
            r.inject = 0
        elif not dtmf_gen_fill(&r.inject_gen, p.say, BLOCK):
            r.inject = 0
        r.inject_left -= 10


cdef void _hear_rtp(EngineState* e, Port* p) noexcept nogil:
    rtp_take_packets(e, p)
    if p.relaying:
        memset(p.heard, 0, sizeof(p.heard))
        return
    jitter_get(&p.rtp.jitter, e.tick, p.heard)


# --- the tick ----------------------------------------------------------------------------------------------------------

cdef void _hear(EngineState* e, Port* p) noexcept nogil:
    if p.rtp == NULL:
        _hear_line(e, p)
    else:
        _watch_stream(e, p)
        _hear_rtp(e, p)
    if not p.relaying:
        detect_block(e, p)
    if p.agc_on and not p.clear:
        agc_run(&p.agc, p.heard, p.say, BLOCK, echo_power(e, p))
    else:
        memcpy(p.say, p.heard, sizeof(p.say))
    if p.mute_digits and p.dtmf_heard and p.bridge >= 0 and not p.clear:
        dtmf_mute_process(&p.mute, &p.dtmf, p.say, BLOCK)
    if p.rtp != NULL:
        _keys(e, p)


cdef void _whisper(EngineState* e, Port* p) noexcept nogil:
    """What the port says goes to one other member of its bridge."""
    cdef Port* to = &e.port[p.whisper]
    cdef int i
    if p.bridge < 0 or not to.open or to.bridge != p.bridge or to == p:
        return
    if not to.whispered:
        memset(to.aside, 0, sizeof(to.aside))
        to.whispered = 1
    for i in range(BLOCK):
        to.aside[i] += p.say[i]


cdef void _speak(EngineState* e, Port* p) noexcept nogil:
    cdef short extra[80]
    cdef int32_t v
    cdef int i
    cdef int32_t* sum
    cdef Port* peer
    cdef int keyed
    if p.relaying:
        store32(&p.rtp.tx_ts, p.rtp.tx_ts + p.rtp.ts_block)
        return
    keyed = player_keys(e, p) if p.rtp != NULL and _may_send(e, p.rtp) else 0
    if p.bridge >= 0 and p.hear:
        sum = e.sums[p.bridge]
        for i in range(BLOCK):
            v = sum[i] - (p.say[i] if p.speak else 0)
            if p.whispered:
                v += p.aside[i]
            p.out[i] = _clip(v)
    elif p.bridge < 0 and p.relay >= 0 and e.port[p.relay].open and e.port[p.relay].bridge < 0:
        peer = &e.port[p.relay]
        memcpy(p.out, peer.say, sizeof(p.out))
    else:
        memset(p.out, 0, sizeof(p.out))
    if p.player.kind != PLAYER_IDLE and player_fill(e, p, extra):
        for i in range(BLOCK):
            p.out[i] = _clip(<int32_t>p.out[i] + extra[i])
    if p.recorder >= 0:
        recorder_push(e, p)
    if p.rtp == NULL:
        if not p.clear:
            _gain(p.out, p.tx_gain)
        memcpy(p.sent[e.tick % WORLD_BLOCKS], p.out, sizeof(p.out))
        p.sent_power[e.tick % WORLD_BLOCKS] = frame_power(p.out, BLOCK)
        e.seam.playback(e, p.id, p.out)
    elif p.rtp.hold:
        store32(&p.rtp.tx_ts, p.rtp.tx_ts + p.rtp.ts_block)
    else:
        rtp_send_block(e, p, NULL if keyed else p.out)


cdef void mixer_tick(EngineState* e) noexcept nogil:
    """All audio of one tick."""
    cdef int i, k
    cdef Port* p
    cdef int32_t* sum
    cdef short zeros[80]
    memset(zeros, 0, sizeof(zeros))
    memset(e.members, 0, sizeof(e.members))
    for i in range(e.nports):
        p = &e.port[i]
        if p.open and p.bridge >= 0:
            if e.members[p.bridge] == 0:
                memset(e.sums[p.bridge], 0, sizeof(e.sums[0]))
            e.members[p.bridge] += 1
    _review_relays(e)
    for i in range(e.nports):
        p = &e.port[i]
        if not p.open:
            continue
        p.whispered = 0
        _hear(e, p)
        if p.bridge >= 0 and p.speak and not p.relaying:
            sum = e.sums[p.bridge]
            for k in range(BLOCK):
                sum[k] += p.say[k]
    for i in range(e.nports):
        if e.port[i].open and e.port[i].whisper >= 0:
            _whisper(e, &e.port[i])
    for i in range(e.nports):
        p = &e.port[i]
        if p.open:
            _speak(e, p)
            gauge_block(e, p)
        elif i < TDM_PORTS:
            e.seam.playback(e, i, zeros)
