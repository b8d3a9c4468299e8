"""Caller id auto mode: listens for every scheme for a week of calls, then settles each line's scheme (L5).

Theory of operation
-------------------
Only lines whose `caller_id` is "auto" take part. Each call from outside, offered or missed, is one vote: the last caller id message that
the receiver gave since shortly before the first ring names FSK standard and place; a number without a message came as keys. The votes
and the verdict (`line/callerid_auto.py`) are kept in `state.db` under the line's identity. A settled scheme is set at the port, from its
next rest on; the configuration is not touched, `show caller-id` gives the `set` line for it.
Invariant: one vote for each call; a line that is not "auto" in the configuration is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from firmware.call.model import LegOffered, LineMissed
from firmware.config.schema.ports import FxoLine
from firmware.control import line_commands as cmd
from firmware.core.doctor.book import LineBook
from firmware.core.lines_port import CallerIdScheme, LinePort
from firmware.line.callerid_auto import Place, Scheme, Tally, describe, settle, vote, wide
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock

log = logging.getLogger("branchpbx.doctor")

BEFORE_MS = 6000         # a message this long before the first ring belongs to its call


class CallerIdMedia(Protocol):
    """What this part needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...


@dataclass
class _Heard:
    """What a line's receiver gave last."""

    standard: str = ""
    at: int = -1_000_000
    alert_at: int = -1_000_000
    errors: int = 0


class CallerIdAuto:
    """See the theory of operation."""

    def __init__(self, book: LineBook, media: CallerIdMedia, bus: Bus, clock: Clock) -> None:
        self._book, self._clock = book, clock
        self._heard: dict[str, _Heard] = {}
        self._slots = {port.slot: port.endpoint for port in book.lines.ports.values() if isinstance(port.config, FxoLine)}
        self.tallies: dict[str, Tally] = {}
        for endpoint, (line, tally) in book.store.load("caller-id", Tally).items():
            port = book.lines.ports.get(endpoint)
            if port is not None and port.line == line:
                self.tallies[endpoint] = tally
        for port in self._ports():
            self._set(port)
        media.subscribe(self._on_media)
        bus.subscribe((LegOffered, LineMissed), self._on_call)

    def _ports(self) -> list[LinePort]:
        """Lines that take part."""
        return [port for port in self._book.lines.ports.values() if isinstance(port.config, FxoLine) and port.config.caller_id == "auto"]

    def _set(self, port: LinePort) -> None:
        tally = self.tallies.get(port.endpoint, Tally())
        scheme = cast(CallerIdScheme, "auto" if wide(tally) else tally.fixed)
        port.listen_for(scheme, wide=wide(tally))

    # --- votes --------------------------------------------------------------------------------------------------------

    def _on_media(self, event: Any) -> None:
        endpoint = self._slots.get(getattr(event, "port", -1), "")
        if not endpoint:
            return
        heard = self._heard.setdefault(endpoint, _Heard())
        if type(event).__name__ == "FskMessage":
            heard.standard, heard.at = event.standard, event.at
        elif type(event).__name__ == "AlertTone":
            heard.alert_at = event.at

    def _on_call(self, event: Any) -> None:
        port = self._book.lines.ports.get(event.endpoint)
        if port is None or port not in self._ports() or not event.ring_started:
            return
        heard = self._heard.setdefault(port.endpoint, _Heard())
        scheme: Scheme | None = None
        began = event.ring_started
        place: Place = "after"
        if heard.at >= began - BEFORE_MS and heard.standard in ("bell202", "v23"):
            scheme = cast(Scheme, heard.standard)
            place = "before" if heard.at < began else "after"
        elif event.caller.number:
            scheme, place = "dtmf", "before"
        errors = getattr(port.machine.state, "caller_id_errors", 0)
        damaged, heard.errors = max(0, errors - heard.errors), errors
        wall = self._clock.wall_ms()
        before = self.tallies.get(port.endpoint, Tally())
        tally = vote(before, wall, scheme, place, damaged=damaged, alert_tone=heard.alert_at >= began - BEFORE_MS)
        tally = settle(tally, wall)
        self._keep(port, tally)
        if tally.fixed != before.fixed:
            log.info("%s: caller id %s: %s", port.endpoint, tally.fixed or "listens for every scheme again", describe(tally, wall)[0])
            self._set(port)

    def _keep(self, port: LinePort, tally: Tally) -> None:
        self.tallies[port.endpoint] = tally
        self._book.store.save(port.endpoint, "caller-id", port.line, tally, self._clock.wall_ms())

    # --- commands -----------------------------------------------------------------------------------------------------

    def show(self, _: cmd.ShowCallerId) -> list[cmd.CallerIdRow]:
        """One row for each outside line."""
        rows = []
        for port in self._book.lines.ports.values():
            if not isinstance(port.config, FxoLine):
                continue
            jack, tally = port.endpoint.rpartition("/")[2], self.tallies.get(port.endpoint, Tally())
            english, chinese = describe(tally, self._clock.wall_ms())
            setting = ""
            if port.config.caller_id != "auto":
                scheme = port.config.caller_id
                english, chinese = f"configured: {scheme}", f"已配置：{scheme}"
            elif not wide(tally):
                setting = f'set ports.fxo.{jack}.caller_id "{tally.fixed}"'
            rows.append(cmd.CallerIdRow(
                jack, tally.calls, tally.bell202, tally.v23, tally.dtmf, tally.before, tally.damaged, english, chinese, setting
            ))  # fmt: skip
        return rows

    def restart(self, command: cmd.CallerIdRestart) -> cmd.Done:
        """Forget what was counted of a line."""
        port = self._book.line(command.line)
        self.tallies.pop(port.endpoint, None)
        self._book.store.forget(port.endpoint, "caller-id")
        if port in self._ports():
            self._set(port)
        return cmd.Done(f"{port.endpoint} listens for every scheme again", f"{port.endpoint} 重新监听所有制式")
