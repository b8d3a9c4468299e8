"""The engine of `app/office.py`: prompts that take time, bridges that let people hear each other, no samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from firmware.app.office import Office

CLIP_MS = 1500


class Played(msgspec.Struct, frozen=True):
    """A player came to its end, as `media/events.py` says it."""

    port: int
    at: int
    token: int
    finished: bool
    digit: str = ""


class Running(msgspec.Struct, frozen=True):
    """A port as a snapshot shows it."""

    port: int
    tag: str
    bridge: int = -1
    relay: int = -1
    open: bool = True


class Sound:
    """The part of the media façade that calls use; commands of which people notice nothing do nothing."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.listener: Callable[[Any], None] = lambda event: None
        self.reset()

    def reset(self) -> None:
        """A new engine."""
        self.owner: dict[int, str] = {}
        self._players: dict[int, tuple[int, bool]] = {}      # port -> token, whether a key stops it
        self._bridges: dict[int, int] = {}
        self._relays: dict[int, int] = {}

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        self.listener = fn

    def running(self) -> list[Running]:
        """What the next core finds."""
        return [Running(port, leg, self._bridges.get(port, -1), self._relays.get(port, -1)) for port, leg in self.owner.items()]

    def close(self, port: int) -> None:
        """The call on a port is over."""
        self.owner.pop(port, None)
        self._players.pop(port, None)
        self._bridges.pop(port, None)
        self._relays.pop(self._relays.pop(port, -1), None)

    # --- players ------------------------------------------------------------------------------------------------------

    def play(
        self, port: int, clips: Sequence[str], *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0
    ) -> None:
        if port not in self.owner:
            return
        self._players[port] = token, stop_on_digit
        ms = CLIP_MS * len(clips)
        self._office.people.hears(self.owner[port], tuple(clips), 0 if loop else ms)
        if not loop:
            self._office.later(ms, lambda: self._ended(port, token))

    def _ended(self, port: int, token: int) -> None:
        if self._players.get(port, (0, False))[0] == token:
            del self._players[port]
            self._office.tell(Played(port, self._office.clock.now(), token, True))

    def key(self, port: int, digit: str) -> None:
        """A key on a port stops what may be stopped by one."""
        token, stoppable = self._players.get(port, (0, False))
        if stoppable:
            del self._players[port]
            self._office.tell(Played(port, self._office.clock.now(), token, False, digit))

    def stop(self, port: int) -> None:
        self._players.pop(port, None)

    def tone(self, port: int, tone: Any, *, token: int = 0, duration_ms: int = 0) -> None:
        self._players.pop(port, None)

    # --- conversations ------------------------------------------------------------------------------------------------

    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> None:
        self._bridges[port] = bridge
        for other, number in self._bridges.items():
            if number == bridge and other != port:
                self._meet(port, other)

    def leave(self, port: int) -> None:
        self._bridges.pop(port, None)

    def relay(self, a: int, b: int) -> None:
        self._relays[a], self._relays[b] = b, a
        self._meet(a, b)

    def unrelay(self, a: int) -> None:
        self._relays.pop(self._relays.pop(a, -1), None)

    def _meet(self, a: int, b: int) -> None:
        if a in self.owner and b in self.owner:
            self._office.people.speaks_with(self.owner[a], self.owner[b])
            self._office.people.speaks_with(self.owner[b], self.owner[a])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None
