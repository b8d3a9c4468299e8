"""The FXS port's numbers, memory and transition table: data only (L1, pure).

Theory of operation
-------------------
`fxs.py` tells what the states mean. The table is literal: state -> input -> what is done and where it may lead. Loop facts
are classified by `pulse.py` first: Lifted, Flashed, HungUp and Pulse are its verdicts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware.call.model import Alert, Party
from firmware.line.callwaiting import CallWaitingId
from firmware.line.machine import MachineState, Rule, Table, rule
from firmware.line.pulse import HookState

TRIP_CONFIRM_MS: Final = 200             # after a ring trip the loop must be closed within this
AFTER_RING_MS: Final = 1000              # lifted this soon after ringing stopped: the person meant that call
CID_PAUSE_MS: Final = 600                # end of ring 1 to caller id
CID_MARGIN_MS: Final = 250               # end of caller id to ring 2
CID_REVERSED_MS: Final = 200             # line reversal to alert tone (caller id before ringing)
CID_KEYS_ON_MS: Final = 70               # keys of a DTMF caller id (ETSI EN 300 659-3 annex B: 50 to 90 ms)
CID_KEYS_OFF_MS: Final = 70
ALERT_TONE_MS: Final = 100
ALERT_PAUSE_MS: Final = 60
PULSE_AFTER_FLASH_MS: Final = 15_000     # dial pulses are read this long after a flash
NOTIFY_AFTER_MS: Final = 3000            # on-hook this long before the message lamp is told by FSK
NOTIFY_FEED_MS: Final = 300              # on-hook transmission before the message
NOTIFY_RETRY_MS: Final = 60_000
FAR_GONE_DIGITS: Final = "0123456789*#ABCD"

#: Ringing patterns by alert where they differ from the country's: a colleague hears what kind of call it is.
ALERT_CADENCE: Final[dict[Alert, tuple[int, ...]]] = {
    Alert.RECALL: (500, 500, 500, 3000),
    Alert.EMERGENCY: (300, 300),
}


class FxsState(MachineState):
    """The memory of an FXS port; all instants engine ms, -1 for none."""

    hook: HookState = msgspec.field(default_factory=HookState)
    feed: int = 1
    # ringing
    caller: Party = Party()
    when: str = ""
    alert: Alert = Alert.NORMAL
    phase: int = 0                       # phase of the ring cadence
    rings: int = 0
    cid_sent: bool = False
    cid_token: int = 0
    ring_stopped_at: int = -1            # ringing ended without an answer
    tripped: bool = False
    # dialling
    digits: str = ""
    incoming: bool = False               # we rang the telephone (else it called)
    tone_after: str = ""                 # tone that follows an open-switch interval
    flashed_at: int = -1
    # a call that waits for the telephone in a conversation
    waiting: CallWaitingId | None = None
    waiting_token: int = 0
    muted: bool = False
    # messages
    messages: bool | None = None         # what call control told; None: nothing
    told: bool | None = None             # what the telephone was told by FSK
    diverted: bool = False               # a forward or do-not-disturb is on
    notify_token: int = 0


class FxsFacts(msgspec.Struct, frozen=True):
    """What the port is now, for adoption. None: not known."""

    closed: bool | None = None


def _lifted(state: str) -> dict[str, Rule]:
    """Rows of the states in which a telephone is off-hook without a call."""
    return {
        "HungUp": rule("on_hook", "IDLE"),
        "HangUp": rule("ignore_hang_up", state),
        "ShowMessages": rule("messages_later", state),
        "ShowDiverted": rule("diverted", state),
    }


FXS_TABLE: Final[Table] = {
    "IDLE": {
        "Lifted": rule("lifted", "DIAL_TONE", "REORDER", "CALLING"),
        "Ring": rule("ring", "RINGING"),
        "HangUp": rule("ignore_hang_up", "IDLE"),
        "RingTrip": rule("nothing", "IDLE"),
        "ShowMessages": rule("messages_now", "IDLE"),
        "ShowDiverted": rule("diverted", "IDLE"),
        "timer notify": rule("notify", "NOTIFYING"),
    },
    "NOTIFYING": {
        "Lifted": rule("lifted_notifying", "DIAL_TONE", "REORDER", "CALLING"),
        "Ring": rule("ring", "RINGING"),
        "HangUp": rule("ignore_hang_up", "NOTIFYING"),
        "RingTrip": rule("nothing", "NOTIFYING"),
        "ShowMessages": rule("messages_later", "NOTIFYING"),
        "ShowDiverted": rule("diverted", "NOTIFYING"),
        "timer alert": rule("notify_message", "NOTIFYING"),
        "timer message": rule("notify_message", "NOTIFYING"),
        "PlayerDone": rule("notified", "NOTIFYING", "IDLE"),
        "timer notified": rule("notify_failed", "IDLE"),
    },
    "RINGING": {
        "timer cadence": rule("ring_phase", "RINGING"),
        "timer caller_id": rule("send_caller_id", "RINGING"),
        "timer alert_tone": rule("send_alert_tone", "RINGING"),
        "PlayerDone": rule("caller_id_sent", "RINGING"),
        "timer caller_id_end": rule("caller_id_sent", "RINGING"),
        "RingTrip": rule("ring_trip", "RINGING"),
        "timer trip": rule("trip_unconfirmed", "RINGING"),
        "Lifted": rule("answered", "TALKING"),
        "HangUp": rule("stop_ringing", "IDLE"),
        "timer no_answer": rule("no_answer", "IDLE"),
        "ShowMessages": rule("messages_later", "RINGING"),
        "ShowDiverted": rule("diverted", "RINGING"),
    },
    "DIAL_TONE": {
        **_lifted("DIAL_TONE"),
        "Digit": rule("first_digit", "COLLECTING", "CALLING", "REORDER"),
        "Pulse": rule("first_digit", "COLLECTING", "CALLING", "REORDER"),
        "Flashed": rule("dial_again", "DIAL_TONE"),
        "timer steady": rule("steady_dial_tone", "DIAL_TONE"),
        "timer hotline": rule("hotline", "CALLING"),
        "timer first_digit": rule("no_digits", "REORDER"),
    },
    "COLLECTING": {
        **_lifted("COLLECTING"),
        "Digit": rule("next_digit", "COLLECTING", "CALLING", "REORDER"),
        "Pulse": rule("next_digit", "COLLECTING", "CALLING", "REORDER"),
        "Flashed": rule("dial_again", "DIAL_TONE"),
        "timer inter_digit": rule("number_ended", "CALLING"),
    },
    "CALLING": {
        "HungUp": rule("caller_left", "IDLE"),
        "Progress": rule("ringback", "CALLING"),
        "Answer": rule("cut_through", "TALKING"),
        "HangUp": rule("call_failed", "REORDER"),
        "Digit": rule("key", "CALLING"),
        "Flashed": rule("flashed", "CALLING"),
        "SendDigits": rule("send_digits", "CALLING"),
        "ShowMessages": rule("messages_later", "CALLING"),
        "ShowDiverted": rule("diverted", "CALLING"),
    },
    "TALKING": {
        "HungUp": rule("hung_up_talking", "IDLE"),
        "HangUp": rule("far_gone", "FAR_GONE"),
        "Digit": rule("key_talking", "TALKING"),
        "Pulse": rule("key", "TALKING"),
        "Flashed": rule("flashed", "TALKING"),
        "timer pulses_end": rule("pulses_end", "TALKING"),
        "SendDigits": rule("send_digits", "TALKING"),
        "CallWaiting": rule("call_waiting", "TALKING"),
        "PlayerDone": rule("waiting_played", "TALKING"),
        "timer waiting_beep": rule("waiting_beeped", "TALKING"),
        "timer waiting": rule("waiting_due", "TALKING"),
        "ShowMessages": rule("messages_later", "TALKING"),
        "ShowDiverted": rule("diverted", "TALKING"),
    },
    "FAR_GONE": {
        "HungUp": rule("on_hook", "IDLE"),
        "HangUp": rule("ignore_hang_up", "FAR_GONE"),
        "ShowMessages": rule("messages_later", "FAR_GONE"),
        "ShowDiverted": rule("diverted", "FAR_GONE"),
        "timer open_end": rule("feed_again", "FAR_GONE"),
        "timer quiet_end": rule("tone_or_idle", "REORDER", "IDLE"),
    },
    "REORDER": {
        **_lifted("REORDER"),
        "Flashed": rule("dial_again", "DIAL_TONE"),
        "timer howl": rule("howl", "HOWLER"),
    },
    "HOWLER": {
        **_lifted("HOWLER"),
        "timer lock": rule("lock_out", "LOCKOUT"),
    },
    "LOCKOUT": {
        **_lifted("LOCKOUT"),
    },
}
