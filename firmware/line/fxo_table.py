"""The FXO line's numbers, memory and transition table: data only (L1, pure).

Theory of operation
-------------------
`fxo.py` tells what the states mean. The table is literal: state -> input -> what is done and where it may lead.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware.call.model import Party
from firmware.line.machine import MachineState, Rule, Table, rule

LOW_VOLTS: Final = 18.0                  # a parallel telephone is off-hook below this, the line is free above 20 V
IDLE_VOLTS: Final = 20.0
NO_LINE_MS: Final = 1000                 # battery absent this long: no line
LINE_BACK_MS: Final = 300
RING_STUCK_MS: Final = 60_000
GLARE_MS: Final = 500                    # ringing this soon after off-hook: we answered an incoming call
GLARE_WAIT_MS: Final = 20_000            # and call control has this long to take it
ANSWER_SETTLE_MS: Final = 200
NO_CURRENT_MS: Final = 1500              # off-hook without current
RELEASE_MS: Final = 300                  # relay to zero current
GUARD_RING_MS: Final = 500               # after on-hook ringing is a transient
CID_KEYS_MS: Final = 1500                # a DTMF caller id without end key
CID_STALE_MS: Final = 6000               # caller id before ringing that no ring follows
DIP_MS: Final = 50                       # loop losses up to this mean nothing at all
BLIND_DIAL_MS: Final = 1000              # emergency: no dial tone needed after this much more
DIAL_STRING_PAUSE_MS: Final = 2000
POLARITY_SETTLE_MS: Final = 200
EARLY_DIAL_TONE_MS: Final = 2500         # steady dial tone after our answer that means that nobody is there any more
EARLY_MS: Final = 2000                   # and it begins within this time of going off-hook
RELEASE_DIAL_TONE_MS: Final = 60_000    # steady dial tone in a conversation that is taken for a release
MAX_DIAL: Final = 60                      # keys of one dial string
DIAL_CHARACTERS: Final = frozenset("0123456789*#ABCDpw,")
OFF_HOOK: Final = frozenset(("ANSWERING", "SEIZING", "WAIT_DIAL_TONE", "DIALLING", "WAIT_ANSWER", "TALKING"))

RELEASE_KINDS: Final = {
    "busy": "busy-tone", "congestion": "congestion-tone", "unobtainable": "congestion-tone", "sit": "congestion-tone", "dial": "dial-tone",
}


class FxoState(MachineState):
    """The memory of an FXO line; all instants engine ms, -1 for none."""

    # facts
    battery: bool | None = None
    volts: float = 0.0
    reversed: bool | None = None         # None: no reading yet; the scanner reports changes only
    loop: bool | None = None             # while off-hook; None: not reported since
    ringing: bool = False
    hook_at: int = -1                    # last hook change of ours
    off_hook: bool = False
    # incoming
    rings: int = 0
    rings_over: int = 0
    ring_started: int = -1
    burst_off_at: int = -1
    caller: Party | None = None
    cid_settled: bool = False
    cid_keys: str = ""
    offered: bool = False
    glare: bool = False
    # outgoing
    outgoing: bool = False
    emergency: bool = False
    ring_ms: int = 60_000
    dial_rest: str = ""
    dial_tone: bool = False
    dial_token: int = 0
    dialled_at: int = -1
    ringback_at: int = -1                # start of the last ringback heard
    ringback_over: bool = False
    voice: bool = False
    voice_at: int = -1
    sound_at: int = -1                   # start of the last voice segment that was no click
    odd_voices: int = 0                  # voice segments that cannot be a ringback burst
    hint: str = ""                       # a refusal tone of which one cycle was heard: no answer is believed
    sign: str = ""                       # evidence kind of a pending answer, its confidence, detail
    sign_confidence: float = 0.0
    sign_detail: str = ""
    # conversation
    answered_at: int = -1
    answer_kind: str = ""
    polarity_base: bool | None = None
    loop_lost_at: int = -1
    current_seen: bool = False           # since off-hook
    suspect: bool = False                # half a sign of a release was seen
    flashing: bool = False
    # health
    fault: str = ""
    fault_at: int = -1
    caller_id_errors: int = 0

    def forget_call(self) -> None:
        """Back to the defaults in everything that belongs to one call; facts and health stay."""
        fresh = FxoState()
        for name in _OF_ONE_CALL:
            setattr(self, name, getattr(fresh, name))


_OF_ONE_CALL: Final = (
    "loop", "rings", "rings_over", "ring_started", "burst_off_at", "caller", "cid_settled", "cid_keys", "offered",
    "glare", "outgoing", "emergency", "ring_ms", "dial_rest", "dial_tone", "dial_token", "dialled_at", "ringback_at",
    "ringback_over", "voice", "voice_at", "sound_at", "odd_voices", "hint", "sign", "sign_confidence", "sign_detail", "answered_at",
    "answer_kind", "loop_lost_at", "current_seen", "suspect", "flashing",
)


class FxoFacts(msgspec.Struct, frozen=True):
    """What the line is now, for adoption. None: not known."""

    battery: bool | None = None
    volts: float = 0.0
    reversed: bool | None = None
    loop: bool | None = None
    ringing: bool | None = None



def _release_rows(state: str) -> dict[str, Rule]:
    """Rows of every off-hook state. Only an emergency call on a line that never had current stays where it is."""
    return {"HangUp": rule("hang_up", "RELEASING"), "timer loop_drop": rule("loop_dropped", "RELEASING", state)}


FXO_TABLE: Final[Table] = {
    "NO_LINE": {
        "Battery": rule("battery_seen", "NO_LINE"),
        "timer line_back": rule("line_judged", "IDLE", "IN_USE", "NO_LINE"),
        "RingBurst": rule("ring_changed_idle", "NO_LINE", "RINGING"),
    },
    "IDLE": {
        "Battery": rule("battery_changed", "IDLE", "IN_USE"),
        "timer no_line": rule("line_judged", "NO_LINE", "IDLE", "IN_USE"),
        "RingBurst": rule("ring_changed_idle", "IDLE", "RINGING"),
        "FskMessage": rule("caller_id_early", "IDLE"),
        "Digit": rule("caller_id_key", "IDLE"),
        "timer cid_keys": rule("caller_id_keys_end", "IDLE"),
        "timer cid_stale": rule("caller_id_stale", "IDLE"),
        "Dial": rule("seize", "SEIZING"),
    },
    "IN_USE": {
        "Battery": rule("battery_changed", "IDLE", "IN_USE"),
        "timer no_line": rule("line_judged", "NO_LINE", "IDLE", "IN_USE"),
        "RingBurst": rule("ring_changed_idle", "IN_USE", "RINGING"),
    },
    "RINGING": {
        "RingBurst": rule("ring_changed", "RINGING"),
        "timer ring_over": rule("ring_complete", "RINGING"),
        "timer ring_end": rule("ring_ended", "IDLE", "NO_LINE", "IN_USE"),
        "timer ring_stuck": rule("ring_stuck", "NO_LINE"),
        "FskMessage": rule("caller_id_message", "RINGING"),
        "Digit": rule("caller_id_key", "RINGING"),
        "timer cid_keys": rule("caller_id_keys_end", "RINGING"),
        "timer cid_wait": rule("caller_id_timed_out", "RINGING"),
        "Answer": rule("answer", "ANSWERING"),
        "HangUp": rule("decline", "RINGING"),
    },
    "ANSWERING": {
        **_release_rows("ANSWERING"),
        "Answer": rule("glare_answer", "ANSWERING", "TALKING"),
        "LoopCurrent": rule("loop_changed", "ANSWERING"),
        "timer settle": rule("answer_settled", "ANSWERING", "TALKING", "RELEASING"),
        "timer glare_wait": rule("glare_lost", "RELEASING"),
        "ToneHeard": rule("release_tone", "ANSWERING", "RELEASING"),
    },
    "SEIZING": {
        **_release_rows("SEIZING"),
        "RingBurst": rule("glare", "SEIZING", "ANSWERING"),
        "LoopCurrent": rule("loop_changed", "SEIZING"),
        "ToneHeard": rule("dial_tone_early", "SEIZING"),
        "ToneStopped": rule("dial_tone_lost", "SEIZING"),
        "timer settle": rule("seized", "WAIT_DIAL_TONE"),
    },
    "WAIT_DIAL_TONE": {
        **_release_rows("WAIT_DIAL_TONE"),
        "LoopCurrent": rule("loop_changed", "WAIT_DIAL_TONE"),
        "ToneHeard": rule("dial_tone_heard", "WAIT_DIAL_TONE", "RELEASING"),
        "timer dial_pause": rule("dial_next", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
        "timer dial_tone": rule("no_dial_tone", "RELEASING", "WAIT_DIAL_TONE"),
    },
    "DIALLING": {
        **_release_rows("DIALLING"),
        "LoopCurrent": rule("loop_changed", "DIALLING"),
        "PlayerDone": rule("segment_dialled", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
        "timer dial_pause": rule("dial_next", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
        "timer dialled": rule("dial_unconfirmed", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
    },
    "WAIT_ANSWER": {
        **_release_rows("WAIT_ANSWER"),
        "LoopCurrent": rule("loop_changed", "WAIT_ANSWER"),
        "Polarity": rule("answer_polarity", "WAIT_ANSWER", "TALKING"),
        "timer polarity": rule("answer_polarity", "WAIT_ANSWER", "TALKING"),
        "ToneHeard": rule("progress_tone", "WAIT_ANSWER", "RELEASING"),
        "ToneStopped": rule("tone_stopped", "WAIT_ANSWER"),
        "Voice": rule("answer_voice", "WAIT_ANSWER"),
        "timer voice_long": rule("answer_long_voice", "WAIT_ANSWER"),
        "timer ringback_missing": rule("ringback_missing", "WAIT_ANSWER"),
        "timer answer": rule("answer_believed", "WAIT_ANSWER", "TALKING"),
        "timer answer_assumed": rule("answer_assumed", "TALKING", "WAIT_ANSWER"),
        "timer no_answer": rule("no_answer", "RELEASING"),
        "SendDigits": rule("send_digits", "WAIT_ANSWER"),
    },
    "TALKING": {
        **_release_rows("TALKING"),
        "LoopCurrent": rule("loop_changed", "TALKING"),
        "Polarity": rule("release_polarity", "TALKING", "RELEASING"),
        "timer polarity": rule("release_polarity", "TALKING", "RELEASING"),
        "ToneHeard": rule("release_tone", "TALKING", "RELEASING"),
        "Voice": rule("talk_voice", "TALKING"),
        "timer silence": rule("silent", "RELEASING"),
        "Digit": rule("key", "TALKING"),
        "SendDigits": rule("send_digits", "TALKING"),
        "Flash": rule("flash", "TALKING"),
        "timer flash": rule("flash_over", "TALKING"),
    },
    "RELEASING": {
        "timer released": rule("released", "GUARD"),
    },
    "GUARD": {
        "RingBurst": rule("ring_changed_guard", "GUARD", "RINGING"),
        "timer guard": rule("line_judged", "IDLE", "NO_LINE", "IN_USE"),
    },
}
