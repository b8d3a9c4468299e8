"""Alarms of one process: raised and cleared by kind, published on the bus, listed by `show alarms`."""

from __future__ import annotations

from msgspec import Struct

from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock


class AlarmRaised(Struct, frozen=True, tag=True):
    """Something needs a person."""

    kind: str
    text: str
    at: int


class AlarmCleared(Struct, frozen=True, tag=True):
    """It no longer does."""

    kind: str
    at: int


class Alarms:
    """What is raised now. `kind` names the cause and the thing, for example "disk:calls.db" or "line:3"."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._raised: dict[str, tuple[str, int]] = {}

    def raise_(self, kind: str, text: str) -> None:
        """Raise, or change the text of what is raised."""
        known = self._raised.get(kind)
        if known is not None and known[0] == text:
            return
        self._raised[kind] = (text, known[1] if known is not None else self._clock.wall_ms())
        self._bus.publish(AlarmRaised(kind, text, self._clock.now()))

    def clear(self, kind: str) -> None:
        """Clear; nothing happens when it was not raised."""
        if self._raised.pop(kind, None) is not None:
            self._bus.publish(AlarmCleared(kind, self._clock.now()))

    def note(self, kind: str, text: str) -> None:
        """Raise with a text, clear with an empty one: what `Database` reports."""
        if text:
            self.raise_(kind, text)
        else:
            self.clear(kind)

    def list(self) -> list[tuple[str, str, int]]:
        """(kind, text, raised at, Unix ms), oldest first."""
        return sorted(((kind, text, since) for kind, (text, since) in self._raised.items()), key=lambda entry: entry[2])
