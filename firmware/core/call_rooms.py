"""Rooms of conferences and three-party calls on the media façade (L5).

Theory of operation. A room is an engine bridge with any number of ports; its number comes from the same pool as those of conversations
(`CallAudio.number`), is taken with the first leg and given back with the last. Keys are kept from the others, as in a conversation. After a
killed core the journal says which legs were in which room; the bridge they still share is taken over, or they are joined again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.model import PACKETS
from firmware.call.state import ContactState
from firmware.line.tones import ToneSpec

if TYPE_CHECKING:
    from firmware.core.call_audio import CallMedia
    from firmware.core.call_executors import Executor
    from firmware.core.calls import Calls

CHIME_MS = 300
QUIET_DBM0 = -24.0              # speech is at -20 to -16


class RoomAudio:
    """See the module docstring."""

    def __init__(self, calls: Calls, media: CallMedia, tones: Mapping[str, ToneSpec]) -> None:
        self._calls = calls
        self._media = media
        self._chime = tones.get("confirm") or tones["dial"]
        self._inside: dict[str, dict[str, int]] = {}         # room -> leg -> port

    def executors(self) -> dict[type[do.Action], Executor]:
        """Actions of this part."""
        return {
            do.EnterRoom: lambda contact, action: self.enter(contact, action.leg, action.room, action.hear, action.speak),
            do.LeaveRoom: lambda contact, action: self.leave(action.leg, action.room),
            do.Chime: lambda contact, action: self.chime(action.leg, quiet=action.quiet),
        }

    def enter(self, contact: str, leg: str, room: str, hear: bool = True, speak: bool = True) -> None:
        """Put a leg into a room. Raises EngineBusy when no bridge is free."""
        port = self._calls.audio.ports.get(leg, -1)
        found = self._calls.leg(contact, leg)
        if port < 0 or found is None:
            return
        self._media.join(self._calls.audio.number(room), port, hear=hear, speak=speak)
        self._inside.setdefault(room, {})[leg] = port
        if found.kind in PACKETS:
            self._media.detect(port, digits=True)
        self._media.mute_digits(port, True)

    def leave(self, leg: str, room: str) -> None:
        """Take a leg out; a port that is gone left its bridge with the leg."""
        inside = self._inside.get(room, {})
        port = inside.pop(leg, -1)
        if port >= 0 and self._calls.audio.ports.get(leg, -1) == port:
            self._media.leave(port)
            self._media.mute_digits(port, False)
        if not inside:
            self._inside.pop(room, None)
            self._calls.audio.forget(room)

    def chime(self, leg: str, *, quiet: bool = False) -> None:
        """A short tone beside the conversation."""
        port = self._calls.audio.ports.get(leg, -1)
        if port >= 0:
            self._media.tone(port, replace(self._chime, level_dbm0=QUIET_DBM0) if quiet else self._chime, duration_ms=CHIME_MS)

    def lost(self) -> None:
        """Media was replaced: nobody is in a room any more."""
        self._inside.clear()

    def adopt(self, state: ContactState, running: Mapping[int, Any]) -> None:
        """Legs that were in a room when the earlier core died are in it still, or come back."""
        for leg in state.room.legs if state.room is not None else []:
            port = self._calls.audio.ports.get(leg, -1)
            if state.room is None or port < 0:
                continue
            bridge = getattr(running.get(port), "bridge", -1)
            if isinstance(bridge, int) and bridge >= 0:
                self._calls.audio.take_over(state.room.name, bridge)
                self._inside.setdefault(state.room.name, {})[leg] = port
            else:
                page = state.room.name.startswith("page/")
                self.enter(state.id, leg, state.room.name, not page or leg != state.a, not page or leg == state.a)
