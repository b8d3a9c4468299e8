"""What contacts share, as they see it, and what may be put into them (L1, pure)."""

from __future__ import annotations

from typing import Protocol

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.acd_state import AcdState
from firmware.call.actions import Action, Played, Recorded, RecordingRefused, RecordingStarted, TimerFired
from firmware.call.blocking_state import Blocked, LastCaller
from firmware.call.calendar import Calendar, Night
from firmware.call.dropped import Dropped
from firmware.call.floor import Floor
from firmware.call.forwards import Wish
from firmware.call.lookup_actions import LookedUp
from firmware.call.mailroom import MailRoom
from firmware.call.model import LegEvent
from firmware.call.routing import Routing
from firmware.call.state import Attempt, ContactState
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config

Input = (
    LegEvent | Played | Recorded | RecordingStarted | RecordingRefused | TimerFired | do.LineFreed | vm.Voice | vm.TakeRecorded
    | vm.RecordingsFound | vm.Unplayable | LookedUp
)  # fmt: skip


class Desk(Protocol):
    """What contacts share: configuration, floor, numbers and identifiers. Implemented by `Switchboard`."""

    config: Config
    acd: AcdState
    floor: Floor
    routing: Routing
    mail: MailRoom
    wishes: dict[str, Wish]
    dropped: dict[str, Dropped]
    blocked: dict[str, Blocked]
    callers: dict[str, LastCaller]
    calendar: Calendar
    night: Night
    touched: set[str]

    def act(self, contact: str, action: Action) -> None:
        """Queue an action."""

    def leg_id(self) -> str:
        """A new leg id."""

    def token(self) -> int:
        """A new player or recorder token."""

    def local(self, now: int) -> LocalTime:
        """Local time at engine instant `now`."""

    def keep_acd(self) -> None:
        """`acd` changed: it is to be kept over a power cut."""

    def withdraw_callback(self, request: str, now: int) -> None:
        """Its caller wants no callback any more; nothing happens where the request is over."""

    def wall(self, now: int) -> int:
        """Unix ms of engine instant `now`."""

    def notice_ready(self, language: str) -> bool:
        """Whether the recording notice can be said in this language."""

    def pin_is(self, agent: str, pin: str) -> bool:
        """Whether `pin` is the agent's."""

    def wished(self, extension: str, wish: Wish, now: int) -> None:
        """An extension's owner wishes something else for its calls."""

    def block(self, number: str, now: int, *, by: str, contact: str = "") -> None:
        """Put a number on the black list; nothing changes where it is there."""

    def unblock(self, number: str, now: int, *, by: str) -> bool:
        """Take a number off the black list; False where it is not there."""

    def redialled(self, extension: str) -> None:
        """The call of this extension that was cut off is dialled again."""

    def parked(self) -> frozenset[str]:
        """Places that hold a parked call."""

    def in_room(self, room: str) -> list[tuple[str, str]]:
        """(contact, leg) of everybody who is in a room or waits alone in it."""

    def room_grew(self, contact: str, leg: str, now: int) -> None:
        """Somebody else came into the room that this leg is in."""

    def room_changed(self, room: str, now: int) -> None:
        """Somebody entered the mixer of a room, or left it."""

    def night_key(self, extension: str, now: int) -> bool:
        """Turn the night key over; whether night service is on now."""

    def free_lines(self, group: str | None) -> list[str]:
        """Lines free for a new call, in order of preference."""

    def make_room(self, contact: str, now: int) -> str:
        """End the least important call on a line for an emergency call; the line, "" if there is none to end."""

    def emergency_begins(self, contact: ContactState, number: str, now: int) -> None:
        """An emergency number is being called: the notice goes to every screen."""

    def emergency_used(self, line: str, extension: str, number: str, now: int) -> None:
        """An emergency call goes out on `line`: open the call-back window."""

    def toll_left(self, now: int) -> int:
        """International ms of this day that are left for each call that goes on; -1 for no limit."""

    def toll_refused(self, contact: ContactState, attempt: Attempt, now: int) -> str:
        """Why a call to outside may not go out, "" where it may; then it counts as begun."""
