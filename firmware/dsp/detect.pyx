# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a port's telephone says, recognised: DTMF, tones, FSK, voice (L2).

Theory of operation. Each block runs through the detectors that core set for the port. In-band DTMF is looked for on line
ports and on RTP ports without telephone events (a phone that sends both would count each key twice). A digit is reported
when it ends, with its length; the player of the port is stopped when it begins. While `mute_digits` is on, the bridge gets
silence from the first suspicion of a key to 20 ms after its end, so the far side hears at most the onset.
Voice: power smoothed over 50 ms against a noise floor that follows dips at once and rises 3 dB/s; active after 60 ms at 9 dB
above the floor and above -42 dBm0, inactive after 400 ms below. On a line what is more than 6 dB below our own sound of the
last 130 ms is taken for its echo (Geigel's comparison, IEEE Trans. Commun. 1978): who speaks while the other side still rings
is not the one who answers.
"""
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.dtmf cimport DTMF_END, DTMF_START, DtmfHit, dtmf_det_feed, dtmf_det_init
from firmware.dsp.emit cimport emit, tick_ms
from firmware.dsp.gauge cimport own_power
from firmware.dsp.fsk cimport fsk_rx_feed
from firmware.dsp.player cimport player_digit
from firmware.dsp.state cimport *
from firmware.dsp.tone cimport TONE_HEARD, TONE_STOPPED, tone_age_ms, tone_front_feed, tone_track_frame

cdef enum:
    VOICE_LEAST = 16300         # mean square of -42 dBm0: (22750 / sqrt 2)^2 / 10^4.2
    MUTE_TAIL = 2               # blocks


cdef void detect_reset(Port* p) noexcept nogil:
    """No detector, as after opening a port."""
    p.digits = 0
    p.tones = 0
    p.fsk = 0
    p.mute_digits = 0
    p.dtmf_muting = 0
    p.dtmf_tail = 0
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
    if p.dtmf.tentative or p.dtmf.digit:
        p.dtmf_muting = 1
        p.dtmf_tail = MUTE_TAIL
    elif p.dtmf_tail > 0:
        p.dtmf_tail -= 1
    else:
        p.dtmf_muting = 0


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


cdef void detect_block(EngineState* e, Port* p) noexcept nogil:
    """Run the port's detectors over the block it just heard."""
    cdef pay_tone t
    cdef pay_fsk f
    cdef int i, flags, n, used, whole
    if (p.digits or p.mute_digits or (p.player.kind == PLAYER_CLIPS and p.player.stop_on_digit)) and (
            p.rtp == NULL or p.rtp.dtmf_type < 0):
        _digits(e, p)
    else:
        p.dtmf_muting = 0
    whole = p.tones > 0 and tone_front_feed(&p.tone_front, p.heard, BLOCK, &used)
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
    if p.fsk:
        n = fsk_rx_feed(&p.fsk_rx, p.heard, BLOCK)
        if n > 0:
            memset(&f, 0, sizeof(f))
            f.standard = p.fsk - 1
            f.count = n if n <= 260 else 260
            memcpy(f.data, p.fsk_rx.message, f.count)
            emit(e, EVT_FSK_MESSAGE, p.id, tick_ms(e), &f, sizeof(f))
    if p.voice.on:
        _voice(e, p)
