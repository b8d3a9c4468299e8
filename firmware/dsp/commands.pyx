# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Commands of core, checked and carried out at the start of a tick (L2).

Theory of operation. Core is not trusted: ids, ranges and states are checked here once more, whatever packed the command.
Each command is answered by `done(seq)` or `failed(seq, code)`, after the events it caused itself (the ports of a snapshot).
`RUN_LIMIT` commands are taken per tick, so that a burst cannot stretch a tick.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport *
from firmware.dsp.agc cimport agc_init
from firmware.dsp.answer_tone cimport answer_init
from firmware.dsp.cid cimport cid_rx_init
from firmware.dsp.detect cimport detect_reset
from firmware.dsp.dtmf cimport dtmf_det_init, dtmf_gen_init
from firmware.dsp.dtmf_mute cimport dtmf_mute_init
from firmware.dsp.echo cimport ECHO_BYPASS, ECHO_NORMAL, echo_reset, echo_set_mode
from firmware.dsp.emit cimport emit, tick_ms
from firmware.dsp.fsk cimport fsk_rx_init, fsk_tx_init, fsk_tx_lead
from firmware.dsp.gauge cimport gauge_start, learned_keep, learned_use
from firmware.dsp.highpass cimport highpass_init
from firmware.dsp.codec cimport CODEC_KINDS, codec_clock, codec_init, codec_ptime, codec_size
from firmware.dsp.jitter cimport jitter_codec, jitter_init, jitter_restart
from firmware.dsp.learner cimport learn_reset
from firmware.dsp.mixer cimport relay_end
from firmware.dsp.player cimport player_end
from firmware.dsp.recorder cimport recorder_mask, recorder_start, recorder_stop
from firmware.dsp.rtp cimport rtp_alike, rtp_counts, rtp_reset_sender
from firmware.dsp.rtp_secure cimport secure_want
from firmware.dsp.rtp_side cimport rtp_generation
from firmware.dsp.scan_build cimport scan_ask_drive, scan_ask_pulse
from firmware.dsp.snapshot cimport snapshot
from firmware.dsp.srtp cimport SECURE_LATER
from firmware.dsp.state cimport *
from firmware.dsp.tone cimport ToneShape, tone_front_init, tone_gen_init, tone_track_init

cdef enum:
    RUN_LIMIT = 256
    FSK_EVERY = 3               # of body_detect
    HOLD_MOST = 60000           # ms

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)


cdef void _unrelay(EngineState* e, Port* p) noexcept nogil:
    if p.relay < 0:
        return
    relay_end(e, p)
    e.port[p.relay].relay = -1  # of a looped port that is itself
    p.relay = -1


cdef void _sync_keys(Port* p) noexcept nogil:
    """The RTP thread's copy of what core wants of keys."""
    if p.rtp != NULL:
        storei32(&p.rtp.report_keys, p.digits)


cdef void port_close(EngineState* e, Port* p) noexcept nogil:
    """Out of bridge and relay; player, recorder and detectors stopped; an RTP port stops receiving."""
    if not p.open:
        return
    _unrelay(e, p)
    player_end(e, p, 0, 0)
    recorder_stop(e, p)
    learned_keep(e, p)
    gauge_start(e, p, 0, 0)
    p.bridge = -1
    p.open = 0
    detect_reset(p)
    _sync_keys(p)
    p.tag[0] = 0
    if p.rtp != NULL:
        secure_want(e, p.rtp, 0, NULL, NULL)
        p.rtp.later = 0
        add32(&p.rtp.opened, 1)
        store32(&p.rtp.generation, 0)


cdef void shut_all(EngineState* e) noexcept nogil:
    """Dead-man: nobody controls these calls any more. Close everything and put the lines on hook."""
    cdef int i
    for i in range(e.nports):
        port_close(e, &e.port[i])
    for i in range(TDM_PORTS):
        if e.scan.chip[i].used:
            scan_ask_drive(e, i, LINE_ON_HOOK if e.scan.chip[i].kind == SCAN_FXO else FEED_ACTIVE, 0, 0)
        elif e.line[i].kind == SCAN_FXO:
            e.seam.drive(e, i, LINE_ON_HOOK)
        elif e.line[i].kind == SCAN_FXS:
            e.seam.drive(e, i, FEED_ACTIVE)


cdef void _fresh(Port* p) noexcept nogil:
    """A port as it is when it opens."""
    p.bridge = -1
    p.whisper = -1
    p.relay = -1
    p.recorder = -1
    p.player.kind = PLAYER_IDLE
    p.clear = 0
    p.agc_on = 0
    p.measure = 0
    detect_reset(p)


cdef int _configure_rtp(EngineState* e, Port* p, const body_rtp* b, int fresh) noexcept nogil:
    cdef RtpPort* r = p.rtp
    cdef int moved
    if b.codec < 0 or b.codec >= CODEC_KINDS or b.ptime_ms < 10 or b.ptime_ms > 60 or b.payload_type < 0 or b.payload_type > 127:
        return FAIL_RANGE
    if b.suite > SECURE_LATER or b.remote.port > 65535 or b.rtcp.port > 65535 or b.dtmf_type < -1 or b.dtmf_type > 127 or b.dtmf_type == b.payload_type or (b.dtmf_khz != 8 and b.dtmf_khz != 48):
        return FAIL_RANGE
    moved = fresh or (net_known(&b.remote) and not net_same(&r.sdp, &b.remote))
    relay_end(e, p)             # the next tick relays again if that is still right
    if b.suite != SECURE_LATER or fresh or not r.later:
        secure_want(e, r, b.suite, b.send_key, b.receive_key)
    r.later = b.suite == SECURE_LATER
    if fresh:
        storei32(&r.pinned, 0)
        add32(&r.opened, 1)
    r.sdp = b.remote
    if r.pinned:
        moved = 0               # what ICE has nominated holds
    else:
        box_put(&r.remote, &b.remote, 0)
    box_put(&r.rtcp_to, &b.rtcp, 0)
    storei32(&r.mux, b.mux != 0)
    storei32(&r.clock_khz, codec_clock(b.codec) // 1000)
    r.coder_memory = e.coder_memory + (p.id - TDM_PORTS) * codec_size()
    if fresh or b.codec != r.codec:
        r.renew = not fresh and codec_clock(b.codec) != r.coder.clock
        codec_init(&r.coder, b.codec, 8000, r.coder_memory)
    store32(&r.ts_block, <uint32_t>(codec_clock(b.codec) // 100))
    storei32(&r.codec, b.codec)
    storei32(&r.dtmf_khz, b.dtmf_khz)
    storei32(&r.comfort_noise, b.comfort_noise)
    storei32(&r.payload_type, b.payload_type)
    storei32(&r.dtmf_type, b.dtmf_type)
    storei32(&r.send, 1 if b.send else 0)
    storei32(&r.receive, 1 if b.receive else 0)
    r.ptime = codec_ptime(b.codec, b.ptime_ms + 5) * 8
    r.fill = 0
    r.heard_tick = e.tick
    if fresh:
        jitter_init(&r.jitter, e.jitter_least, e.jitter_most)
        jitter_codec(&r.jitter, &r.coder)
        rtp_reset_sender(e, r)
        r.before = rtp_counts(r)
        r.seen_packets = r.before.rx
        r.seen_keys = load32(&r.key_count)
        r.heard = 0
        r.inject = 0
        store64(&r.packets.tail, load64(&r.packets.head))
    elif not b.receive:
        jitter_restart(&r.jitter)       # nothing is heard from now on, no background either
    if moved:
        rtp_generation(r)
    memcpy(p.tag, b.tag, RING_TAG)
    p.tag[RING_TAG - 1] = 0
    return 0


cdef int _open_rtp(EngineState* e, Port* p, const body_rtp* b, int update) noexcept nogil:
    cdef int code
    if p.rtp == NULL:
        return FAIL_PORT
    if update != p.open:
        return FAIL_STATE
    code = _configure_rtp(e, p, b, not update)
    if code == 0 and not update:
        p.open = 1
        _fresh(p)
        _sync_keys(p)
    return code


cdef int _open_line(EngineState* e, Port* p, const body_line* b) noexcept nogil:
    cdef int i, want = b.echo_tail_ms
    if p.rtp != NULL:
        return FAIL_PORT
    if not (0 <= b.rx_gain <= 16 and 0 <= b.tx_gain <= 16) or want > 128:
        return FAIL_RANGE
    if not p.open:
        _fresh(p)
        memset(p.sent, 0, sizeof(p.sent))
        memset(p.sent_power, 0, sizeof(p.sent_power))
        highpass_init(&p.captured_high, 8000)
        highpass_init(&p.reference_high, 8000)
    else:
        learned_keep(e, p)
    p.rx_gain = b.rx_gain
    p.tx_gain = b.tx_gain
    i = 0 if want <= 16 else (1 if want <= 32 else (2 if want <= 64 else 3))
    p.echo = p.echoes[i] if want else NULL
    p.line = b.line
    if p.echo != NULL:
        echo_reset(p.echo)
        echo_set_mode(p.echo, ECHO_BYPASS if p.clear else ECHO_NORMAL)
    learned_use(e, p)
    memcpy(p.tag, b.tag, RING_TAG)
    p.tag[RING_TAG - 1] = 0
    p.open = 1
    return 0


cdef int _play(EngineState* e, Port* p, const body_play* b) noexcept nogil:
    cdef int i
    if b.count < 1 or b.count > RING_CLIPS or not 0 <= b.gain <= 16:
        return FAIL_RANGE
    for i in range(b.count):
        if b.clips[i] >= loadi32(<int32_t*>&e.nclips) or loadi32(<int32_t*>&e.clips[b.clips[i]].n) < 0:
            return FAIL_CLIP
    player_end(e, p, 0, 0)
    p.player.token = b.token
    p.player.gain = b.gain
    p.player.loop = b.loop
    p.player.stop_on_digit = b.stop_on_digit
    p.player.count = b.count
    memcpy(p.player.clips, b.clips, b.count * sizeof(uint16_t))
    p.player.index = 0
    p.player.at = 0
    p.player.kind = PLAYER_CLIPS
    return 0


cdef int _shape(const body_spec* s, ToneShape* shape) noexcept nogil:
    """The tone that core named, or 0 when it is none."""
    cdef int i
    memset(shape, 0, sizeof(ToneShape))
    if s.nfreq < 1 or s.nfreq > 4 or s.nphases > 8 or s.cycles < 1 or not -60 <= s.level_dbm0 <= 3:
        return 0
    for i in range(s.nfreq):
        if not 50 <= s.freqs[i] <= 3900:
            return 0
        shape.freqs[i] = s.freqs[i]
    for i in range(s.nphases):
        if s.cadence_ms[i] < 1 or s.cadence_ms[i] > 60000 or s.mask[i] >> s.nfreq or not -40 <= s.level_db[i] <= 20:
            return 0
        shape.cadence_ms[i] = s.cadence_ms[i]
        shape.mask[i] = s.mask[i]
        shape.level_db[i] = s.level_db[i]
    shape.nfreq = s.nfreq
    shape.nphases = s.nphases
    shape.cycles = s.cycles
    shape.level_dbm0 = s.level_dbm0
    return 1


cdef int _tone(EngineState* e, Port* p, const body_tone* b) noexcept nogil:
    cdef ToneShape shape
    if not _shape(&b.spec, &shape) or b.duration_ms < 0:
        return FAIL_RANGE
    player_end(e, p, 0, 0)
    if tone_gen_init(&p.player.tone, &shape, 8000) < 0:
        return FAIL_RANGE
    p.player.token = b.token
    p.player.left = <int64_t>b.duration_ms * 8 if b.duration_ms else -1
    p.player.kind = PLAYER_TONE
    return 0


cdef int _dtmf(EngineState* e, Port* p, const body_dtmf* b) noexcept nogil:
    cdef int i, k, known
    cdef const char* names = "0123456789*#ABCD"
    if b.count < 1 or b.count > RING_DIGITS or b.on_ms < 40 or b.on_ms > 2000 or b.off_ms < 20 or b.off_ms > 2000 or not -40 <= b.level_dbm0 <= 3:
        return FAIL_RANGE
    for i in range(b.count):
        known = 0
        for k in range(16):
            known |= names[k] == b.digits[i]
        if not known:
            return FAIL_RANGE
    player_end(e, p, 0, 0)
    p.player.token = b.token
    if p.rtp != NULL and p.rtp.dtmf_type >= 0:
        memcpy(p.player.digits, b.digits, b.count)
        p.player.count = b.count
        p.player.on = ((b.on_ms + 9) // 10) * 10
        p.player.off = ((b.off_ms + 9) // 10) * 10
        p.player.index = 0
        p.player.phase_ms = 0
        p.player.ending = 0
        p.player.kind = PLAYER_EVENTS
        return 0
    if dtmf_gen_init(&p.player.dtmf, b.digits, b.count, b.on_ms, b.off_ms, b.level_dbm0, 8000) < 0:
        return FAIL_RANGE
    p.player.kind = PLAYER_DTMF
    return 0


cdef int _fsk(EngineState* e, Port* p, const body_fsk* b) noexcept nogil:
    cdef int standard = b.standard & 0xFF                 # 0x100: to a telephone in a call
    if standard > 1 or b.standard > 0x101 or b.count < 1 or b.count > sizeof(p.stage) or not -40 <= b.level_dbm0 <= 3:
        return FAIL_RANGE
    player_end(e, p, 0, 0)
    if fsk_tx_init(&p.player.fsk, p.stage, b.count, standard, b.level_dbm0, 8000) < 0:
        return FAIL_RANGE
    if b.standard & 0x100:
        fsk_tx_lead(&p.player.fsk, 0, 80)                 # GR-30 2.4.2, ETSI EN 300 659-2
    p.player.token = b.token
    p.player.kind = PLAYER_FSK
    return 0


cdef int _detect(EngineState* e, Port* p, const body_detect* b) noexcept nogil:
    if b.fsk > FSK_EVERY or b.tones > 8 or (b.learn and p.rtp != NULL):
        return FAIL_RANGE
    if (b.digits != 0) != (p.digits != 0):
        dtmf_det_init(&p.dtmf, 8000)
    p.digits = b.digits != 0
    p.tones = 0                 # the detectors follow one by one
    tone_front_init(&p.tone_front, 8000)
    p.fax = b.fax != 0
    if p.fax:
        answer_init(&p.answer)
    if b.learn and not p.learn and e.kept[p.id % TDM_PORTS] != NULL and not load32(&e.learning[p.id % TDM_PORTS]):
        learn_reset(e.kept[p.id % TDM_PORTS])
    p.learn = b.learn != 0
    if b.fsk == FSK_EVERY and b.fsk != p.fsk:
        cid_rx_init(&p.cid, 8000)
    elif b.fsk and b.fsk != p.fsk:
        fsk_rx_init(&p.cid.fsk, b.fsk - 1, 8000)
    p.fsk = b.fsk
    if not (b.voice and p.voice.on):
        memset(&p.voice, 0, sizeof(Voice))
        p.voice.on = b.voice != 0
    _sync_keys(p)
    return 0


cdef int _detect_tone(Port* p, const body_detect_tone* b) noexcept nogil:
    cdef ToneShape shape
    if b.index > 7 or <int>b.index != p.tones or not _shape(&b.spec, &shape):
        return FAIL_RANGE
    if tone_track_init(&p.tone[b.index], &shape) < 0:
        return FAIL_RANGE
    memcpy(p.tone_name[b.index], b.spec.name, RING_NAME)
    p.tones += 1
    return 0


cdef int _relay(EngineState* e, Port* p, int peer) noexcept nogil:
    if peer >= e.nports or (peer != p.id and (p.rtp == NULL or e.port[peer].rtp == NULL)):
        return FAIL_RANGE
    if not e.port[peer].open:
        return FAIL_STATE
    if p.relay == peer:
        return 0
    if peer != p.id and not rtp_alike(p.rtp, e.port[peer].rtp):
        return FAIL_STATE       # nothing to relay: core bridges them
    _unrelay(e, p)
    _unrelay(e, &e.port[peer])
    p.relay = peer
    e.port[peer].relay = p.id
    return 0


cdef int _join(EngineState* e, Port* p, const body_join* b) noexcept nogil:
    if b.bridge >= BRIDGES or b.whisper < -1 or b.whisper >= e.nports or b.whisper == p.id:
        return FAIL_RANGE
    p.bridge = b.bridge
    p.hear = b.hear != 0
    p.speak = b.speak != 0 and b.whisper < 0
    p.whisper = b.whisper
    return 0


cdef int _drive(EngineState* e, int slot, const body_drive* b) noexcept nogil:
    cdef int code = <int>b.code
    if b.code > FEED_REVERSED_TX or b.then > FEED_REVERSED_TX or b.hold_ms > HOLD_MOST:
        return FAIL_RANGE
    if e.scan.chip[slot].used:
        return scan_ask_drive(e, slot, code, <int>b.hold_ms, <int>b.then)
    e.seam.drive(e, slot, b.code)
    e.hold_left[slot] = <int>b.hold_ms
    e.hold_then[slot] = <int>b.then
    return 0


cdef void _holds(EngineState* e) noexcept nogil:
    """Timed drives of lines without chips, in steps of a tick."""
    cdef int slot
    for slot in range(TDM_PORTS):
        if e.hold_left[slot] > 0:
            e.hold_left[slot] -= 10
            if e.hold_left[slot] <= 0:
                e.seam.drive(e, slot, <uint32_t>e.hold_then[slot])


cdef int _watch(EngineState* e, int slot, uint32_t kind) noexcept nogil:
    cdef Line* n
    if slot >= TDM_PORTS:
        return FAIL_PORT
    if kind > SCAN_FXS:
        return FAIL_RANGE
    n = &e.line[slot]
    if loadi32(&n.kind) != <int32_t>kind:
        n.battery = 2
        n.battery_raw = 2
        n.polarity_raw = 2
        n.polarity_known = 0
        n.level_told = 0
        n.ringing = n.closed = n.flowing = n.reversed = 0
        n.loop_raw = n.flow_raw = n.sign = 0
        storei32(&n.kind, kind)
    return 0


cdef int _agc(Port* p, const body_agc* b) noexcept nogil:
    if not b.on:
        p.agc_on = 0
        return 0
    if agc_init(&p.agc, 8000, b.target_dbm0, b.most_db):
        return FAIL_RANGE
    p.agc_on = 1
    return 0


cdef void _clear(Port* p, int on) noexcept nogil:
    """Fax and modems: nothing may touch the samples, and a canceller must not learn from them."""
    p.clear = on
    if p.echo != NULL:
        echo_set_mode(p.echo, ECHO_BYPASS if on else ECHO_NORMAL)


cdef int _asks(int t, const void* b) noexcept nogil:
    """Whether a switch is to be turned on."""
    return (<const body_agc*>b).on if t == CMD_AGC else (<const body_flag*>b).on


cdef int _run(EngineState* e, const ring_command* c) noexcept nogil:
    cdef Port* p
    cdef const void* b = <const void*>c.body
    cdef int t = c.type
    cdef body_line line
    if t == CMD_SNAPSHOT:
        snapshot(e)
        return 0
    if c.port >= e.nports or (c.port >= TDM_PORTS and e.port[c.port].rtp == NULL):
        return FAIL_PORT
    p = &e.port[c.port]
    if t == CMD_OPEN_RTP or t == CMD_UPDATE_RTP:
        return _open_rtp(e, p, <const body_rtp*>b, t == CMD_UPDATE_RTP)
    if t == CMD_OPEN_LINE:
        return _open_line(e, p, <const body_line*>b)
    if t == CMD_CLOSE:
        port_close(e, p)
        return 0
    if t == CMD_DRIVE:
        if c.port >= TDM_PORTS:
            return FAIL_PORT
        return _drive(e, c.port, <const body_drive*>b)
    if t == CMD_PULSE:
        if c.port >= TDM_PORTS:
            return FAIL_PORT
        return scan_ask_pulse(e, c.port, <const body_pulse*>b) if e.scan.chip[c.port].used else FAIL_STATE
    if t == CMD_LEARN:
        if c.port >= TDM_PORTS or e.kept[c.port] == NULL:
            return FAIL_PORT
        store32(&e.learning[c.port], 1)
        return 0
    if t == CMD_MASK:
        return 0 if recorder_mask(e, p, (<const body_flag*>b).on != 0) or not (<const body_flag*>b).on else FAIL_STATE
    if t == CMD_WATCH:
        return _watch(e, c.port, (<const body_word*>b).code)
    if (t < CMD_JOIN or t > CMD_STOP_RECORD) and (t < CMD_MEASURE or t > CMD_CLEAR_CHANNEL):
        return FAIL_TYPE
    if not p.open:
        if t == CMD_LEAVE or t == CMD_UNRELAY or t == CMD_STOP or t == CMD_STOP_RECORD or t == CMD_MEASURE or (
                (t == CMD_MUTE_DIGITS or t == CMD_CLEAR_CHANNEL or t == CMD_AGC) and not _asks(t, b)):
            return 0            # nothing to end
        if p.rtp != NULL:
            return FAIL_STATE
        memset(&line, 0, sizeof(line))
        line.rx_gain = line.tx_gain = 1.0
        _open_line(e, p, &line)
    if t == CMD_JOIN:
        return _join(e, p, <const body_join*>b)
    if t == CMD_LEAVE:
        p.bridge = -1
        p.whisper = -1
    elif t == CMD_RELAY:
        return _relay(e, p, (<const body_relay*>b).peer)
    elif t == CMD_UNRELAY:
        _unrelay(e, p)
    elif t == CMD_PLAY:
        return _play(e, p, <const body_play*>b)
    elif t == CMD_TONE:
        return _tone(e, p, <const body_tone*>b)
    elif t == CMD_STOP:
        player_end(e, p, 0, 0)
    elif t == CMD_DTMF:
        return _dtmf(e, p, <const body_dtmf*>b)
    elif t == CMD_STAGE:
        if (<const body_stage*>b).count > RING_STAGE or (<const body_stage*>b).offset + (<const body_stage*>b).count > <int>sizeof(p.stage):
            return FAIL_RANGE
        memcpy(&p.stage[(<const body_stage*>b).offset], (<const body_stage*>b).data, (<const body_stage*>b).count)
    elif t == CMD_FSK:
        return _fsk(e, p, <const body_fsk*>b)
    elif t == CMD_DETECT:
        return _detect(e, p, <const body_detect*>b)
    elif t == CMD_DETECT_TONE:
        return _detect_tone(p, <const body_detect_tone*>b)
    elif t == CMD_MUTE_DIGITS:
        if (<const body_flag*>b).on and not p.mute_digits:
            dtmf_mute_init(&p.mute, 8000)
        p.mute_digits = (<const body_flag*>b).on != 0
        _sync_keys(p)
    elif t == CMD_RECORD:
        if p.recorder >= 0:
            return FAIL_STATE
        if not recorder_start(e, p, (<const body_record*>b).file, (<const body_record*>b).token):
            return FAIL_ROOM
    elif t == CMD_MEASURE:
        gauge_start(e, p, (<const body_measure*>b).levels, (<const body_measure*>b).activity)
    elif t == CMD_AGC:
        return _agc(p, <const body_agc*>b)
    elif t == CMD_CLEAR_CHANNEL:
        _clear(p, (<const body_flag*>b).on != 0)
    elif t == CMD_STOP_RECORD:
        recorder_stop(e, p)
    return 0


cdef void _answer(EngineState* e, const ring_command* c, int code) noexcept nogil:
    cdef pay_answer d
    memset(&d, 0, sizeof(d))
    d.seq = c.seq
    d.code = code
    emit(e, EVT_FAILED if code else EVT_DONE, c.port, tick_ms(e) - 10, &d, sizeof(d))


cdef int run_commands(EngineState* e) noexcept nogil:
    """Carry out what core asked since the last tick; returns how many."""
    cdef ring_segment* s = e.ring
    cdef uint64_t head = load64(&s.command_head)
    cdef uint64_t tail = s.command_tail
    cdef ring_command c
    cdef int n = 0
    _holds(e)
    while tail < head and n < RUN_LIMIT:
        c = s.command[tail % RING_COMMANDS]     # a copy: what was checked cannot change under the check
        _answer(e, &c, _run(e, &c))
        if c.type == CMD_OPEN_RTP or c.type == CMD_UPDATE_RTP:      # keys stay nowhere
            explicit_bzero(c.body, sizeof(c.body))
            explicit_bzero(s.command[tail % RING_COMMANDS].body, sizeof(c.body))
        tail += 1
        n += 1
        store64(&s.command_tail, tail)
    return n


cdef void refuse_commands(EngineState* e) noexcept nogil:
    """At start: what was meant for an earlier media process fails."""
    cdef ring_segment* s = e.ring
    cdef uint64_t head = load64(&s.command_head)
    while s.command_tail < head:
        _answer(e, &s.command[s.command_tail % RING_COMMANDS], FAIL_LOST)
        explicit_bzero(s.command[s.command_tail % RING_COMMANDS].body, sizeof(s.command[0].body))
        store64(&s.command_tail, s.command_tail + 1)
