"""The daily self-test: every idle line and telephone jack, the disk and the clock, at a quiet hour (L5).

Theory of operation
-------------------
Once a local day, at `site.self_test_at` or as soon after as nothing goes on, and ten quiet minutes after a start, ports are tested one
after the other. A line is seized through its ordinary machine: voltage before, loop current, time until dial tone, then on-hook; that is
the way calls take, so a test that passes means something. A telephone jack is only looked at: feed, handset. Whatever sounds like work
breaks the test off at once: a call from outside, a lifted telephone, an emergency, a call that wants this very line (`yielding.py`, which
dials it a moment later). A line that fails is tried once more at the end of the run; two failures in a row raise an alarm, the next success
clears it.
Results are kept in `state.db`. Judgments: `line/selftest.py`.
Invariants: one line at a time; a test holds a line for at most `LIMIT_MS`; what was broken off counts neither as passed nor as failed.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from firmware.call.events import EmergencyStarted
from firmware.call.model import Alert, Cause, EndpointState, LegEnded, LegOffered, Party
from firmware.config.schema.ports import FxoLine
from firmware.control import line_commands as cmd
from firmware.core.doctor.book import LineBook
from firmware.core.doctor.yielding import YieldingLines
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError
from firmware.line.doctor_texts import SAYINGS
from firmware.line.selftest import ALARM_AFTER, QUIET_MS, Reading, Result, carry, due
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

log = logging.getLogger("branchpbx.doctor")

POLL_MS = 60_000
LIMIT_MS = 15_000
LISTEN_MS = 700                  # dial tone must stand so long
BETWEEN_MS = 3000                # the line rests before the next one is tested
DISK_LEAST = 200 * 1_000_000
WALL_LEAST = 1_735_689_600_000   # 2025-01-01: an earlier clock was never set
BOX = ("disk", "clock")
#: Ends of a seizure that speak of the line; any other speaks of us.
OF_THE_LINE = frozenset({"line-fault", "no-dial-tone", "congestion", "busy"})


class TestMedia(Protocol):
    """What the tester needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...


class SelfTest:
    """See the theory of operation. `calls()` is how many contacts are live; `at` "hh:mm" or "" for never."""

    def __init__(
        self,
        book: LineBook,
        lines: YieldingLines,
        media: TestMedia,
        bus: Bus,
        clock: Clock,
        alarms: Alarms,
        new_leg: Callable[[], str],
        state: Path,
        *,
        at: str,
        zone: str,
        calls: Callable[[], int],
    ) -> None:
        self._book, self._lines, self._clock, self._alarms = book, lines, clock, alarms
        self._new_leg, self._state, self._at, self._zone, self._calls = new_leg, state, at, ZoneInfo(zone), calls
        self.results: dict[str, Result] = {}
        self._load()
        self._queue: deque[tuple[LinePort, bool]] = deque()
        self._port: LinePort | None = None
        self._again = False
        self._leg = ""
        self._hung_up = False
        self._seized_at = 0
        self._volts: float | None = None
        self._milliamps: float | None = None
        self._tone_ms: int | None = None
        self._broken_off = ""
        self._limit: Timer | None = None
        self._last_work = clock.now()
        self._last_day = max((self._day(one.wall_ms) for one in self.results.values()), default="")
        self.after_boot = False
        """A test is owed since the appliance started."""
        book.test_of = self.results.get
        bus.subscribe((LegOffered, EmergencyStarted), self._work_comes)
        bus.subscribe(EndpointState, self._on_state)
        bus.subscribe(LegEnded, self._on_ended)
        media.subscribe(self._on_media)
        clock.call_later(POLL_MS, self._poll)

    def _load(self) -> None:
        for target, (line, result) in self._book.store.load("test", Result).items():
            port = self._book.lines.ports.get(target)
            if target in BOX or (port is not None and port.line == line):
                self.results[target] = result

    # --- when ---------------------------------------------------------------------------------------------------------

    def _day(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).strftime("%Y-%m-%d")

    def _poll(self) -> None:
        self._clock.call_later(POLL_MS, self._poll)
        wall, now = self._clock.wall_ms(), self._clock.now()
        local = datetime.fromtimestamp(wall / 1000, self._zone)
        minute, day = local.hour * 60 + local.minute, local.strftime("%Y-%m-%d")
        if self._port is not None or self._queue:
            return
        quiet, calls = now - self._last_work, self._calls()
        night = due(self._at, minute, day, self._last_day, quiet, calls=calls)
        if night or (self.after_boot and self._at and quiet >= QUIET_MS and not calls):
            self._last_day = day if night else self._last_day
            self.after_boot = False
            self.begin()

    def run(self, _: cmd.SelfTestRun) -> cmd.Done:
        """Test every idle port now."""
        if self._port is not None or self._queue:
            raise CommandError("a self-test is going on; `show self-test` has its results")
        count = self.begin()
        return cmd.Done(
            f"{count} ports are tested; `show self-test` has the results", f"正在自检 {count} 个端口；用 show self-test 查看结果"
        )

    def begin(self) -> int:
        """Test the box and every port that is idle; how many ports."""
        self._box()
        self._queue.extend((port, False) for port in self._book.lines.ports.values())
        self._clock.call_later(0, self._next)
        return len(self._queue)

    # --- one port after the other -------------------------------------------------------------------------------------

    def _next(self) -> None:
        if self._port is not None:
            return
        while self._queue:
            port, again = self._queue.popleft()
            self._again = again
            if not isinstance(port.config, FxoLine):
                self._look(port)
                continue
            if port.leg or port.waiting or self._calls():
                continue
            status = port.status()
            if status.battery is False or status.available != "idle":
                self._dead(port)
                continue
            self._seize(port)
            return

    def _look(self, port: LinePort) -> None:
        """A telephone: its feed, its handset. One that is lifted has been so for a while, or is at work."""
        status = port.status()
        lifted = status.off_hook or status.state in ("REORDER", "HOWLER", "LOCKOUT")
        if lifted and status.state not in ("HOWLER", "LOCKOUT"):
            return
        self._keep(port, Reading("fxs", volts=status.volts, off_hook=lifted))

    def _dead(self, port: LinePort) -> None:
        """A line that cannot be seized because of its voltage; a busy one is not tested."""
        status = port.status()
        if status.battery is False:
            self._keep(port, Reading("fxo", volts=0.0))
        elif status.state == "IN_USE":
            self._keep(port, Reading("fxo", volts=status.volts))

    def _seize(self, port: LinePort) -> None:
        status = port.status()
        self._port, self._leg, self._broken_off, self._hung_up = port, self._new_leg(), "", False
        self._volts, self._milliamps, self._tone_ms = status.volts or None, None, None
        self._seized_at = self._clock.now()
        self._book.own.add(self._leg)
        self._lines.hold(port.endpoint, lambda: self.break_off("the line is wanted"))
        self._limit = self._clock.call_later(LIMIT_MS, self._hang_up)
        # A pause instead of a number: the machine seizes, wants loop current and dial tone, and then waits.
        self._book.lines.originate(self._leg, port.endpoint, number=",,,,", caller=Party(), alert=Alert.NORMAL, ring_ms=LIMIT_MS)

    def _on_media(self, event: Any) -> None:
        port, name = self._port, type(event).__name__
        if port is None or event.port != port.slot:
            return
        if name == "LoopCurrent" and event.flowing:
            self._milliamps = round(event.milliamps, 1)
        elif name == "ToneHeard" and event.name == "dial" and self._tone_ms is None:
            self._tone_ms = max(0, event.start_at - self._seized_at)
            self._clock.call_later(LISTEN_MS, self._hang_up)

    def _hang_up(self) -> None:
        if self._leg:
            self._hung_up = True
            self._book.lines.hang_up(self._leg, Cause.NORMAL)

    def break_off(self, why: str) -> None:
        """Somebody needs a line or telephone: the present test ends at once, the others wait for another time."""
        self._queue.clear()
        if self._port is None or self._broken_off:
            return
        self._broken_off = why
        log.info("self-test of %s broken off: %s", self._port.endpoint, why)
        self._hang_up()

    def _on_ended(self, event: LegEnded) -> None:
        if not self._leg or event.leg != self._leg:
            return
        port, self._port, self._leg = self._port, None, ""
        if self._limit is not None:
            self._limit.cancel()
        assert port is not None
        cause = "" if event.evidence.kind == "command" else event.cause.value
        if (event.evidence.kind == "command" and not self._hung_up) or (cause and cause not in OF_THE_LINE):
            self._broken_off = self._broken_off or "the line could not be taken"
        if event.evidence.kind == "ring":
            self._broken_off = self._broken_off or "a call came in"
        reading = Reading(
            "fxo", volts=self._volts, milliamps=self._milliamps, dial_tone_ms=self._tone_ms, cause=cause, broken_off=self._broken_off
        )
        self._keep(port, reading)
        self._clock.call_later(BETWEEN_MS, lambda: self._rested(port))

    def _rested(self, port: LinePort) -> None:
        self._lines.free(port.endpoint)
        self._next()

    def _keep(self, port: LinePort, reading: Reading) -> None:
        result = carry(self.results.get(port.endpoint), port.endpoint, reading, self._clock.wall_ms())
        if result is None:
            return
        if result.failed and not self._again and not reading.broken_off and result.in_row < ALARM_AFTER and reading.kind == "fxo":
            self._queue.append((port, True))
        self._store(result, port.line)

    def _store(self, result: Result, line: int) -> None:
        self.results[result.target] = result
        self._book.store.save(result.target, "test", line, result, result.wall_ms)
        kind = f"self-test:{result.target}"
        if result.failed:
            log.warning("self-test of %s: %s (%d in a row)", result.target, result.failed, result.in_row)
        if result.in_row >= ALARM_AFTER:
            english, chinese = failure_words(result)
            self._alarms.raise_(
                kind, f"{result.target} failed its self-test {result.in_row} times in a row: {english}",
                f"{result.target} 连续 {result.in_row} 次自检未通过：{chinese}",
            )  # fmt: skip
        else:
            self._alarms.clear(kind)

    def _box(self) -> None:
        """Disk and clock."""
        wall = self._clock.wall_ms()
        disk = os.statvfs(self._state)
        free = disk.f_bavail * disk.f_frsize
        for target, failed, detail in (
            ("disk", "disk-low" if free < DISK_LEAST else "", f"{free // 1_000_000} MB free"),
            ("clock", "clock-wrong" if wall < max(WALL_LEAST, self._newest()) else "", ""),
        ):
            known = self.results.get(target)
            in_row = (known.in_row if known is not None else 0) + 1 if failed else 0
            self._store(Result(target, wall, failed, in_row, detail=detail), 1)

    def _newest(self) -> int:
        """A clock that stands before the last result has lost its time."""
        return max((one.wall_ms for name, one in self.results.items() if name != "clock"), default=0) - 120_000

    # --- what breaks it off -------------------------------------------------------------------------------------------

    def _work_comes(self, event: Any) -> None:
        self._last_work = self._clock.now()
        if isinstance(event, LegOffered):
            self._lines.free(event.endpoint)         # a call is on it: what it says of itself is true again
        self.break_off("a call comes" if isinstance(event, LegOffered) else "an emergency call")

    def _on_state(self, event: EndpointState) -> None:
        port = self._book.lines.ports.get(event.endpoint)
        if event.state in ("busy", "ringing") and (port is None or port is not self._port) and not self._resting(event.endpoint):
            self._last_work = self._clock.now()
            self.break_off(f"{event.endpoint} is {event.state}")

    def _resting(self, endpoint: str) -> bool:
        """A line that was tested a moment ago."""
        return endpoint in self._lines.held

    # --- telling ------------------------------------------------------------------------------------------------------

    def show(self, _: cmd.ShowSelfTest) -> list[cmd.SelfTestRow]:
        """Last results, the box first."""
        rows = []
        order = [*BOX, *self._book.lines.ports]
        for target in order:
            result = self.results.get(target)
            if result is None:
                rows.append(cmd.SelfTestRow(target, "", "not tested yet", "尚未自检", 0))
                continue
            english, chinese = ("passed", "通过") if not result.failed else failure_words(result)
            tested = datetime.fromtimestamp(result.wall_ms / 1000, self._zone).strftime("%Y-%m-%d %H:%M")
            if result.detail:
                english, chinese = f"{english}, {result.detail}", f"{chinese}，{result.detail.replace('free', '可用')}"
            tone = result.dial_tone_ms if result.dial_tone_ms >= 0 else None
            measured = (result.volts or None, result.milliamps or None, tone)
            rows.append(cmd.SelfTestRow(target, tested, english, chinese, result.in_row, *measured))
        return rows


def failure_words(result: Result) -> tuple[str, str]:
    """What failed, English and Chinese."""
    own = {"disk-low": ("the disk is nearly full", "磁盘空间不足"), "clock-wrong": ("the clock is wrong", "时钟不正确")}
    if result.failed in own:
        return own[result.failed]
    saying = SAYINGS.get(result.failed)
    if saying is None:
        return result.failed, result.failed
    values = {"volts": f"{abs(result.volts):.0f}", "milliamps": f"{result.milliamps:.0f}", "time": "?"}
    return saying.en.format_map(values), saying.zh.format_map(values)
