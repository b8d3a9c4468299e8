# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a port hears besides its bridge: clips, tones, DTMF, FSK and RFC 4733 keys, one at a time (L2).

Theory of operation. A clip list runs through without gaps between its clips. A player that ends posts exactly one event:
clips and timed tones `played`, DTMF `dtmf_sent`, FSK `fsk_sent`; one that is stopped or replaced posts `played` with
finished = 0, so that whoever waits for the token is told (a tone of token 0 posts nothing). `stop_on_digit` acts in the
tick that recognises the key, before core knows of it.
"""
from libc.stdint cimport int32_t, uint16_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.dtmf cimport dtmf_gen_fill
from firmware.dsp.emit cimport emit, tick_ms
from firmware.dsp.fsk cimport fsk_tx_fill
from firmware.dsp.g711 cimport LAW_PCMA, g711_decode
from firmware.dsp.rtp cimport rtp_send_key
from firmware.dsp.state cimport *
from firmware.dsp.tone cimport tone_gen_fill


cdef void player_end(EngineState* e, Port* p, int finished, char digit) noexcept nogil:
    """Stop the player and say how it ended."""
    cdef pay_played d
    cdef int kind = p.player.kind
    if kind == PLAYER_IDLE:
        return
    p.player.kind = PLAYER_IDLE
    if kind == PLAYER_TONE and p.player.token == 0:
        return
    memset(&d, 0, sizeof(d))
    d.token = p.player.token
    d.finished = finished
    d.digit = digit
    if finished and (kind == PLAYER_DTMF or kind == PLAYER_EVENTS):
        emit(e, EVT_DTMF_SENT, p.id, tick_ms(e), &d, sizeof(d))
    elif finished and kind == PLAYER_FSK:
        emit(e, EVT_FSK_SENT, p.id, tick_ms(e), &d, sizeof(d))
    else:
        emit(e, EVT_PLAYED, p.id, tick_ms(e), &d, sizeof(d))


cdef void player_digit(EngineState* e, Port* p, char digit) noexcept nogil:
    """The telephone pressed a key: barge in."""
    if p.player.kind == PLAYER_CLIPS and p.player.stop_on_digit:
        player_end(e, p, 0, digit)


cdef int _clips(EngineState* e, Port* p, short* out) noexcept nogil:
    cdef Player* y = &p.player
    cdef Clip* c
    cdef int done = 0, n, i, idle = 0
    cdef int32_t v
    while done < BLOCK:
        c = &e.clips[y.clips[y.index]]
        n = loadi32(<int32_t*>&c.n) - y.at
        if n > BLOCK - done:
            n = BLOCK - done
        if n < 0:
            n = 0                   # it was dropped: on to the next one
        if n:
            g711_decode(LAW_PCMA, &c.codes[y.at], &out[done], n)
        if y.gain != 1.0:
            for i in range(n):
                v = <int32_t>(out[done + i] * y.gain)
                out[done + i] = 32767 if v > 32767 else (-32768 if v < -32768 else v)
        done += n
        y.at += n
        idle = idle + 1 if n == 0 else 0
        if y.at >= c.n:
            y.at = 0
            y.index += 1
            if y.index >= y.count:
                y.index = 0
                if not y.loop or idle > y.count:
                    memset(&out[done], 0, (BLOCK - done) * sizeof(short))
                    player_end(e, p, 1, 0)
                    break
    return 1


cdef int player_fill(EngineState* e, Port* p, short* out) noexcept nogil:
    """80 samples of the player; 0 when it is silent."""
    cdef Player* y = &p.player
    cdef int n, i, running
    if y.kind == PLAYER_CLIPS:
        return _clips(e, p, out)
    if y.kind == PLAYER_TONE:
        tone_gen_fill(&y.tone, out, BLOCK)
        if y.left >= 0:
            n = <int>y.left if y.left < BLOCK else BLOCK
            for i in range(n, BLOCK):
                out[i] = 0
            y.left -= n
            if y.left <= 0:
                player_end(e, p, 1, 0)
        return 1
    if y.kind == PLAYER_DTMF:
        running = dtmf_gen_fill(&y.dtmf, out, BLOCK)
        if not running:
            player_end(e, p, 1, 0)
        return 1
    if y.kind == PLAYER_FSK:
        running = fsk_tx_fill(&y.fsk, out, BLOCK)
        if not running:
            player_end(e, p, 1, 0)
        return 1
    return 0


cdef int player_keys(EngineState* e, Port* p) noexcept nogil:
    """RFC 4733 sending on an RTP port; 1 while a key takes the place of audio."""
    cdef Player* y = &p.player
    cdef int busy = 0
    if y.kind != PLAYER_EVENTS:
        return 0
    y.phase_ms += 10
    if y.ending > 0:            # two more copies of the end packet
        rtp_send_key(e, p, y.digits[y.index], y.event_ts, y.event_length, 0, 1)
        y.ending -= 1
        busy = 1
    elif y.phase_ms <= y.on:
        busy = 1
        if y.phase_ms == 10:
            y.event_ts = p.rtp.tx_ts
        y.event_length = y.phase_ms * p.rtp.dtmf_khz
        if y.phase_ms + 10 > y.on:
            rtp_send_key(e, p, y.digits[y.index], y.event_ts, y.event_length, 0, 1)
            y.ending = 2
        elif y.phase_ms == 10 or y.phase_ms % 20 == 0:
            rtp_send_key(e, p, y.digits[y.index], y.event_ts, y.event_length, y.phase_ms == 10, 0)
    elif y.phase_ms >= y.on + y.off:
        y.phase_ms = 0
        y.index += 1
        if y.index >= y.count:
            player_end(e, p, 1, 0)
    return busy
