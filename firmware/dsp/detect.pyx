# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a port's telephone says, recognised: DTMF, tones, FSK, voice (L2).

Theory of operation. Each block runs through the detectors that core set for the port. In-band DTMF is looked for on line
ports and on RTP ports without telephone events (a phone that sends both would count each key twice). A digit is reported
when it ends, with its length; the player of the port is stopped when it begins. While `mute_digits` is on, the mixer mutes what
the bridge gets on the detector's suspicion, behind it and with ramps.
Tones of the exchange, of fax and modems, and the learner of disconnect tones share one front end; the learner keeps late sound, also
for a while after the port closed, and looks at it in the file thread when core asks.
Voice: power smoothed over 50 ms against a noise floor that follows dips at once and rises 3 dB/s; active after 60 ms at 9 dB
above the floor and above -42 dBm0, inactive after 400 ms below. On a line what is more than 6 dB below our own sound of the
last 130 ms is taken for its echo (Geigel's comparison, IEEE Trans. Commun. 1978): who speaks while the other side still rings
is not the one who answers.
"""
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.answer_tone cimport AnswerHit, answer_frame
from firmware.dsp.cid cimport CID_ALERT, CID_MESSAGE, cid_rx_feed
from firmware.dsp.dtmf cimport DTMF_END, DTMF_START, DtmfHit, dtmf_det_feed, dtmf_det_init
from firmware.dsp.dtmf_mute cimport dtmf_mute_init
from firmware.dsp.emit cimport emit, emit_from, tick_ms
from firmware.dsp.fsk cimport fsk_rx_feed
from firmware.dsp.gauge cimport own_power
from firmware.dsp.learner cimport learn_keep, learn_tone
from firmware.dsp.learner_pitch cimport LearntTone
from firmware.dsp.player cimport player_digit
from firmware.dsp.state cimport *
from firmware.dsp.tone cimport TONE_HEARD, TONE_STOPPED, tone_age_ms, tone_front_feed, tone_track_frame

cdef enum:
    FSK_EVERY = 3               # of body_detect
    VOICE_LEAST = 16300         # mean square of -42 dBm0: (22750 / sqrt 2)^2 / 10^4.2


cdef void detect_reset(Port* p) noexcept nogil:
    """No detector, as after opening a port."""
    p.digits = 0
    p.tones = 0
    p.fsk = 0
    p.fax = 0
    p.learn = 0
    p.mute_digits = 0
    p.dtmf_heard = 0
    dtmf_mute_init(&p.mute, 8000)
    memset(&p.voice, 0, sizeof(Voice))
    dtmf_det_init(&p.dtmf, 8000)


cdef void _digits(EngineState* e, Port* p) noexcept nogil:
    cdef DtmfHit hits[4]
    cdef pay_digit d
    cdef int i, n = dtmf_det_feed(&p.dtmf, p.heard, BLOCK, hits, 4)
    for i in range(n):
        if hits[i].kind == DTMF_START:
            player_digit(e, p, hits[i].digit)
        elif hits[i].kind == DTMF_END and p.digits:
            memset(&d, 0, sizeof(d))
            d.digit = hits[i].digit
            d.duration_ms = hits[i].duration_ms
            d.level_dbm0 = hits[i].level_dbm0
            emit(e, EVT_DIGIT, p.id, tick_ms(e), &d, sizeof(d))
    p.dtmf_heard = 1


cdef void _voice(EngineState* e, Port* p) noexcept nogil:
    cdef Voice* v = &p.voice
    cdef pay_line d
    cdef float power = 0
    cdef int i
    for i in range(BLOCK):
        power += <float>p.heard[i] * p.heard[i]
    if power / BLOCK < <float>0.25 * own_power(e, p):
        power = v.floor * BLOCK
    v.level += (power / BLOCK - v.level) * <float>0.2
    if v.level < v.floor or v.floor <= 0:
        v.floor = v.level if v.level > 1 else 1
    else:
        v.floor *= <float>1.0069
    if v.level > VOICE_LEAST and v.level > 8 * v.floor or (v.active and v.level > VOICE_LEAST and v.level > 4 * v.floor):
        v.run += 1
        v.quiet = 0
    else:
        v.quiet += 1
        if v.quiet > 5:
            v.run = 0
    memset(&d, 0, sizeof(d))
    if not v.active and v.run >= 6:
        v.active = 1
        d.on = 1
        emit(e, EVT_VOICE, p.id, tick_ms(e), &d, sizeof(d))
    elif v.active and v.quiet >= 40:
        v.active = 0
        emit(e, EVT_VOICE, p.id, tick_ms(e), &d, sizeof(d))


cdef void _fax(EngineState* e, Port* p) noexcept nogil:
    cdef AnswerHit hits[2]
    cdef pay_fax d
    cdef int i, n = answer_frame(&p.answer, &p.tone_front, hits)
    for i in range(n):
        memset(&d, 0, sizeof(d))
        d.kind = hits[i].kind
        d.start_at = tick_ms(e) - hits[i].start_ms_ago
        d.duration_ms = hits[i].duration_ms
        d.level_dbm0 = hits[i].level_dbm0
        d.confidence = hits[i].confidence
        emit(e, EVT_FAX_TONE, p.id, tick_ms(e), &d, sizeof(d))


cdef void learn_work(EngineState* e) noexcept nogil:
    """File thread: look at what was kept of the lines that core asked about."""
    cdef LearntTone t
    cdef pay_learned d
    cdef int slot, i
    for slot in range(TDM_PORTS):
        if not load32(&e.learning[slot]):
            continue
        memset(&t, 0, sizeof(t))
        learn_tone(e.kept[slot], e.learn_work, &t)
        memset(&d, 0, sizeof(d))
        d.reason = t.reason
        d.start_at = tick_ms(e) - t.start_ms_ago
        d.nfreq = t.nfreq
        d.nphases = t.nphases
        d.repetitions = t.repetitions
        d.level_dbm0 = t.level_dbm0
        d.confidence = t.confidence
        d.purity = t.purity
        d.jitter = t.jitter
        for i in range(4):
            d.freqs[i] = <float>t.freqs[i]
        for i in range(8):
            d.cadence_ms[i] = t.cadence_ms[i]
            d.level_db[i] = t.level_db[i]
        store32(&e.learning[slot], 0)
        emit_from(e, &e.file_lane, EVT_LEARNED_TONE, slot, tick_ms(e), &d, sizeof(d))


cdef void detect_block(EngineState* e, Port* p) noexcept nogil:
    """Run the port's detectors over the block it just heard."""
    cdef pay_tone t
    cdef pay_fsk f
    cdef pay_fax a
    cdef int i, flags, n, used, whole
    if (p.digits or p.mute_digits or (p.player.kind == PLAYER_CLIPS and p.player.stop_on_digit)) and (
            p.rtp == NULL or p.rtp.dtmf_type < 0):
        _digits(e, p)
    else:
        p.dtmf_heard = 0
    whole = (p.tones > 0 or p.fax or p.learn) and tone_front_feed(&p.tone_front, p.heard, BLOCK, &used)
    for i in range(p.tones if whole else 0):
        flags = tone_track_frame(&p.tone[i], &p.tone_front)
        if flags & (TONE_HEARD | TONE_STOPPED):
            memset(&t, 0, sizeof(t))
            memcpy(t.name, p.tone_name[i], RING_NAME)
            t.cycles = p.tone[i].cycles
            t.start_at = tick_ms(e) - tone_age_ms(&p.tone[i], &p.tone_front)
            t.confidence = p.tone[i].confidence
            t.level_dbm0 = p.tone[i].level_dbm0
            if flags & TONE_HEARD:
                emit(e, EVT_TONE_HEARD, p.id, tick_ms(e), &t, sizeof(t))
            if flags & TONE_STOPPED:
                emit(e, EVT_TONE_STOPPED, p.id, tick_ms(e), &t, sizeof(t))
    if p.fax and whole:
        _fax(e, p)
    if p.learn and whole and e.kept[p.id] != NULL and not load32(&e.learning[p.id]):
        learn_keep(e.kept[p.id], &p.tone_front)
    if p.fsk:
        if p.fsk < FSK_EVERY:
            n = CID_MESSAGE if fsk_rx_feed(&p.cid.fsk, p.heard, BLOCK) > 0 else 0
        else:
            n = cid_rx_feed(&p.cid, p.heard, BLOCK)
        if n & CID_MESSAGE:
            memset(&f, 0, sizeof(f))
            f.standard = p.cid.fsk.standard
            f.count = p.cid.fsk.length if p.cid.fsk.length <= 260 else 260
            memcpy(f.data, p.cid.fsk.message, f.count)
            emit(e, EVT_FSK_MESSAGE, p.id, tick_ms(e), &f, sizeof(f))
        if n & CID_ALERT:
            memset(&a, 0, sizeof(a))
            a.kind = p.cid.alert.kind
            a.duration_ms = p.cid.alert.duration_ms
            a.level_dbm0 = p.cid.alert.level_dbm0
            emit(e, EVT_ALERT_TONE, p.id, tick_ms(e), &a, sizeof(a))
    if p.voice.on:
        _voice(e, p)
