# cython: language_level=3
"""Commands packed into, and events unpacked from, the fixed structs of `ring_segment.h` (L2).

Theory of operation. Every function `pack_*` fills one C struct and returns its bytes, the body of a ring command;
`unpack` turns the payload of an event into a tuple whose shape the comment beside each branch gives. There is no second
description of the layout: the structs are those the engine reads. Values out of the range of a field raise ValueError
naming the field; the engine checks ids and ranges again, because it trusts no command.
"""
import socket

from libc.string cimport memcpy, memset

from firmware.dsp.address cimport *
from firmware.dsp.srtp cimport SECURE_LATER

COMMANDS = {
    "open_rtp": CMD_OPEN_RTP, "update_rtp": CMD_UPDATE_RTP, "open_line": CMD_OPEN_LINE, "close": CMD_CLOSE, "join": CMD_JOIN,
    "leave": CMD_LEAVE, "relay": CMD_RELAY, "unrelay": CMD_UNRELAY, "play": CMD_PLAY, "tone": CMD_TONE, "stop": CMD_STOP,
    "dtmf": CMD_DTMF, "stage": CMD_STAGE, "fsk": CMD_FSK, "detect": CMD_DETECT, "detect_tone": CMD_DETECT_TONE,
    "mute_digits": CMD_MUTE_DIGITS, "record": CMD_RECORD, "stop_record": CMD_STOP_RECORD, "drive": CMD_DRIVE, "watch": CMD_WATCH,
    "snapshot": CMD_SNAPSHOT, "measure": CMD_MEASURE, "agc": CMD_AGC, "clear_channel": CMD_CLEAR_CHANNEL, "mask": CMD_MASK,
    "learn": CMD_LEARN, "pulse": CMD_PULSE,
}
EVENTS = {
    EVT_DONE: "done", EVT_FAILED: "failed", EVT_EPOCH: "epoch", EVT_PORT: "port", EVT_DIGIT: "digit", EVT_PLAYED: "played",
    EVT_DTMF_SENT: "dtmf_sent", EVT_FSK_SENT: "fsk_sent", EVT_FSK_MESSAGE: "fsk_message", EVT_TONE_HEARD: "tone_heard",
    EVT_TONE_STOPPED: "tone_stopped", EVT_VOICE: "voice", EVT_RTP_STARTED: "rtp_started", EVT_RTP_SILENT: "rtp_silent",
    EVT_RECORDED: "recorded", EVT_RING_BURST: "ring_burst", EVT_BATTERY: "battery", EVT_POLARITY: "polarity",
    EVT_LOOP_CURRENT: "loop_current", EVT_LOOP: "loop", EVT_RING_TRIP: "ring_trip", EVT_ACTIVITY: "activity",
    EVT_ECHO_FILTER: "echo_filter", EVT_FAX_TONE: "fax_tone", EVT_LEARNED_TONE: "learned_tone", EVT_ALERT_TONE: "alert_tone",
    EVT_PULSE_SENT: "pulse_sent", EVT_PORT_HEALTH: "port_health",
}
FAILURES = {
    FAIL_PORT: "no such port, or it is not open", FAIL_RANGE: "a value is out of range", FAIL_STATE: "not possible in the port's state",
    FAIL_TYPE: "unknown command", FAIL_CLIP: "no such clip", FAIL_LOST: "the media process was replaced", FAIL_ROOM: "no free recorder",
}
CLIPS_MAX = RING_CLIPS
DIGITS_MAX = RING_DIGITS
STAGE_MAX = RING_STAGE
CODECS = ("pcmu", "pcma", "g722", "opus")     # by CODEC_* of codec.pxd
# SRTP: number (srtp.pyx) and bytes of master key and salt.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (1, 30), "AES_CM_128_HMAC_SHA1_32": (2, 30), "AES_256_CM_HMAC_SHA1_80": (3, 46), "AEAD_AES_128_GCM": (4, 28),
}
BODY_MAX = RING_BODY
BRIDGES_MOST = 127
LATER = "DTLS"


cdef object _within(str name, object value, object low, object high):
    if not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, must be {low} to {high}")
    return value


cdef void _text(char* out, int size, str value):
    cdef bytes raw = value.encode()[:size - 1]
    memset(out, 0, size)
    memcpy(out, <const char*>raw, len(raw))


cdef str _string(const char* raw, int size):
    return raw[:size].split(b"\0", 1)[0].decode("utf-8", "replace")


cdef int address_fill(net_address* to, object remote) except -1:
    """An address and UDP port in Python's form; "" is no address."""
    host, port = remote
    cdef bytes raw
    memset(to, 0, sizeof(net_address))
    if not host:
        return 0
    plain, _, scope = host.partition("%")
    try:
        raw = socket.inet_pton(socket.AF_INET6, plain) if ":" in plain else bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, plain)
    except OSError:
        raise ValueError(f"{host!r} is no IP address") from None
    to.high = int.from_bytes(raw[:8], "big")
    to.low = int.from_bytes(raw[8:], "big")
    to.port = _within("remote port", port, 0, 65535)
    to.scope = int(scope) if scope.isdigit() else 0
    return 0


cdef object address_text(const net_address* a):
    """(address, UDP port), None when it is not known."""
    if not net_known(a):
        return None
    raw = int(a.high).to_bytes(8, "big") + int(a.low).to_bytes(8, "big")
    if net_is_v4(a):
        return socket.inet_ntop(socket.AF_INET, raw[12:]), a.port
    return socket.inet_ntop(socket.AF_INET6, raw) + (f"%{a.scope}" if a.scope else ""), a.port


def pack_rtp(remote, str codec, payload_type, dtmf_type, ptime_ms, bint send, bint receive, str tag,
             dtmf_clock=8000, bint comfort_noise=False, str suite="", bytes send_key=b"", bytes receive_key=b"", rtcp=None, bint mux=False):
    """Body of open_rtp and update_rtp; `remote` and `rtcp` are (IPv4 or IPv6 address, UDP port) or None, `codec` is one of CODECS.

    `suite`: of SRTP, a key of SUITES, with master key and salt of both directions; LATER = DTLS brings them; "" = in clear.
    `rtcp`: where reports go if not to the port above that of RTP (RFC 3605); `mux`: to that of RTP itself (RFC 5761).
    """
    cdef body_rtp b
    memset(&b, 0, sizeof(b))
    address_fill(&b.remote, remote or ("", 0))
    address_fill(&b.rtcp, rtcp or ("", 0))
    b.mux = mux
    if codec not in CODECS:
        raise ValueError(f"codec is {codec!r}, must be one of {', '.join(CODECS)}")
    if dtmf_clock not in (8000, 48000):
        raise ValueError(f"dtmf_clock is {dtmf_clock!r}, must be 8000 or 48000")
    b.codec = CODECS.index(codec)
    b.dtmf_khz = dtmf_clock // 1000
    b.comfort_noise = comfort_noise
    if suite == LATER:
        b.suite = SECURE_LATER
    elif suite:
        if suite not in SUITES:
            raise ValueError(f"SRTP suite is {suite!r}, must be one of {', '.join(SUITES)}")
        b.suite, size = SUITES[suite]
        if len(send_key) != size or len(receive_key) != size:
            raise ValueError(f"{suite} needs keys of {size} bytes, not {len(send_key)} and {len(receive_key)}")
        memcpy(b.send_key, <const char*>send_key, size)
        memcpy(b.receive_key, <const char*>receive_key, size)
    b.payload_type = _within("payload type", payload_type, 0, 127)
    b.dtmf_type = _within("telephone-event type", -1 if dtmf_type is None else dtmf_type, -1, 127)
    b.ptime_ms = _within("ptime_ms", ptime_ms, 10, 60)
    b.send = send
    b.receive = receive
    _text(b.tag, sizeof(b.tag), tag)
    return (<char*>&b)[:sizeof(b)]


def pack_line(echo_tail_ms, rx_gain, tx_gain, str tag, uint64_t line=0):
    """Body of open_line; gains are linear factors, echo_tail_ms 0 = no canceller; `line`: identity of its echo filter, 0 = none."""
    cdef body_line b
    memset(&b, 0, sizeof(b))
    b.line = line
    b.echo_tail_ms = _within("echo_tail_ms", echo_tail_ms, 0, 128)
    b.rx_gain = _within("rx gain", rx_gain, 0.0, 16.0)
    b.tx_gain = _within("tx gain", tx_gain, 0.0, 16.0)
    _text(b.tag, sizeof(b.tag), tag)
    return (<char*>&b)[:sizeof(b)]


def pack_join(bridge, bint hear, bint speak, whisper=-1):
    """Body of join; `whisper`: the port that alone hears this one, -1 = all do."""
    cdef body_join b
    memset(&b, 0, sizeof(b))
    b.bridge = _within("bridge", bridge, 0, BRIDGES_MOST)
    b.hear = hear
    b.speak = speak
    b.whisper = _within("port whispered to", whisper, -1, GAUGE_PORTS - 1)
    return (<char*>&b)[:sizeof(b)]


def pack_relay(peer):
    """Body of relay."""
    cdef body_relay b
    memset(&b, 0, sizeof(b))
    b.peer = _within("peer port", peer, 0, GAUGE_PORTS - 1)
    return (<char*>&b)[:sizeof(b)]


def pack_play(token, clips, gain, bint loop, bint stop_on_digit):
    """Body of play: clip ids, at most CLIPS_MAX."""
    cdef body_play b
    cdef int i
    memset(&b, 0, sizeof(b))
    b.token = token
    b.gain = _within("gain", gain, 0.0, 16.0)
    b.loop = loop
    b.stop_on_digit = stop_on_digit
    b.count = _within("number of clips", len(clips), 1, RING_CLIPS)
    for i in range(b.count):
        b.clips[i] = clips[i]
    return (<char*>&b)[:sizeof(b)]


cdef int _spec(body_spec* s, str name, freqs, level, cadence, cycles, masks, levels) except -1:
    cdef int i
    s.nfreq = _within("number of frequencies", len(freqs), 1, 4)
    s.nphases = _within("number of cadence phases", len(cadence), 0, 8)
    if (masks and len(masks) != s.nphases) or (levels and len(levels) != s.nphases):
        raise ValueError(f"a cadence of {s.nphases} phases has {len(masks)} masks and {len(levels)} levels: give one for each, or none")
    for i in range(s.nfreq):
        s.freqs[i] = _within("frequency", freqs[i], 50.0, 3900.0)
    for i in range(s.nphases):
        s.cadence_ms[i] = _within("cadence phase", cadence[i], 1, 60_000)
        s.mask[i] = _within("mask", masks[i] if masks else 0 if i & 1 else (1 << s.nfreq) - 1, 0, (1 << s.nfreq) - 1)
        s.level_db[i] = _within("level of a phase", levels[i] if levels else 0.0, -40.0, 20.0)
    s.level_dbm0 = _within("level_dbm0", level, -60.0, 3.0)
    s.cycles = _within("cycles", cycles, 1, 1000)
    _text(s.name, sizeof(s.name), name)
    return 0


def pack_tone(token, duration_ms, str name, freqs, level, cadence, cycles, masks=(), levels=()):
    """Body of tone; `masks` and `levels` (dB) of the phases, () = all frequencies and none by turns, at one level."""
    cdef body_tone b
    memset(&b, 0, sizeof(b))
    b.token = token
    b.duration_ms = _within("duration_ms", duration_ms, 0, 86_400_000)
    _spec(&b.spec, name, freqs, level, cadence, cycles, masks, levels)
    return (<char*>&b)[:sizeof(b)]


def pack_detect_tone(index, str name, freqs, level, cadence, cycles, masks=(), levels=()):
    """Body of detect_tone: detector `index` 0..7 of the set that detect announced."""
    cdef body_detect_tone b
    memset(&b, 0, sizeof(b))
    b.index = _within("detector", index, 0, 7)
    _spec(&b.spec, name, freqs, level, cadence, cycles, masks, levels)
    return (<char*>&b)[:sizeof(b)]


def pack_dtmf(token, str digits, on_ms, off_ms, level):
    """Body of dtmf."""
    cdef body_dtmf b
    cdef bytes raw = digits.upper().encode("ascii", "replace")
    memset(&b, 0, sizeof(b))
    b.token = token
    _within("number of digits", len(raw), 1, RING_DIGITS)
    if raw.strip(b"0123456789*#ABCD"):
        raise ValueError(f"digits {digits!r}: only 0-9, *, #, A-D can be sent")
    b.count = len(raw)
    memcpy(b.digits, <const char*>raw, len(raw))
    b.on_ms = _within("on_ms", on_ms, 40, 2000)
    b.off_ms = _within("off_ms", off_ms, 20, 2000)
    b.level_dbm0 = _within("level_dbm0", level, -40.0, 3.0)
    return (<char*>&b)[:sizeof(b)]


def pack_stage(offset, bytes data):
    """Body of stage: a part of a long payload, kept in the port until the command that uses it."""
    cdef body_stage b
    memset(&b, 0, sizeof(b))
    b.count = _within("part length", len(data), 1, RING_STAGE)
    b.offset = _within("offset", offset, 0, 512 - b.count)
    memcpy(b.data, <const char*>data, len(data))
    return (<char*>&b)[:sizeof(b)]


def pack_fsk(token, standard, count, level, in_call=False):
    """Body of fsk: sends the `count` bytes staged before. `standard` 0 Bell 202, 1 V.23; `in_call` adds 0x100 to it: no seizure, 80 marks."""
    cdef body_fsk b
    memset(&b, 0, sizeof(b))
    b.token = token
    b.standard = _within("standard", standard, 0, 1) | (0x100 if in_call else 0)
    b.count = _within("payload length", count, 1, 512)
    b.level_dbm0 = _within("level_dbm0", level, -40.0, 3.0)
    return (<char*>&b)[:sizeof(b)]


def pack_detect(bint digits, fsk, bint voice, tones, bint fax=False, bint learn=False):
    """Body of detect; `fsk` 0 none, 1 Bell 202, 2 V.23, 3 both and alerting tones; `tones` = number of detect_tone commands that follow."""
    cdef body_detect b
    memset(&b, 0, sizeof(b))
    b.digits = digits
    b.fsk = _within("fsk", fsk, 0, 3)
    b.voice = voice
    b.fax = fax
    b.learn = learn
    b.tones = _within("number of tones", tones, 0, 8)
    return (<char*>&b)[:sizeof(b)]


def pack_flag(bint on):
    """Body of mute_digits, clear_channel and mask."""
    cdef body_flag b
    b.on = on
    return (<char*>&b)[:sizeof(b)]


def pack_measure(bint levels, bint activity):
    """Body of measure."""
    cdef body_measure b
    memset(&b, 0, sizeof(b))
    b.levels = levels
    b.activity = activity
    return (<char*>&b)[:sizeof(b)]


def pack_agc(bint on, target_dbm0, most_db):
    """Body of agc."""
    cdef body_agc b
    memset(&b, 0, sizeof(b))
    b.on = on
    b.target_dbm0 = _within("target_dbm0", target_dbm0, -40.0, -6.0)
    b.most_db = _within("most_db", most_db, 0.0, 20.0)
    return (<char*>&b)[:sizeof(b)]


def pack_record(token, file):
    """Body of record; `file` is the number under which the descriptor was handed over."""
    cdef body_record b
    memset(&b, 0, sizeof(b))
    b.token = token
    b.file = file
    return (<char*>&b)[:sizeof(b)]


def pack_word(code):
    """Body of watch."""
    cdef body_word b
    b.code = _within("code", code, 0, 255)
    return (<char*>&b)[:sizeof(b)]


def pack_drive(code, hold_ms=0, then=0):
    """Body of drive; `hold_ms` 0: the code stands, else `then` follows after exactly that time."""
    cdef body_drive b
    b.code = _within("code", code, 0, 255)
    b.hold_ms = _within("hold_ms", hold_ms, 0, 60_000)
    b.then = _within("then", then, 0, 255)
    return (<char*>&b)[:sizeof(b)]


def pack_pulse(token, str digits, break_ms, make_ms, between_ms):
    """Body of pulse: 0-9 by breaks of the loop, "0" = ten."""
    cdef body_pulse b
    cdef bytes raw = digits.encode("ascii", "replace")
    memset(&b, 0, sizeof(b))
    b.token = token
    b.count = _within("number of digits", len(raw), 1, RING_DIGITS)
    if raw.strip(b"0123456789"):
        raise ValueError(f"digits {digits!r}: only 0-9 can be dialled by pulses")
    memcpy(b.digits, <const char*>raw, len(raw))
    b.break_ms = _within("break_ms", break_ms, 10, 200)
    b.make_ms = _within("make_ms", make_ms, 10, 200)
    b.between_ms = _within("between_ms", between_ms, 200, 5000)
    return (<char*>&b)[:sizeof(b)]


cdef void health_fill(pay_health* h, str kind, bint raised, bint final, str step, str text, int reg, int read, int attempt, str state):
    """A health event; texts that are too long are cut."""
    memset(h, 0, sizeof(pay_health))
    h.raised = raised
    h.final = final
    h.reg = reg
    h.read = read
    h.attempt = attempt
    _text(h.kind, sizeof(h.kind), kind)
    _text(h.state, sizeof(h.state), state)
    _text(h.step, sizeof(h.step), step)
    _text(h.text, sizeof(h.text), text)


cdef object unpack(const ring_event* e):
    cdef const uint8_t* p = <const uint8_t*>e.payload
    cdef int t = e.type
    if t == EVT_DONE or t == EVT_FAILED:                       # (seq, code)
        return (<const pay_answer*>p).seq, (<const pay_answer*>p).code
    if t == EVT_EPOCH:                                          # (epoch,)
        return ((<const pay_epoch*>p).epoch,)
    if t == EVT_DIGIT:                                          # (digit, duration_ms, source, level)
        return (chr((<const pay_digit*>p).digit), (<const pay_digit*>p).duration_ms,
                "rfc4733" if (<const pay_digit*>p).rfc4733 else "inband", (<const pay_digit*>p).level_dbm0)
    if t == EVT_PLAYED or t == EVT_DTMF_SENT or t == EVT_FSK_SENT or t == EVT_PULSE_SENT:   # (token, finished, digit)
        return ((<const pay_played*>p).token, bool((<const pay_played*>p).finished),
                chr((<const pay_played*>p).digit) if (<const pay_played*>p).digit else "")
    if t == EVT_FSK_MESSAGE:                                    # (standard, payload)
        return ("v23" if (<const pay_fsk*>p).standard else "bell202",
                (<const char*>(<const pay_fsk*>p).data)[:min(<int>(<const pay_fsk*>p).count, 260)])
    if t == EVT_TONE_HEARD or t == EVT_TONE_STOPPED:            # (name, cycles, start_at, confidence, level)
        return (_string((<const pay_tone*>p).name, RING_NAME), (<const pay_tone*>p).cycles, (<const pay_tone*>p).start_at,
                (<const pay_tone*>p).confidence, (<const pay_tone*>p).level_dbm0)
    if t == EVT_RECORDED:                                       # (token, samples, lost)
        return (<const pay_recorded*>p).token, (<const pay_recorded*>p).samples, (<const pay_recorded*>p).lost
    if t == EVT_ALERT_TONE:                                     # (call waiting, duration_ms, level)
        return ((<const pay_fax*>p).kind == 1, (<const pay_fax*>p).duration_ms, (<const pay_fax*>p).level_dbm0)
    if t == EVT_FAX_TONE:                                       # (kind, start_at, duration_ms, level, confidence)
        return ((<const pay_fax*>p).kind, (<const pay_fax*>p).start_at, (<const pay_fax*>p).duration_ms, (<const pay_fax*>p).level_dbm0,
                (<const pay_fax*>p).confidence)
    if t == EVT_LEARNED_TONE:
        return unpack_learned(<const pay_learned*>p)
    if t == EVT_ACTIVITY:                                       # (talking, start_at, level, overlap_ms)
        return (bool((<const pay_activity*>p).talking), (<const pay_activity*>p).start_at, (<const pay_activity*>p).level_dbm0,
                (<const pay_activity*>p).overlap_ms)
    if t == EVT_PORT_HEALTH:
        return unpack_health(<const pay_health*>p)
    if t == EVT_PORT:
        return unpack_port(<const pay_port*>p)
    return (<const pay_line*>p).on, (<const pay_line*>p).value  # voice, RTP, line facts, echo filter: (on, ms or outcome; value)


cdef dict unpack_health(const pay_health* h):
    return {
        "kind": _string(h.kind, sizeof(h.kind)), "raised": bool(h.raised), "final": bool(h.final), "step": _string(h.step, sizeof(h.step)),
        "text": _string(h.text, sizeof(h.text)), "register": h.reg, "read": h.read, "attempt": h.attempt,
        "state": _string(h.state, sizeof(h.state)),
    }


cdef dict unpack_learned(const pay_learned* s):
    cdef int i
    return {
        "reason": s.reason, "start": s.start_at, "freqs_hz": tuple([round(s.freqs[i], 1) for i in range(min(s.nfreq, 4))]),
        "cadence_ms": tuple([s.cadence_ms[i] for i in range(min(s.nphases, 8))]),
        "levels_db": tuple([s.level_db[i] for i in range(min(s.nphases, 8))]), "level_dbm0": s.level_dbm0, "confidence": s.confidence,
        "purity": s.purity, "jitter": s.jitter, "repetitions": s.repetitions,
    }


cdef dict unpack_port(const pay_port* s):
    return {
        "kind": "rtp" if s.rtp else "tdm", "tag": _string(s.tag, RING_TAG), "open": bool(s.open), "bridge": s.bridge, "hear": bool(s.hear),
        "speak": bool(s.speak), "whisper": s.whisper if s.whisper >= 0 else None,
        "clear": bool(s.clear), "relay": s.relay, "relaying": bool(s.relaying), "local_port": s.local_port,
        "remote": address_text(&s.remote),
        "codec": CODECS[s.codec] if s.rtp and 0 <= s.codec < len(CODECS) else "", "payload_type": s.payload_type, "dtmf_type": s.dtmf_type if s.dtmf_type >= 0 else None, "ptime_ms": s.ptime_ms,
        "send": bool(s.send), "receive": bool(s.receive), "recording": s.recording_token if s.recording else None,
        "recording_file": s.recording_file, "player": s.player_token if s.playing else None, "watched": ("", "fxo", "fxs")[min(s.watched, 2)],
        "drive": s.drive, "battery": (False, True, None)[min(s.battery, 2)], "reversed": bool(s.reversed), "flowing": bool(s.flowing),
        "closed": bool(s.closed), "volts": s.volts, "ringing": bool(s.ringing), "rx_packets": s.rx_packets, "tx_packets": s.tx_packets, "lost": s.lost,
        "late": s.late, "foreign": s.foreign, "malformed": s.malformed,
        "forged": s.forged, "repeated": s.repeated, "suite": next((name for name, (number, _) in SUITES.items() if number == s.suite), LATER if s.suite == SECURE_LATER else ""),
    }
