"""The line doctor: everything an installer asks of a line, wired and attached to the gate (L5).

Theory of operation
-------------------
`LineDoctor` makes the parts (book, captures, walk test, butt-set, self-test, caller id, echo) around one `LineBook` and registers their
handlers. `driver` is what calls must use instead of `Lines`, and `recorder` what they must use instead of `Media`: with them a test gives a
line back to the call that wants it, and a capture its recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from firmware.call.model import LegDriver
from firmware.config.schema.tree import Config
from firmware.control import line_commands as cmd
from firmware.control.gate import Gate
from firmware.core.doctor.book import LineBook
from firmware.core.doctor.callerid_auto import CallerIdAuto
from firmware.core.doctor.capture import Background, Captures, SharedRecorder
from firmware.core.doctor.echo import EchoDoctor, row
from firmware.core.doctor.hand import ButtSet
from firmware.core.doctor.selftest import SelfTest
from firmware.core.doctor.walk import WalkTest
from firmware.core.doctor.yielding import YieldingLines
from firmware.core.lines import Lines
from firmware.core.lines_port import LinePort
from firmware.line.doctor import judge
from firmware.line.doctor_facts import facts
from firmware.line.profiles import Profile
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.linebook import LineBookStore


class LineDoctor:
    """See the theory of operation. Make it before `Lines.start`: it says which caller id lines listen for."""

    def __init__(
        self,
        *,
        config: Config,
        profile: Profile,
        lines: Lines,
        phones: LegDriver,
        media: Any,
        bus: Bus,
        clock: Clock,
        alarms: Alarms,
        store: LineBookStore,
        state: Path,
        new_leg: Callable[[], str],
        emergency: Collection[str],
        background: Background,
        calls: Callable[[], int],
    ) -> None:
        zone = config.site.time_zone
        self._alarms = alarms
        self.driver = YieldingLines(lines, bus, clock)
        self.recorder = SharedRecorder(media, lambda: self.captures)
        self.book = LineBook(lines, media, bus, clock, store)
        self.book.alarms_of = self._alarms_of
        self.captures = Captures(self.book, media, clock, state / "captures", zone, config.recording.reserve_mb, background)
        self.walk = WalkTest(self.book, media, bus, clock, new_leg, zone, emergency)
        self.hand = ButtSet(self.book, media, phones, config, profile, bus, clock, new_leg, emergency)
        self.test = SelfTest(
            self.book, self.driver, media, bus, clock, alarms, new_leg, state, at=config.site.self_test_at, zone=zone, calls=calls
        )
        self.caller_id = CallerIdAuto(self.book, media, bus, clock)
        self.echo = EchoDoctor(self.book, media, profile, clock)

    def configure(self, config: Config) -> None:
        """Take over another configuration."""
        self.captures.reserve(config.recording.reserve_mb)
        self.hand.configure(config)

    def _alarms_of(self, endpoint: str) -> tuple[tuple[str, str], ...]:
        raised = [(kind, text) for kind, text, _ in self._alarms.list() if kind.partition(":")[2] == endpoint]
        return tuple((text, self._alarms.chinese(kind)) for kind, text in raised)

    def start(self, ports: Iterable[Any], *, boot: bool) -> None:
        """Media and lines run; `ports` is what media held already. `boot`: the appliance starts, not only call control."""
        self.test.after_boot = boot
        self.captures.settle(ports)
        self.echo.start()

    def attach(self, gate: Gate) -> None:
        """Register every handler."""
        gate.handle(cmd.ShowLine, lambda one: self.report(self.book.port(one.line), advice=False))
        gate.handle(cmd.DoctorLine, lambda one: self.report(self.book.port(one.line), advice=True))
        gate.handle(cmd.DoctorAll, lambda _: self.all())
        gate.handle(cmd.DoctorEcho, self.echo.echo)
        gate.handle(cmd.DoctorTune, self.echo.tune)
        gate.handle(cmd.DoctorTermination, self.echo.choose)
        gate.handle(cmd.DoctorLoop, self._loop)
        gate.handle(cmd.CaptureStart, self.captures.start)
        gate.handle(cmd.CaptureStop, self.captures.stop)
        gate.handle(cmd.CaptureList, self.captures.listing)
        gate.handle(cmd.CaptureShow, self.captures.show)
        gate.handle(cmd.CaptureRead, self.captures.read)
        gate.handle(cmd.CaptureDelete, self.captures.delete)
        gate.handle(cmd.WalkStart, self.walk.start)
        gate.handle(cmd.WalkShow, self.walk.show)
        gate.handle(cmd.WalkNumber, self.walk.number)
        gate.handle(cmd.WalkCall, self.walk.call)
        gate.handle(cmd.WalkLines, self.walk.lines)
        gate.handle(cmd.WalkStop, self.walk.stop)
        gate.handle(cmd.ButtSeize, self.hand.seize)
        gate.handle(cmd.ButtKeys, self.hand.keys)
        gate.handle(cmd.ButtFlash, self.hand.flash)
        gate.handle(cmd.ButtShow, self.hand.show)
        gate.handle(cmd.ButtRelease, self.hand.release)
        gate.handle(cmd.ShowSelfTest, self.test.show)
        gate.handle(cmd.SelfTestRun, self.test.run)
        gate.handle(cmd.ShowCallerId, self.caller_id.show)
        gate.handle(cmd.CallerIdRestart, self.caller_id.restart)

    # --- reports ------------------------------------------------------------------------------------------------------

    def report(self, port: LinePort, *, advice: bool) -> cmd.LineReport:
        """A port in words; without advice only the worst finding."""
        view = self.book.view(port)
        found = judge(view)
        rows = [row(one, view.jack) for one in (found if advice else found[:1])]
        told = [cmd.FactRow(one.name_en, one.name_zh, one.value_en, one.value_zh) for one in facts(view)]
        return cmd.LineReport(port.endpoint, view.label, told, rows)

    def all(self) -> list[cmd.DoctorRow]:
        """The worst finding of each port, in the order of `show lines`."""
        rows = []
        for status in self.book.lines.status():
            view = self.book.view(self.book.lines.ports[status.endpoint])
            worst = row(judge(view)[0], view.jack)
            rows.append(cmd.DoctorRow(
                status.endpoint, view.label, worst.code, worst.weight_en, worst.weight_zh, worst.finding_en, worst.finding_zh
            ))  # fmt: skip
        return rows

    async def _loop(self, command: cmd.DoctorLoop) -> cmd.LineReport:
        return self.report(await self.echo.loop(command), advice=True)
