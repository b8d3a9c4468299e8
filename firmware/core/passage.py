"""Calls that passed through the branch, into the audit trail (L5).

Theory of operation
-------------------
Each `Passed` of the switchboard becomes a record as a command does: who (the trunk), what, by which way, under whose leave, and whether
it was let. It names the contact and no telephone number; `show contact` has the rest. The trail gets `TOLD` of a minute, and with the
next one how many more there were: a flood of calls pushes nothing else out of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from firmware.call.events import Passed
from firmware.config.passage import PASSINGS, Passing, breaks_out, laws, switch
from firmware.config.schema.tree import Config
from firmware.control.audit import CommandGiven
from firmware.control.gate import Gate
from firmware.control.trunk_commands import PassageRow, ShowPassage
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock

TOLD = 30
MINUTE_MS = 60_000
NAMES = {"break_out": "break out", "foreign_numbers": "show a foreign number"}
WHAT: dict[Passing, tuple[str, str]] = {
    "break_out": ("others dial out by our lines", "他方经本网点线路外呼"),
    "foreign_numbers": ("calls that are passed on show their caller's number", "转出的来电显示原主叫号码"),
}
STATES = {"on": ("on", "开"), "off": ("off", "关"), "waits": ("waits for the name of the leave", "等待填写许可来源")}


class PassageAudit:
    """See the theory of operation above."""

    def __init__(self, bus: Bus, clock: Clock, config: Callable[[], Config]) -> None:
        self._bus, self._clock, self._config = bus, clock, config
        self._times: deque[int] = deque(maxlen=TOLD)
        self._more = 0
        bus.subscribe(Passed, self._passed)

    def attach(self, gate: Gate) -> None:
        """Answer `show passage`."""
        gate.handle(ShowPassage, lambda command: rows(self._config()))

    def _passed(self, event: Passed) -> None:
        now = self._clock.now()
        if len(self._times) == TOLD and now - self._times[0] < MINUTE_MS:
            self._more += 1
            return
        self._times.append(now)
        args = {"contact": event.contact, "way": event.way, "permit": switch(self._config()).permit}
        if self._more:
            args["more"], self._more = str(self._more), 0
        peer = f"trunk {event.trunk}" if event.trunk else "line"
        outcome = "ok" if event.done else "not_allowed"
        told = msgspec.json.encode(args).decode()
        self._bus.publish(CommandGiven(event.at, self._clock.wall_ms(), peer, "call", NAMES[event.passing], told, outcome))


def rows(config: Config) -> list[PassageRow]:
    """What may pass: in the country of the site, then in others that have switches (a file for branches of several)."""
    here = config.site.country
    return [_row(config, one, passing) for one in dict.fromkeys((here, *config.passage)) if one in laws() for passing in PASSINGS]


def _row(config: Config, country: str, passing: Passing) -> PassageRow:
    law, switches = laws()[country], switch(config, country)
    needed = getattr(law, passing)
    state = "off" if not getattr(switches, passing) else "waits" if needed == "permit" and not switches.permit else "on"
    ask = [name for name, one in config.trunks.items() if (breaks_out(one) if passing == "break_out" else one.caller_shown == "caller")]
    return PassageRow(
        country, *WHAT[passing], *STATES[state], needed, switches.permit, ", ".join(ask) if country == config.site.country else "",
        "; ".join(law.sources),
    )  # fmt: skip
