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
        self._chinese: dict[str, str] = {}

    def raise_(self, kind: str, text: str, zh: str = "") -> None:
        """Raise, or change the text of what is raised; `zh`: the same in Chinese."""
        known = self._raised.get(kind)
        if known is not None and known[0] == text:
            return
        self._raised[kind] = (text, known[1] if known is not None else self._clock.wall_ms())
        self._chinese[kind] = zh
        self._bus.publish(AlarmRaised(kind, text, self._clock.now()))

    def clear(self, kind: str) -> None:
        """Clear; nothing happens when it was not raised."""
        if self._raised.pop(kind, None) is not None:
            self._bus.publish(AlarmCleared(kind, self._clock.now()))

    def chinese(self, kind: str) -> str:
        """The Chinese text of what is raised; empty where there is none."""
        return self._chinese.get(kind, "") if kind in self._raised else ""

    def note(self, kind: str, text: str) -> None:
        """Raise with a text, clear with an empty one: what `Database` reports."""
        if text:
            self.raise_(kind, text)
        else:
            self.clear(kind)

    def list(self) -> list[tuple[str, str, int]]:
        """(kind, text, raised at, Unix ms), oldest first."""
        return sorted(((kind, text, since) for kind, (text, since) in self._raised.items()), key=lambda entry: entry[2])
