"""The walk test: which jack is which number, found with a mobile phone (L5).

Theory of operation
-------------------
The installer calls each line's number with a mobile phone; the part sees which jack rings and whose number the caller id shows, and is told
(`walk number`) which number was dialled. The other way round, `walk call` dials the mobile phone from a line, and its number is read there.
Nothing is answered and no call is changed: calls that come in go where they always go. The numbers are kept as labels of the lines and come
out as `set` lines for the configuration.
Invariants: a number is on one line only (the last word counts); emergency numbers are never dialled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from firmware.call.model import Alert, Cause, LegAnswered, LegEnded, LegOffered, LineMissed, Party
from firmware.config.schema.ports import FxoLine
from firmware.control import line_commands as cmd
from firmware.core.doctor.book import LineBook
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock

CALL_MS = 30_000
HEARD_MS = 6000          # an answered mobile has shown the number
RINGS_MS = 6500          # a line rings "now" so long after a burst began


class WalkMedia(Protocol):
    """What the walk test needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...


class WalkTest:
    """See the theory of operation."""

    def __init__(
        self, book: LineBook, media: WalkMedia, bus: Bus, clock: Clock, new_leg: Callable[[], str], zone: str, emergency: Collection[str]
    ) -> None:
        self._book, self._clock, self._new_leg, self._zone = book, clock, new_leg, ZoneInfo(zone)
        self._emergency = frozenset(emergency)
        self.active = False
        self._bursts: dict[str, int] = {}
        self._callers: dict[str, str] = {}
        self._calls: dict[str, str] = {}
        self._slots = {port.slot: port.endpoint for port in book.lines.ports.values() if isinstance(port.config, FxoLine)}
        media.subscribe(self._on_media)
        bus.subscribe((LegOffered, LineMissed), self._on_call)
        bus.subscribe(LegAnswered, self._on_answer)
        bus.subscribe(LegEnded, self._on_ended)

    # --- commands -----------------------------------------------------------------------------------------------------

    def start(self, _: cmd.WalkStart) -> list[cmd.WalkRow]:
        """Begin anew; labels that were found before stay."""
        self.active = True
        self._bursts.clear()
        self._callers.clear()
        return self.show(None)

    def stop(self, _: cmd.WalkStop) -> list[str]:
        """End; the `set` lines."""
        self.active = False
        return self.lines(None)

    def show(self, _: cmd.WalkShow | None) -> list[cmd.WalkRow]:
        """One row for each outside line, the one that rang last first."""
        self._active()
        rows = [self._row(port) for port in self._ports()]
        return sorted(rows, key=lambda row: -self._bursts.get(f"line/{row.line}", -1))

    def number(self, command: cmd.WalkNumber) -> cmd.Done:
        """Which number is on a line."""
        port = self._book.line(command.line)
        for other in self._ports():
            if other is not port and self._book.label_of(other) == command.number and other.endpoint in self._book.labels:
                raise CommandError(f"{command.number} was found on {other.endpoint} before; test that line again first")
        self._book.label(port, command.number, "said")
        jack = port.endpoint.rpartition("/")[2]
        return cmd.Done(
            f'line {jack} is {command.number}; set ports.fxo.{jack}.number "{command.number}"',
            f'线路 {jack} 的号码是 {command.number}；set ports.fxo.{jack}.number "{command.number}"',
        )

    def call(self, command: cmd.WalkCall) -> cmd.Done:
        """Dial a mobile phone from a line for half a minute."""
        port = self._book.line(command.line)
        if any(command.mobile.startswith(number) for number in self._emergency):
            raise CommandError(f"{command.mobile} is an emergency number: name your mobile phone")
        status = port.status()
        if status.available != "idle" or status.leg or port.waiting:
            raise CommandError(f"{port.endpoint} is {status.available} {status.detail}".strip())
        leg = self._new_leg()
        self._calls[leg] = port.endpoint
        self._book.own.add(leg)
        self._book.lines.originate(leg, port.endpoint, number=command.mobile, caller=Party(), alert=Alert.NORMAL, ring_ms=CALL_MS)
        self._clock.call_later(CALL_MS, lambda: self._hang_up(leg))
        jack = port.endpoint.rpartition("/")[2]
        return cmd.Done(
            f"line {jack} dials {command.mobile}: read the number on its display, then `walk number {jack} NUMBER`",
            f"线路 {jack} 正在呼叫 {command.mobile}：请看手机上显示的号码，然后输入 walk number {jack} 号码",
        )

    def lines(self, _: cmd.WalkLines | None) -> list[str]:
        """What differs from the configuration, as `set` lines."""
        found = []
        for port in self._ports():
            known = self._book.labels.get(port.endpoint)
            if known is not None and known.number != getattr(port.config, "number", ""):
                jack = port.endpoint.rpartition("/")[2]
                found.append(f'set ports.fxo.{jack}.number "{known.number}"')
        return found

    # --- inside -------------------------------------------------------------------------------------------------------

    def _active(self) -> None:
        if not self.active:
            raise CommandError("no walk test is going on; `walk start` begins one")

    def _ports(self) -> list[LinePort]:
        ports = [port for port in self._book.lines.ports.values() if isinstance(port.config, FxoLine)]
        return sorted(ports, key=lambda port: port.slot)

    def _row(self, port: LinePort) -> cmd.WalkRow:
        at = self._bursts.get(port.endpoint, -1)
        rings = at >= 0 and self._clock.now() - at < RINGS_MS and port.machine.state.state == "RINGING"
        known = self._book.labels.get(port.endpoint)
        caller = self._callers.get(port.endpoint, "") or (getattr(port.machine.state, "caller", None) or Party()).number
        if rings:
            state = ("rings now: which number did you dial?", "正在振铃：您拨的是哪个号码？")
        elif known is not None:
            state = ("found", "已登记")
        elif at >= 0:
            state = ("rang: which number did you dial?", "已振铃：您拨的是哪个号码？")
        else:
            state = ("not rung yet", "尚未振铃")
        rang = "" if at < 0 else datetime.fromtimestamp(self._wall(at) / 1000, self._zone).strftime("%H:%M:%S")
        number = known.number if known is not None else ""
        return cmd.WalkRow(port.endpoint.rpartition("/")[2], rang, caller, number, getattr(port.config, "number", ""), *state)

    def _wall(self, at: int) -> int:
        return self._clock.wall_ms() - (self._clock.now() - at)

    def _on_media(self, event: Any) -> None:
        endpoint = self._slots.get(getattr(event, "port", -1), "")
        if endpoint and type(event).__name__ == "RingBurst" and event.on:
            if self._clock.now() - self._bursts.get(endpoint, -1_000_000) > 2 * RINGS_MS:
                self._callers.pop(endpoint, None)
            self._bursts[endpoint] = event.at

    def _on_call(self, event: Any) -> None:
        if event.endpoint in self._slots.values() and event.ring_started:
            self._callers[event.endpoint] = event.caller.number or event.caller.reason

    def _on_answer(self, event: LegAnswered) -> None:
        if event.leg in self._calls:
            self._clock.call_later(HEARD_MS, lambda: self._hang_up(event.leg))

    def _on_ended(self, event: LegEnded) -> None:
        self._calls.pop(event.leg, None)

    def _hang_up(self, leg: str) -> None:
        if leg in self._calls:
            self._book.lines.hang_up(leg, Cause.NORMAL)
