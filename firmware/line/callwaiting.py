"""Sending a caller id to a telephone that is in a call: alerting tone, acknowledge, message (L1, pure).

Theory of operation
-------------------
Telcordia GR-30 and TIA-777 (type 2), ETSI EN 300 659-2: the far party is cut off from the telephone, the exchange sends the alerting tone
(CAS, 2130 + 2750 Hz, 80 ms), a telephone that understands it mutes its handset and answers with DTMF D (or A) of 55 to 65 ms
within 100 ms, and 50 to 500 ms later the message follows without channel seizure after 80 bits of mark. Without an acknowledge within
160 ms the talk goes on at once. `CallWaitingId` holds this sequence: it is told what the player finished and which keys were heard, and
answers with what to do. Keys are reported when they end, a detector's delay later: `key_delay_ms` is that delay and is added to the wait.

Invariants: every `Mute(True)` is followed by exactly one `Mute(False)`, whatever is or is not heard; exactly one `Finished` ends the
sequence; the telephone is never muted longer than the sum of the sequence's times; after the end every input is ignored.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from firmware.line import callerid

ALERT_MS: Final = 80
ACKNOWLEDGE_MS: Final = 160         # from the end of the alerting tone to the end of the acknowledge
PAUSE_MS: Final = 60                # from the acknowledge to the marks, GR-30: 50 to 500
MARK_BITS: Final = 80
ACKNOWLEDGES: Final = frozenset("DA")
PLAYER_MARGIN_MS: Final = 100       # a player that says nothing this long after its due end counts as finished


class Mute(msgspec.Struct, frozen=True):
    """Cut the far party off from the telephone and back, both ways."""

    on: bool


class SendAlert(msgspec.Struct, frozen=True):
    """Play the alerting tone, nothing else with it."""

    duration_ms: int


class SendMessage(msgspec.Struct, frozen=True):
    """Send a message by FSK with this lead."""

    payload: bytes
    seizure_bits: int
    mark_bits: int


class Finished(msgspec.Struct, frozen=True):
    """The sequence is over; `outcome` says how."""

    outcome: Literal["sent", "no-acknowledge", "stopped"]


Action = Mute | SendAlert | SendMessage | Finished


class CallWaitingId(msgspec.Struct):
    """One sequence for one `payload` (type, length, parameters). `state` tells where it is; everything serialises."""

    payload: bytes
    key_delay_ms: int = 40
    state: Literal["new", "alert", "wait", "pause", "message", "over"] = "new"
    due: int = -1

    def start(self, at: int) -> list[Action]:
        """Begin; later calls do nothing."""
        if self.state != "new":
            return []
        self._enter("alert", at + ALERT_MS + PLAYER_MARGIN_MS)
        return [Mute(True), SendAlert(ALERT_MS)]

    def played(self, at: int) -> list[Action]:
        """The player finished the tone or the message."""
        if self.state == "alert":
            self._enter("wait", at + ACKNOWLEDGE_MS + self.key_delay_ms)
        elif self.state == "message":
            return self._over("sent")
        return []

    def key(self, key: str, at: int) -> list[Action]:
        """The telephone sent a key that ended `key_delay_ms` before `at`; any but the acknowledge is no answer."""
        if self.state == "wait" and key in ACKNOWLEDGES and at <= self.due:
            self._enter("pause", at - self.key_delay_ms + PAUSE_MS)
        return []

    def expire(self, now: int) -> list[Action]:
        """What is due by `now`; call it again until `deadline` lies ahead."""
        if self.due < 0 or now < self.due:
            return []
        if self.state == "alert":                       # its end was never reported
            return self.played(self.due - PLAYER_MARGIN_MS)
        if self.state == "wait":
            return self._over("no-acknowledge")
        if self.state == "pause":
            self._enter("message", now + callerid.duration_ms(self.payload, 0, MARK_BITS) + PLAYER_MARGIN_MS)
            return [SendMessage(self.payload, 0, MARK_BITS)]
        return self._over("sent")

    def stop(self) -> list[Action]:
        """The call ended or the telephone was hung up: give back the talk."""
        if self.state in ("new", "over"):
            self.state = "over"
            return []
        return self._over("stopped")

    def deadline(self) -> int | None:
        """When `expire` wants to be called."""
        return self.due if self.due >= 0 else None

    def _enter(self, state: Literal["alert", "wait", "pause", "message"], due: int) -> None:
        self.state, self.due = state, due

    def _over(self, outcome: Literal["sent", "no-acknowledge", "stopped"]) -> list[Action]:
        self.state, self.due = "over", -1
        return [Mute(False), Finished(outcome)]
