"""The FXO line's numbers, memory and transition table: data only (L1, pure).

Theory of operation
-------------------
`fxo.py` tells what the states mean. The table is literal: state -> input -> what is done and where it may lead.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware.call.model import Party
from firmware.line.disconnect import Memory
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
BLIND_DIAL_MS: Final = 1000              # emergency: no dial tone needed after this much more
DIAL_STRING_PAUSE_MS: Final = 2000
GLARE_BEFORE_MS: Final = 300             # ringing this shortly before a seizure is a call that comes in
NOT_A_RING_MS: Final = 500               # silence after which ringing too short or too long is forgotten
PARALLEL_DROP: Final = 0.75              # share of the settled loop current below which another telephone takes part of it
PARALLEL_OVER: Final = 0.85
BY_EAR: Final = frozenset(("voice", "ringback-stopped", "timer"))   # answers that the wire did not tell
MAX_DIAL: Final = 60                      # keys of one dial string
DIAL_CHARACTERS: Final = frozenset("0123456789*#ABCDpw,")
OFF_HOOK: Final = frozenset(("ANSWERING", "SEIZING", "WAIT_DIAL_TONE", "DIALLING", "WAIT_ANSWER", "TALKING"))

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
    burst_on_at: int = -1
    burst_off_at: int = -1
    burst_ms: int = 0                    # ringing voltage within the present ring
    ring_counted: bool = False           # the present ring is long enough to be one
    ring_too_long: bool = False
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
    stutter: bool = False                # the dial tone stuttered: messages wait at the exchange
    dial_token: int = 0
    pulsing: bool = False                # media breaks the loop to dial: loop facts are of our own making
    dialled_at: int = -1
    ringback_at: int = -1                # start of the last ringback heard
    ringback_over: bool = False
    voice: bool = False
    voice_at: int = -1
    sound_at: int = -1                   # start of the last voice segment that was no click
    odd_voices: int = 0                  # voice segments that cannot be a ringback burst
    turned_at: int = -1                  # a reversal after dialling that nobody announced: an answer, perhaps
    turned_back_at: int = -1             # and its return while ringback was still expected
    hint: str = ""                       # a refusal tone of which one cycle was heard: no answer is believed
    doubt_until: int = -1                # such a tone was lost: none is believed before
    sign: str = ""                       # evidence kind of a pending answer, its confidence, detail
    sign_confidence: float = 0.0
    sign_detail: str = ""
    answer_due: int = -1                 # when that answer is believed: its date, also when nobody was there to believe it
    # conversation
    answered_at: int = -1
    answer_kind: str = ""
    polarity_base: bool | None = None
    dial_base: bool | None = None        # polarity when the exchange had taken the digits
    loop_lost_at: int = -1
    current_seen: bool = False           # since off-hook
    release: Memory = msgspec.field(default_factory=Memory)      # signs of a release, see `disconnect.py`
    flashing: bool = False
    milliamps: float = 0.0               # settled loop current of this off-hook
    parallel: bool = False               # another telephone on the line is off-hook, too
    # health
    fault: str = ""
    fault_at: int = -1
    caller_id_errors: int = 0
    odd_rings: int = 0                   # ringing that was none by its length
    exchange_waiting: bool | None = None     # messages at the exchange, as it told last

    def forget_call(self) -> None:
        """Back to the defaults in everything that belongs to one call; facts and health stay."""
        fresh = FxoState()
        for name in _OF_ONE_CALL:
            setattr(self, name, getattr(fresh, name))


_OF_ONE_CALL: Final = (
    "loop", "rings", "rings_over", "ring_started", "burst_on_at", "burst_off_at", "burst_ms", "ring_counted", "ring_too_long", "caller",
    "cid_settled", "cid_keys", "offered", "glare", "outgoing", "emergency", "ring_ms", "dial_rest", "dial_tone", "stutter", "dial_token",
    "pulsing", "milliamps", "parallel", "dialled_at", "ringback_at",
    "ringback_over", "voice", "voice_at", "sound_at", "odd_voices", "turned_at", "turned_back_at", "hint",
    "doubt_until", "sign", "sign_confidence", "sign_detail", "answer_due", "answered_at", "answer_kind", "loop_lost_at", "current_seen",
    "release", "flashing",
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
        "timer ring_valid": rule("ring_valid", "RINGING"),
        "timer ring_long": rule("ring_long", "RINGING"),
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
        "Company": rule("company", "ANSWERING"),
        "ToneHeard": rule("release_tone", "ANSWERING", "RELEASING"),
        "ToneStopped": rule("release_tone_stopped", "ANSWERING"),
        "timer tone": rule("tone_lasts", "ANSWERING", "RELEASING"),
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
        "Company": rule("company", "DIALLING"),
        "timer dial_pause": rule("dial_next", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
        "timer dialled": rule("dial_unconfirmed", "DIALLING", "WAIT_ANSWER", "WAIT_DIAL_TONE"),
    },
    "WAIT_ANSWER": {
        **_release_rows("WAIT_ANSWER"),
        "LoopCurrent": rule("loop_changed", "WAIT_ANSWER"),
        "Polarity": rule("answer_polarity", "WAIT_ANSWER", "TALKING", "RELEASING"),
        "timer polarity": rule("dial_polarity", "WAIT_ANSWER", "TALKING"),
        "ToneHeard": rule("progress_tone", "WAIT_ANSWER", "RELEASING"),
        "ToneStopped": rule("tone_stopped", "WAIT_ANSWER", "TALKING", "RELEASING"),
        "Voice": rule("answer_voice", "WAIT_ANSWER"),
        "timer voice_long": rule("answer_long_voice", "WAIT_ANSWER"),
        "timer ringback_missing": rule("ringback_missing", "WAIT_ANSWER"),
        "timer answer": rule("answer_believed", "WAIT_ANSWER", "TALKING"),
        "timer answer_assumed": rule("answer_assumed", "TALKING", "WAIT_ANSWER"),
        "timer no_answer": rule("no_answer", "RELEASING"),
        "Company": rule("company", "WAIT_ANSWER"),
        "SendDigits": rule("send_digits", "WAIT_ANSWER"),
    },
    "TALKING": {
        **_release_rows("TALKING"),
        "LoopCurrent": rule("loop_changed", "TALKING", "RELEASING"),
        "Polarity": rule("release_polarity", "TALKING", "RELEASING"),
        "timer polarity": rule("release_polarity", "TALKING", "RELEASING"),
        "ToneHeard": rule("release_tone", "TALKING", "RELEASING"),
        "ToneStopped": rule("release_tone_stopped", "TALKING"),
        "timer tone": rule("tone_lasts", "TALKING", "RELEASING"),
        "Company": rule("company", "TALKING"),
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
        "timer guard_ring": rule("ring_in_guard", "GUARD", "RINGING"),
        "FskMessage": rule("caller_id_early", "GUARD"),
        "Digit": rule("caller_id_key", "GUARD"),
        "timer cid_keys": rule("caller_id_keys_end", "GUARD"),
        "timer cid_stale": rule("caller_id_stale", "GUARD"),
        "timer guard": rule("guard_over", "IDLE", "NO_LINE", "IN_USE"),
    },
}
