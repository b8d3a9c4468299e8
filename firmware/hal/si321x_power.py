"""Power-up of the Si3210 and Si3215: converter, leak test, calibration (L3).

Theory of operation
-------------------
The order is that of drivers in the field (Si3215 datasheet, revision 0.92, for the registers). Every step has a name and a limit. The
converter is started only after its output was looked at, and stopped before a step that must see the line without supply. Calibration
needs a telephone that is on hook, else the results of an earlier one are used; it is tried twice, automatically first (a Si3201 is
always calibrated by hand). Its results are kept, so that a chip that reset itself is back within a second.
Invariant: when `run` raises, its caller calls `down`: line open, converter off.
"""

from __future__ import annotations

import logging

from firmware.config.board import Linefeed
from firmware.hal import si321x_registers as r
from firmware.hal.api import ChipError, Feed
from firmware.hal.bus import Bench, PcmClocks
from firmware.hal.si321x_indirect import Indirect

log = logging.getLogger("branchpbx.hal")

CONVERTER_LIMIT_MS = 500
LEAK_MS = 500
LEAK_LATE_MS = 50  # a look so much later may find a sound capacitor empty
LEAK_LOOKS = 3
CALIBRATION_LIMIT_MS = 2000
CONVERTER_CALIBRATION_MS = 200
MANUAL_STEP_MS = 40
SETTLE_MS = 100
OLDEST_REVISION = 2
RESULTS = range(98, 108)
IDENTITY = 0x3F  # part and revision in register 0
POWER_SETTINGS = ((r.ENHANCEMENTS, 0xEB), (r.AUTOMATION, 0x07), (r.BIAS, 0x01))
CLOCK_REMEDY = "start the PCM stream of the sound device before the chips; without clocks their PLL does not lock"
CONVERTER_REMEDY = "no DC power: check the 12 V supply, coil, transistor and `linefeed.converter_period` of the board file"


class PowerUp:
    """The steps from RESET to a line that can be fed."""

    def __init__(
        self, bench: Bench, indirect: Indirect, clocks: PcmClocks, linefeed: Linefeed, calibration: tuple[int, ...] | None,
        *, mode: int,
    ) -> None:  # fmt: skip
        self._bench = bench
        self._indirect = indirect
        self.clocks = clocks
        self._linefeed = linefeed
        self.mode = mode
        self._identity = -1
        self.calibration = calibration if calibration is not None and len(calibration) == len(RESULTS) else None

    def require_clocks(self) -> None:
        """Step: the clocks of the PCM bus run."""
        with self._bench.step("PCM clocks"):
            if not self.clocks.clocks_running():
                raise self._bench.error(expected="PCLK and FSYNC to run", remedy=CLOCK_REMEDY)

    def is_identity(self, value: int) -> bool:
        """True when register 0 can be that of this chip."""
        return value & IDENTITY == self._identity if self._identity >= 0 else value & r.REVISION_MASK not in (0x00, 0x0F)

    def identity_text(self) -> str:
        """What register 0 must read."""
        return f"0x{self._identity:02X} in the bits 0x3F as at power-up" if self._identity >= 0 else "a revision of 1 to 14 in the low bits"

    def run(self, *, warm: bool, loop_step: int) -> None:
        """All steps up to the filters; `warm`: the chip may be configured already, and neighbours are at work."""
        self._identify(warm=warm)
        filters = self._prepare()
        self._start_converter("converter start")
        bench = self._bench
        with bench.step("loop current"):
            bench.verified(r.LOOP_LIMIT, loop_step)
            bench.write(r.DC_TIMING, 0x19)
        self._leak_test()
        self._start_converter("converter restart")
        if warm and self.calibration is not None:
            self._restore()
        else:
            self._calibrate()
            self._calibrate_converter()
        with bench.step("filters"):
            for number, value in filters.items():
                self._indirect.write(number, value)
            for number, value in {**self._values(), **filters}.items():
                self._indirect.expect(number, value)

    def _identify(self, *, warm: bool) -> None:
        bench = self._bench
        with bench.step("identity"):
            value = bench.read(r.SPI_MODE)
            revision = value & r.REVISION_MASK
            if revision in (0x00, 0x0F):
                remedy = "no chip answers: check chip select, RESET, MISO, supply, and daisy chain and jacks in the board file"
                raise bench.error(register=r.SPI_MODE, read=value, expected="a revision of 2 to 14 in the low bits", remedy=remedy)
            if revision < OLDEST_REVISION:
                raise bench.error(
                    register=r.SPI_MODE, read=value, expected="revision B (2) or later", remedy="the chip is too old; replace it"
                )
            self._indirect.know_family(bench.read(r.PCM_MODE))
            self._indirect.forget()
            if not warm:
                remedy = "the chip is not as after RESET; check its RESET line"
                for register in (r.LOOPBACK, r.LINEFEED, r.HYBRID):
                    bench.expect(register, r.RESET_VALUES[register], remedy=remedy)
            if warm:
                bench.write(r.SPI_MODE, self.mode)
            self._identity = value & IDENTITY
        with bench.step("converter off"):
            bench.write(r.LINEFEED, Feed.OPEN)
            bench.verified(r.POWER_DOWN, r.CONVERTER_OFF)

    def _values(self) -> dict[int, int]:
        board = {int(number): value for number, value in self._linefeed.indirect.items()}
        return {number: value for number, value in {**self._indirect.values(), **board}.items() if self._indirect.exists(number)}

    def _prepare(self) -> dict[int, int]:
        """Indirect registers, bias, and filters opened; returns the filter values to put back."""
        bench, indirect = self._bench, self._indirect
        with bench.step("indirect registers"):
            for number, value in self._values().items():
                indirect.write(number, value)
            if indirect.exists(r.SCRATCH):
                indirect.write(r.SCRATCH, 0)
        with bench.step("bias"):
            for register, value in ((r.LOOPBACK, 0x00), *POWER_SETTINGS):
                bench.verified(register, value)
        with bench.step("filters open"):
            saved = {number: indirect.read(number) for number in r.FILTERS}
            for number in r.FILTERS:
                indirect.write(number, r.NO_FILTER)
        return saved

    def _start_converter(self, step: str) -> None:
        bench = self._bench
        with bench.step(step):
            before = bench.read(r.BATTERY_1)
            if before >= r.BATTERY_GOOD:
                log.info("%s: the battery is still charged (register 82 reads 0x%02X) when the converter starts", bench.where, before)
            bench.verified(r.DC_PERIOD, self._linefeed.converter_period)
            bench.verified(r.POWER_DOWN, 0x00)
            bench.wait(
                r.BATTERY_1, lambda value: value >= r.BATTERY_GOOD, limit_ms=CONVERTER_LIMIT_MS, every_ms=10,
                expected="0xC0 (72 V) or more", remedy=CONVERTER_REMEDY,
            )  # fmt: skip

    def _leak_test(self) -> None:
        """Without converter, the charge of its capacitor stays for a while. Low is a leak only while it must be high: who was stopped
        meanwhile looks again with a fresh charge, and believes the last look."""
        bench = self._bench
        for attempt in range(LEAK_LOOKS):
            if attempt:
                self._start_converter("converter start")
            with bench.step("leak test"):
                value, late = self._discharge()
                if value > r.LEAK_LIMIT:
                    return
                if late and attempt < LEAK_LOOKS - 1:
                    log.info("%s: the charge was looked at too late, it is looked at again", bench.where)
                    continue
                raise bench.error(
                    register=r.BATTERY_1, read=value, expected=f"more than 0x06 (2.2 V) for {LEAK_MS} ms without converter",
                    remedy="the supply leaks: check the linefeed transistors and the jack for a short",
                )  # fmt: skip

    def _discharge(self) -> tuple[int, bool]:
        """Converter off; the charge when it was low or, after `LEAK_MS`, last, and whether that was read later than planned."""
        bench = self._bench
        bench.write(r.LINEFEED, Feed.OPEN)
        end = bench.clock.now() + LEAK_MS       # before the converter is off: who is stopped right after it is late
        bench.write(r.POWER_DOWN, r.CONVERTER_OFF)
        while True:
            last = bench.clock.now() >= end
            value = bench.read(r.BATTERY_1)
            late = bench.clock.now() > end + LEAK_LATE_MS
            if value <= r.LEAK_LIMIT or last:
                return value, late
            bench.clock.sleep(10)

    # --- calibration ------------------------------------------------------------------------------------------------------

    def _calibrate(self) -> None:
        if not self._on_hook():
            if self.calibration is not None:
                log.warning("%s: the telephone is off-hook; the calibration of an earlier start is used", self._bench.where)
                self._restore()
                return
            with self._bench.step("calibration"):
                raise self._bench.error(
                    register=r.DETECTORS, read=self._bench.read(r.DETECTORS), expected="a telephone that is on hook",
                    remedy="put the receiver down (or unplug the jack), then start the port again",
                )  # fmt: skip
        attempts = (self._manual,) * 2 if self._linefeed.external else (self._automatic, self._manual)
        for number, attempt in enumerate(attempts):
            try:
                attempt()
                return
            except ChipError as error:
                if number == len(attempts) - 1:
                    raise
                log.warning("%s; calibrating by hand", error)

    def _on_hook(self) -> bool:
        bench = self._bench
        with bench.step("calibration"):
            bench.write(r.LINEFEED, Feed.ACTIVE)
            bench.clock.sleep(SETTLE_MS)
            closed = bench.read(r.DETECTORS) & r.LOOP_CLOSED
            bench.write(r.LINEFEED, Feed.OPEN)
            bench.clock.sleep(SETTLE_MS)
            return not closed

    def _run_calibration(self, select: int, start: int) -> None:
        bench = self._bench
        bench.write(r.CALIBRATION_SELECT, select)
        bench.write(r.CALIBRATION_START, start)
        bench.wait(
            r.CALIBRATION_START, lambda value: value == 0, limit_ms=CALIBRATION_LIMIT_MS, every_ms=10, expected="0x00 (ready)",
            remedy="calibration does not end: the telephone must be on hook; check supply and linefeed",
        )  # fmt: skip

    def _automatic(self) -> None:
        with self._bench.step("calibration"):
            self._run_calibration(0x1F, 0x5F)

    def _manual(self) -> None:
        """Tip and ring gain mismatch are searched downwards until the transistor current is zero."""
        bench = self._bench
        with bench.step("calibration by hand"):
            self._run_calibration(0x18, 0x47)
            for register, current in ((r.CALIBRATION_TIP, r.GAIN_5_CURRENT), (r.CALIBRATION_RING, r.GAIN_6_CURRENT)):
                self._search(register, current)
            bench.write(r.LINEFEED, Feed.ACTIVE)
            bench.clock.sleep(SETTLE_MS)
            bench.write(r.LINEFEED, Feed.OPEN)
            self._run_calibration(0x01, 0x40)

    def _search(self, register: int, current: int) -> None:
        bench = self._bench
        for value in range(0x1F, -1, -1):
            bench.write(register, value)
            bench.clock.sleep(MANUAL_STEP_MS)
            if bench.read(current) == 0:
                return
        raise bench.error(
            register=current, read=bench.read(current), expected="0x00 for one of 32 gains", remedy="check the linefeed transistors"
        )

    def _calibrate_converter(self) -> None:
        bench = self._bench
        with bench.step("converter calibration"):
            bench.write(r.DC_TIMING, 0x99)
            bench.clock.sleep(CONVERTER_CALIBRATION_MS)
            peak = bench.read(r.PEAK_CURRENT)
            if peak not in r.PEAK_CURRENT_SANE:
                log.warning("%s: converter calibration gave %d, using %d", bench.where, peak, r.PEAK_CURRENT_DEFAULT)
                bench.verified(r.PEAK_CURRENT, r.PEAK_CURRENT_DEFAULT)
            self.calibration = tuple(bench.read(register) for register in RESULTS)

    def _restore(self) -> None:
        bench = self._bench
        with bench.step("stored calibration"):
            for register, value in zip(RESULTS, self.calibration or (), strict=False):
                bench.write(register, value)

    def down(self) -> None:
        """Line open, converter off; never raises."""
        for register, value in ((r.LINEFEED, Feed.OPEN), (r.POWER_DOWN, r.CONVERTER_OFF)):
            try:
                self._bench.write(register, value)
            except OSError as error:
                log.error("%s: register %d could not be written (%s); RESET has to take the supply", self._bench.where, register, error)
