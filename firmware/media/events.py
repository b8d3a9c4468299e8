"""What media tells core: events of ports and lines, and the state of ports in a snapshot (frozen structs)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class MediaEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Base: the engine port (slot for line facts), the instant in engine ms and in Unix ms."""

    port: int
    at: int
    wall_ms: int


class Digit(MediaEvent, frozen=True):
    """A key ended. `source`: "inband" or "rfc4733"; `level` in dBm0 (0 for rfc4733)."""

    digit: str
    duration_ms: int
    source: str
    level: float


class Played(MediaEvent, frozen=True):
    """A player ended: at its end (`finished`), by a key (`digit`), or because it was stopped or replaced."""

    token: int
    finished: bool
    digit: str


class DtmfSent(MediaEvent, frozen=True):
    """All digits of `send_dtmf` went out."""

    token: int


class FskSent(MediaEvent, frozen=True):
    """The FSK message went out."""

    token: int


class FskMessage(MediaEvent, frozen=True):
    """A caller-id message with a good checksum, without it: type, length, parameters."""

    standard: str
    payload: bytes


class ToneHeard(MediaEvent, frozen=True):
    """A tone was recognised; `start_at` is the instant of its first matched cycle."""

    name: str
    cycles: int
    start_at: int
    confidence: float = 0.0  # 0..1
    level: float = 0.0  # of its last burst, dBm0


class ToneStopped(MediaEvent, frozen=True):
    """A recognised tone ended."""

    name: str


class Voice(MediaEvent, frozen=True):
    """Somebody speaks, or no longer."""

    active: bool


class RtpStarted(MediaEvent, frozen=True):
    """Packets arrive (again)."""


class RtpSilent(MediaEvent, frozen=True):
    """No packet for `ms`; once a second."""

    ms: int


class Recorded(MediaEvent, frozen=True):
    """A recording is closed; `samples` and `lost_samples` per channel."""

    token: int
    samples: int
    lost_samples: int


class RingBurst(MediaEvent, frozen=True):
    """Ringing voltage began or ended; `at` is the first or last half-wave."""

    on: bool


class Battery(MediaEvent, frozen=True):
    """Line voltage present or lost, or (`present` again) a settled reading more than 2 V from the last; FXS ports only tell readings."""

    present: bool
    volts: float


class Polarity(MediaEvent, frozen=True):
    """Tip and ring changed places."""

    reversed: bool


class LoopCurrent(MediaEvent, frozen=True):
    """FXO off-hook: loop current flows or stopped."""

    flowing: bool
    milliamps: float


class Loop(MediaEvent, frozen=True):
    """FXS: the telephone closed or opened its loop; `at` is the edge, `milliamps` what flowed when it was sure."""

    closed: bool
    milliamps: float = 0.0


class RingTrip(MediaEvent, frozen=True):
    """FXS: answered while ringing; the line is fed already."""


class PulseSent(MediaEvent, frozen=True):
    """Pulse dialling ended at `at`: with the last closure of its last digit (`finished`), or cancelled by a drive."""

    token: int
    finished: bool = True


class PortHealth(MediaEvent, frozen=True):
    """What the keeper of a line chip tells (`hal.health.HealthEvent`). `raised` false: over; `final`: the port is out of service.

    `state` is the keeper's: "well", "suspect", "unreadable", "recovering", "out"; `register` and `read` are -1 where none is meant.
    """

    kind: str
    raised: bool
    final: bool
    step: str
    text: str
    register: int
    read: int
    attempt: int
    state: str


class Activity(MediaEvent, frozen=True):
    """Somebody began to talk (`at` = `start`), or stopped at `at` what began at `start`: then with its level in dBm0 and the overlap.

    `overlap`: ms within talks of the other side.
    Measured after echo cancellation; a talk lasts 60 ms at least, pauses below 200 ms belong to it.
    """

    talking: bool
    start: int
    level: float
    overlap: int


class FaxTone(MediaEvent, frozen=True):
    """A fax or modem tone: "cng", "ced", "ans-reversed", "ansam", "ansam-reversed" (better names follow), or "end" of a 2100 Hz tone.

    `start`: of the tone or of the first CNG burst; `duration_ms` so far.
    """

    kind: str
    start: int
    duration_ms: int
    level: float
    confidence: float


class AlertTone(MediaEvent, frozen=True):
    """An alerting tone of caller id (2130 and 2750 Hz) ended: of call waiting (CAS), or of an on-hook line (DT-AS)."""

    call_waiting: bool
    duration_ms: int
    level: float


class LearnedTone(MediaEvent, frozen=True):
    """What the learner made of a line's late sound: a tone when `reason` is "", else why there is none.

    `cadence_ms`: sound and pause by turns, `levels_db` of each phase against `level_dbm0`; confidence, purity and jitter are 0 to 1.
    """

    reason: str
    start: int
    freqs_hz: tuple[float, ...]
    cadence_ms: tuple[int, ...]
    levels_db: tuple[float, ...]
    level_dbm0: float
    confidence: float
    purity: float
    jitter: float
    repetitions: int


class EchoFilter(MediaEvent, frozen=True):
    """What became of a known echo filter when its line opened: "taken" (to be proven), "alignment" (learned under another), "bad"."""

    outcome: str
    erle_db: float


class MediaLost(MediaEvent, frozen=True):
    """The media process was replaced: everything it held is gone."""

    epoch: int


class SideNews(MediaEvent, frozen=True):
    """What the side of an RTP port tells (`media/side.py`), e.g. how a DTLS handshake ended."""

    what: str
    facts: dict[str, Any]


class RtpPort(msgspec.Struct, frozen=True):
    """An allocated RTP port: engine id and local UDP port."""

    port: int
    local_port: int


class SrtpKeys(msgspec.Struct, frozen=True):
    """Suite (a key of `abi.SUITES`) and, for each direction, master key and salt. Its text never shows them.

    Suite "DTLS" without keys: DTLS brings them (`Side.keys`), and until then nothing goes or comes.
    """

    suite: str
    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return f"SrtpKeys({self.suite})"


class PortMeters(msgspec.Struct, frozen=True):
    """Levels, talks and echo of a port. `in` is what its telephone says, `out` what it is sent; echo figures only where `canceller`."""

    tick: int
    in_dbm0: float
    in_peak_dbm0: float
    out_dbm0: float
    out_peak_dbm0: float
    in_clipped: int
    out_clipped: int
    agc_db: float
    canceller: bool
    erl_db: float
    erle_db: float
    noise_dbm0: float
    delay_ms: int
    converged: int
    disabled: bool
    clear: bool
    talking: bool
    far_talking: bool
    talk_ms: int
    far_ms: int
    overlap_ms: int
    echo_db: float
    echo_worst_db: float
    words: int
    words_audible: int
    words_masked: int


class LearnedFilter(msgspec.Struct, frozen=True):
    """An echo filter: identity of its line, PCM alignment (rate in Hz, playback depth in blocks), engine tick, quality, taps (float32)."""

    line: int
    rate: int
    depth: int
    tick: int
    erl_db: float
    erle_db: float
    taps: bytes


class PortState(msgspec.Struct, frozen=True):
    """What media runs on a port. Line facts are None where they are not watched (or not known yet); `relay` and `bridge` -1 = none."""

    port: int
    kind: str
    tag: str = ""
    open: bool = False
    bridge: int = -1
    hear: bool = False
    speak: bool = False
    whisper: int | None = None
    clear: bool = False
    relay: int = -1
    relaying: bool = False
    local_port: int = 0
    remote: tuple[str, int] | None = None
    codec: str = ""
    payload_type: int = 0
    dtmf_type: int | None = None
    ptime_ms: int = 0
    send: bool = False
    receive: bool = False
    recording: int | None = None
    recording_file: int = 0
    player: int | None = None
    watched: str = ""
    drive: int = 0
    battery: bool | None = None
    volts: float = 0.0
    reversed: bool | None = None
    loop: bool | None = None
    closed: bool | None = None
    ringing: bool | None = None
    rx_packets: int = 0
    tx_packets: int = 0
    lost: int = 0
    late: int = 0
    foreign: int = 0
    malformed: int = 0
    forged: int = 0                      # SRTP: not genuine under the keys
    repeated: int = 0                    # SRTP: genuine, but seen before
    suite: str = ""                      # of SRTP, "" = in clear


FAX_TONES = ("", "cng", "ced", "ans-reversed", "ansam", "ansam-reversed", "end")
NOT_LEARNED = ("", "short", "silence", "speech", "music", "continuous", "ringback", "keys", "few")
OUTCOMES = ("none", "taken", "alignment", "bad")


def media_event(name: str, port: int, at: int, wall_ms: int, payload: Any) -> MediaEvent | None:
    """The event struct of a ring event (payloads as `abi.unpack` gives them); None for an unknown name."""
    base = {"port": port, "at": at, "wall_ms": wall_ms}
    match name:
        case "digit":
            return Digit(**base, digit=payload[0], duration_ms=payload[1], source=payload[2], level=payload[3])
        case "played":
            return Played(**base, token=payload[0], finished=payload[1], digit=payload[2])
        case "dtmf_sent":
            return DtmfSent(**base, token=payload[0])
        case "fsk_sent":
            return FskSent(**base, token=payload[0])
        case "fsk_message":
            return FskMessage(**base, standard=payload[0], payload=payload[1])
        case "tone_heard":
            return ToneHeard(**base, name=payload[0], cycles=payload[1], start_at=payload[2], confidence=payload[3], level=payload[4])
        case "tone_stopped":
            return ToneStopped(**base, name=payload[0])
        case "voice":
            return Voice(**base, active=bool(payload[0]))
        case "rtp_started":
            return RtpStarted(**base)
        case "rtp_silent":
            return RtpSilent(**base, ms=payload[0])
        case "recorded":
            return Recorded(**base, token=payload[0], samples=payload[1], lost_samples=payload[2])
        case "ring_burst":
            return RingBurst(**base, on=bool(payload[0]))
        case "battery":
            return Battery(**base, present=bool(payload[0]), volts=payload[1])
        case "polarity":
            return Polarity(**base, reversed=bool(payload[0]))
        case "loop_current":
            return LoopCurrent(**base, flowing=bool(payload[0]), milliamps=payload[1])
        case "loop":
            return Loop(**base, closed=bool(payload[0]), milliamps=payload[1])
        case "activity":
            return Activity(**base, talking=payload[0], start=payload[1], level=payload[2], overlap=payload[3])
        case "fax_tone":
            kind, start, duration, level, confidence = payload
            return FaxTone(**base, kind=FAX_TONES[kind], start=start, duration_ms=duration, level=level, confidence=confidence)
        case "alert_tone":
            return AlertTone(**base, call_waiting=payload[0], duration_ms=payload[1], level=payload[2])
        case "learned_tone":
            return LearnedTone(**{**base, **payload, "reason": NOT_LEARNED[payload["reason"]]})
        case "echo_filter":
            return EchoFilter(**base, outcome=OUTCOMES[payload[0]], erle_db=payload[1])
        case "pulse_sent":
            return PulseSent(**base, token=payload[0], finished=payload[1])
        case "port_health":
            return PortHealth(**{**base, **payload})
        case "ring_trip":
            return RingTrip(**base)
    return None


def port_state(port: int, facts: Mapping[str, Any]) -> PortState:
    """A `PortState` of a snapshot event."""
    fxo, fxs = facts["watched"] == "fxo", facts["watched"] == "fxs"
    same = {name: facts[name] for name in PortState.__struct_fields__ if name in facts}
    return PortState(
        **{
            **same,
            "port": port,
            "battery": facts["battery"] if fxo else None,
            "reversed": facts["reversed"] if fxo else None,
            "loop": facts["flowing"] if fxo else None,
            "ringing": facts["ringing"] if fxo else None,
            "closed": facts["closed"] if fxs else None,
        }
    )


def port_meters(facts: Mapping[str, Any]) -> PortMeters:
    """The meters of a record of the ring segment."""
    same = {name: facts[name] for name in PortMeters.__struct_fields__}
    return PortMeters(**{**same, **{name: bool(facts[name]) for name in ("canceller", "disabled", "clear", "talking", "far_talking")}})
