"""Runs the steps in order: retests, safety stop, dependencies, budgets (L5).

Theory of operation
-------------------
Steps stand in `STEPS` in the order in which they can be done: chips are touched only while the PCM clocks run (6 before 3), and jacks 1 are
on the chips only once the lifeline relay is energised, which needs both ports up (19 before 11). Numbers are those of the list in
docs/factory.md.
A step that fails is repeated once; the second failure sends the board to the repair bin. A failure of a safety step, or `Unsafe` in any
step, stops the run at once. A step whose predecessors did not pass is skipped with the reason. Whatever happens, `power_down` is the end.
Every finished attempt is handed to `keep` before the next step begins, so that a crash or the restarts of steps 22 and 23 lose nothing.
Invariants: each step appears in the results at least once; after `stopped` no further step runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from firmware.errors import HardwareError
from firmware.factory import steps_box as box
from firmware.factory import steps_chips as chips
from firmware.factory import steps_ports as ports
from firmware.factory import steps_speech as speech
from firmware.factory.instruments import FixtureError
from firmware.factory.results import StepResult, Verdict
from firmware.factory.rig import Notes, Place, Restart, Rig, Step, Unsafe, need_both, need_fxo, need_fxs
from firmware.hal.api import Feed, Hook

log = logging.getLogger("branchpbx.factory")

STEPS: tuple[Step, ...] = (
    Step(1, "supply", "Supply, idle", box.supply, safety=True),
    Step(2, "identity", "Identity memory", box.identity, missing=box.no_eeprom),
    Step(6, "clocks", "PCM clocks", chips.clocks),
    Step(3, "spi", "SPI and chip count", chips.spi, ("clocks",)),
    Step(4, "reset", "RESET and first values", chips.reset, ("spi",)),
    Step(5, "interrupts", "INT lines", chips.interrupts, ("spi", "reset"), missing=chips.no_interrupts),
    Step(7, "slots", "PCM slots", chips.slots, ("spi", "reset")),
    Step(8, "link", "FXO isolation link", ports.link, ("spi", "reset"), missing=need_fxo),
    Step(9, "converter", "FXS converters", ports.converter, ("spi", "reset"), safety=True, missing=need_fxs),
    Step(10, "calibration", "FXS calibration", ports.calibration, ("converter",), missing=need_fxs),
    Step(1, "supply-active", "Supply, all SLICs active", box.supply_active, ("calibration",), safety=True, missing=need_fxs),
    Step(19, "lifeline", "Lifeline relay", box.lifeline, ("link", "calibration"), missing=box.no_lifeline),
    Step(11, "idle-voltage", "FXS idle voltage", ports.idle_voltage, ("calibration", "lifeline"), missing=need_fxs),
    Step(12, "loop", "FXS loop", ports.loop, ("calibration", "lifeline"), missing=need_fxs),
    Step(13, "ringing", "FXS ringing", ports.ringing, ("calibration", "lifeline"), missing=need_fxs),
    Step(14, "line-voltage", "FXO line voltage", ports.line_voltage, ("link", "lifeline"), missing=need_fxo),
    Step(15, "line-loop", "FXO loop", ports.line_loop, ("link", "lifeline"), missing=need_fxo),
    Step(16, "ring-detect", "FXO ring detection", ports.ring_detect, ("link", "lifeline"), missing=need_fxo),
    Step(17, "analog", "Speech paths", speech.analog, ("loop", "line-loop", "slots"), missing=need_both),
    Step(18, "call", "Dialling and caller id", speech.call, ("loop", "line-loop", "slots"), missing=need_both),
    Step(20, "panel", "LEDs and button", box.panel, missing=box.no_panel),
    Step(21, "ethernet", "Ethernet", box.ethernet),
    Step(22, "rtc", "Battery clock", box.rtc),
    Step(23, "storage", "Memories, USB, sensor, watchdog", box.storage),
    Step(24, "insulation", "Insulation and surge", box.insulation),
)
LABORATORY = "insulation"
ON_CHIPS = tuple(step.name for step in STEPS if 3 <= step.number <= 19 or step.name == "supply-active")


def all_on_chips_done(done: Sequence[StepResult]) -> bool:
    """True when nothing that is left needs the chips."""
    return set(ON_CHIPS) <= {result.step for result in done}


def survivors(done: Sequence[StepResult]) -> list[StepResult]:
    """What holds after a crash while chips were up: drivers and relay begin anew, so only failures on the chips still count."""
    return [result for result in done if result.step not in ON_CHIPS or result.status == "fail"]


class Runner:
    """One run over all steps."""

    def __init__(
        self, rig: Rig, *, steps: Sequence[Step] = STEPS, done: Sequence[StepResult] = (),
        keep: Callable[[StepResult], None] = lambda result: None,
        earlier: Sequence[str] = (), begin: Callable[[Step], None] = lambda step: None,
    ) -> None:  # fmt: skip
        self.rig = rig
        self.results = list(done)
        self._steps = steps
        self._keep = keep
        self._begin = begin
        self._earlier = set(earlier)
        """Steps that failed in an earlier run of this board."""
        self.stopped = ""
        self.repair = ""
        for result in done:
            self._judge(result)

    @property
    def verdict(self) -> Verdict:
        """Of the whole run."""
        if self.repair:
            return "repair"
        if self.stopped:
            return "stopped"
        return "fail" if any(self.status(step.name) in ("fail", "skip", "not-run") for step in self._steps) else "pass"

    def status(self, name: str) -> str:
        """Of the last attempt at a step; empty before it."""
        return next((result.status for result in reversed(self.results) if result.step == name), "")

    def run(self) -> None:
        """All steps that are not done. Raises `Restart` where the board loses its supply, `FixtureError` where the fixture fails."""
        restarting = False
        try:
            self.rig.fixture.reset()
            for step in self._steps:
                while self._wanted(step):
                    self._once(step)
        except Restart:
            restarting = True
            raise
        finally:
            if not restarting:
                self.rig.power_down()

    def _wanted(self, step: Step) -> bool:
        attempts = [result for result in self.results if result.step == step.name]
        if not attempts:
            return True
        return attempts[-1].status == "fail" and not self.stopped and not self.repair and len(attempts) <= self.rig.limits.retests

    def _once(self, step: Step) -> None:
        limits = step.limits(self.rig.limits)
        attempt = 1 + sum(result.step == step.name for result in self.results)
        result = StepResult(step.number, step.name, step.title, "pass", attempt, budget_s=limits.budget_s)
        reason = limits.absent or step.missing(self.rig)
        blocked = [name for name in step.needs if self.status(name) in ("fail", "skip", "not-run")]
        if step.name == LABORATORY:
            self._add(result, "laboratory", [limits.absent or "done by the safety laboratory, never by software"])
        elif reason:
            self._add(result, "absent", [reason])
        elif self.stopped:
            self._add(result, "not-run", [f"stopped for safety: {self.stopped}"])
        elif blocked:
            self._add(result, "skip", [f"needs {', '.join(blocked)}, which did not pass"])
        else:
            self._measure(step, result)

    def _measure(self, step: Step, result: StepResult) -> None:
        rig, notes = self.rig, Notes()
        self._begin(step)
        began, unsafe = rig.clock.now(), ""
        try:
            step.run(rig, notes)
        except Unsafe as error:
            unsafe = str(error)
            if not any(unsafe in reason for reason in notes.reasons):
                notes.reasons.append(unsafe)
        except FixtureError:
            raise
        except Restart as restart:
            restart.memory["spent"] = rig.memory.get("spent", 0.0) + (rig.clock.now() - began) / 1000
            raise
        except (HardwareError, OSError) as error:
            notes.reasons.append(str(error))
        status = "fail" if notes.reasons else "pass"
        seconds = (rig.clock.now() - began) / 1000 + rig.memory.get("spent", 0.0)
        if seconds > result.budget_s:
            notes.facts["over budget"] = f"{seconds:.1f} s of {result.budget_s:g} s"
        self._add(result, status, notes.reasons, notes, seconds, stop=unsafe or (step.title if status == "fail" and step.safety else ""))
        rig.memory.clear()
        if not self.stopped:
            self._tidy(failed=status == "fail" and step.name in ON_CHIPS)

    def _add(
        self, result: StepResult, status: str, reasons: list[str], notes: Notes | None = None, seconds: float = 0.0, *, stop: str = ""
    ) -> None:
        found = StepResult(
            result.number, result.step, result.title, status, result.attempt, reasons,  # type: ignore[arg-type]
            notes.numbers if notes else [], notes.facts if notes else {}, round(seconds, 3), result.budget_s,
        )  # fmt: skip
        self.stopped = self.stopped or stop
        if stop:
            self.rig.power_down()
        self.results.append(found)
        self._judge(found)
        self._keep(found)

    def _judge(self, result: StepResult) -> None:
        """A second failure of a step, in this run or after one in an earlier run."""
        if result.status != "fail":
            return
        step = next((step for step in self._steps if step.name == result.step), None)
        if step is not None and step.safety:
            self.stopped = self.stopped or step.title
        failures = sum(one.step == result.step and one.status == "fail" for one in self.results) + (result.step in self._earlier)
        if failures > self.rig.limits.retests:
            self.repair = self.repair or result.step

    def _tidy(self, *, failed: bool) -> None:
        """Nothing on the jacks between two steps, and after a failure on the chips every port at rest, whatever it was told."""
        self.rig.highway.hold({})
        self.rig.fixture.part()
        if not failed:
            return
        at_rest: list[tuple[Place, int]] = []
        if self.status("link") == "pass":
            at_rest += [(place, Hook.ON_HOOK) for place in self.rig.fxo()]
        if self.status("calibration") == "pass":
            at_rest += [(place, Feed.ACTIVE) for place in self.rig.fxs()]
        for place, drive in at_rest:
            try:
                place.port.drive(drive)
            except (HardwareError, OSError) as error:
                log.warning("%s is not at rest after a failed step: %s", place.title, error)
