"""Driver of the Si3050 + Si3019: a port towards the exchange (L3).

Theory of operation
-------------------
Si3050+Si3011/18/19 datasheet, revision 1.5; power-up order as drivers in the field use it. The chip on the system side talks to the line
side through an isolation link that lives on the PCM clocks: without clocks there is no link, so clocks are checked first.
Power-up, each a named step: PCM clocks, probe, soft reset, PCM slot, PCM mode, country, ring detector, line side power, isolation link,
gains, hook.
Off-hook audio is settled `settle_ms` after the hook closed (off-hook counter and calibration of the line side). On hook, the on-hook
monitor is on (caller id, line voltage); it is taken off before the hook closes, as the datasheet wants.
Ringing is judged by whoever reads register 5 each millisecond (full wave, chip's validator off); `ring_validation` turns the chip's own
validator on for readers that are slower.
Invariants: `attach` and `check` never write; reads are compared with the shadow of what was commanded; country changes on hook only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from firmware.config.board import PcmBus
from firmware.errors import LocalProtocolError
from firmware.hal import si3050_registers as r
from firmware.hal.api import Fault, Hook, LineFact
from firmware.hal.bus import Bench, Clock, PcmClocks, Spi, Where, hex8, signed8
from firmware.hal.chip import LineChip
from firmware.hal.countries import ACIM, fxo_country
from firmware.hal.framing import SpiRegisters
from firmware.hal.scan import SI3050, Write

log = logging.getLogger("branchpbx.hal")

SOFT_RESET_MS = 100
LINK_LIMIT_MS = 2000
HOOK_LIMIT_MS = 100
AUDITED_AT_ONCE = 4  # settings compared at each look
AUTO_CALIBRATION_MS = 256
RESISTOR_CALIBRATION_MS = 17
RING_LOWEST_HZ, RING_HIGHEST_HZ = 15, 68
# Registers that one look at the chip's health reads.
HEALTH = (
    r.CONTROL_2,
    r.DAA_1,
    r.DAA_2,
    r.REVISION,
    r.LINE_STATUS,
    r.LINE_REVISION,
    r.INTERNATIONAL_4,
    r.PCM_MODE,
)
CLOCK_REMEDY = "start the PCM stream of the sound device before the chips; without clocks they have neither PLL nor isolation link"


def ring_validator(lowest_hz: float, highest_hz: float) -> tuple[int, int]:
    """RAS and RMX for ringing between two frequencies: gaps between the events of a cycle in steps of 2 ms, RMX with one step of margin."""
    longest = -int(-250 // lowest_hz)
    return longest, int(longest - 250 / highest_hz) + 1


def gain_registers(decibels: float) -> tuple[int, int]:
    """Whole and tenth part of a gain: 0 to 12 dB up, 15 dB down; LocalProtocolError outside."""
    tenths = round(decibels * 10)
    if not -150 <= tenths <= 120:
        raise LocalProtocolError(f"gain {decibels} dB is outside -15 to +12 dB of the Si3050")
    sign = r.ATTENUATE if tenths < 0 else 0
    whole, rest = divmod(abs(tenths), 10)
    return sign | whole, sign | rest


class Si3050(LineChip):
    """An FXO port on one chip of a chain."""

    HEALTH = HEALTH
    IDENTITY = (r.CONTROL_2, "0x03")
    SLOT = (r.TX_START_LOW, r.TX_START_HIGH, r.RX_START_LOW, r.RX_START_HIGH)

    kind: Literal["fxo"] = "fxo"

    def __init__(
        self, spi: Spi, position: int, where: Where, *, slot: int, pcm: PcmBus, clocks: PcmClocks, clock: Clock, country: str,
        ring_validation: bool = False, full_scale: bool = False,
    ) -> None:  # fmt: skip
        self.where = where
        self.slot = slot
        self.line_side = ""
        self._chip = SpiRegisters(spi, "si3050", position)
        self._bench = Bench(self._chip, where, clock, r.NAMES)
        self._clock = clock
        self._clocks = clocks
        self._pcm = pcm
        self._country = country
        self._termination: int | None = None
        self._ring_validation = ring_validation
        self._full_scale = full_scale
        self._fast_hook = False
        self._off_hook = False
        self._looped = False
        self._gains = (0.0, 0.0)
        self._muted = 0
        self._hybrid: tuple[int, ...] = (0,) * r.HYBRID_TAPS
        self._audited = 0

    @property
    def settle_ms(self) -> int:
        """From closing the hook until audio is valid."""
        if self._fast_hook:
            return r.OFF_HOOK_COUNTER_MS[3] + RESISTOR_CALIBRATION_MS
        return r.OFF_HOOK_COUNTER_MS[1] + AUTO_CALIBRATION_MS + RESISTOR_CALIBRATION_MS

    @property
    def off_hook(self) -> bool:
        """What the hook was told last."""
        return self._off_hook

    # --- bring-up ---------------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        """From RESET (or any state) to a port on hook; ChipError names the step, and the hook is open."""
        self._require_clocks()
        try:
            self._probe()
            self._configure()
        except Exception:
            self.power_down()
            raise

    def reinitialise(self) -> None:
        """Bring up this chip alone: a soft reset does not touch its neighbours on the chain."""
        self.resync()
        self.bring_up()
        self.restore()

    def restore(self) -> None:
        """Write all settings but the hook again."""
        with self._bench.step("settings"):
            for register, value in self._settings():
                self._bench.verified(register, value)

    def _settings(self) -> tuple[tuple[int, int], ...]:
        """Every register that holds a setting."""
        return (
            (r.PCM_MODE, self._pcm_mode()), *self._slot_registers(), *self._country_registers(), *self._ring_registers(),
            *self._gain_registers(), (r.MUTE, self._muted), *self._hybrid_registers(),
        )  # fmt: skip

    def _hybrid_registers(self) -> tuple[tuple[int, int], ...]:
        return tuple((r.HYBRID_FIRST + tap, value & 0xFF) for tap, value in enumerate(self._hybrid))

    def _require_clocks(self) -> None:
        with self._bench.step("PCM clocks"):
            if not self._clocks.clocks_running():
                raise self._bench.error(expected="PCLK and FSYNC to run", remedy=CLOCK_REMEDY)

    def _probe(self) -> None:
        bench = self._bench
        with bench.step("probe"):
            revision = bench.read(r.REVISION)
            if revision & 0x0F in (0x00, 0x0F):
                raise bench.error(
                    register=r.REVISION, read=revision, expected="a revision of 1 to 14 in the low bits", remedy=remedy_of_silence(revision)
                )
            for value in (0x5A, 0x00):
                bench.verified(r.TX_START_LOW, value, remedy="the SPI bus drops or shifts bits; lower speed_hz, check wiring")

    def _configure(self) -> None:
        bench = self._bench
        with bench.step("soft reset"):
            bench.write(r.CONTROL_1, r.SOFT_RESET)
            self._clock.sleep(SOFT_RESET_MS)
            bench.expect(r.CONTROL_1, 0x00, mask=r.SOFT_RESET, remedy="the chip stays in reset; check PCLK and its supply")
            bench.expect(r.CONTROL_2, 0x03, remedy="this is no Si3050 or a wrong position in the chain; correct the board file")
        with bench.step("PCM slot"):
            self._write_slot()                   # before the bus is on: at its reset counts a chip speaks over its neighbours
        with bench.step("PCM mode"):
            bench.verified(r.PCM_MODE, self._pcm_mode())
        with bench.step("country"):
            self._write_country()
        with bench.step("ring detector"):
            for register, value in self._ring_registers():
                bench.verified(register, value)
        with bench.step("line side power"):
            bench.verified(r.DAA_2, 0x00, mask=r.LINE_SIDE_DOWN | 0x08)
        with bench.step("isolation link"):
            remedy = "the line side does not answer; check isolation capacitors, the Si3019 and that PCM clocks run without pause"
            bench.wait(
                r.REVISION,
                lambda value: value >> 4 != 0,
                limit_ms=LINK_LIMIT_MS,
                every_ms=10,
                expected="a line side in the high bits",
                remedy=remedy,
            )
            bench.wait(
                r.LINE_STATUS,
                lambda value: bool(value & r.FRAME_LOCK),
                limit_ms=LINK_LIMIT_MS,
                every_ms=10,
                expected="frame lock (bit 6)",
                remedy=remedy,
            )
            self._know_line_side(bench.read(r.REVISION))
        with bench.step("gains"):
            self._write_gains()
        with bench.step("hook"):
            self._off_hook = False
            bench.verified(r.DAA_1, r.ON_HOOK_MONITOR, mask=r.ON_HOOK_MONITOR | r.OFF_HOOK | r.NEVER_SET_5)

    def _know_line_side(self, revision: int) -> None:
        """Si3019 measures the line; another one may not."""
        code = revision >> 4
        self.line_side = r.LINE_SIDES.get(code, f"line side {code}")
        if self.line_side == "Si3018":
            raise self._bench.error(
                register=r.REVISION,
                read=revision,
                expected="a Si3019 (3 in the high bits)",
                remedy="a Si3018 cannot measure the line; fit a Si3019",
            )
        if code not in r.LINE_SIDES:
            log.warning("%s: unknown line side %d in register 11 (%s); line voltage may be missing", self.where, code, hex8(revision))

    def _pcm_mode(self) -> int:
        return r.PCM_ENABLE | r.PCM_LINEAR | (r.PCM_EARLY_RELEASE if self._pcm.early_release else 0) | (r.PCM_LOOP if self._looped else 0)

    def _ring_registers(self) -> tuple[tuple[int, int], ...]:
        longest, window = ring_validator(RING_LOWEST_HZ, RING_HIGHEST_HZ)
        delay, timeout, confirm = 2, 11, r.RING_CONFIRM_MS.index(640)  # 512 ms, 1408 ms, 640 ms
        return (
            (r.INTERNATIONAL_3, r.RING_FULL_WAVE),
            (r.RING_1, (delay & 3) << 6 | window),
            (r.RING_2, (delay >> 2) << 7 | timeout << 3 | confirm),
            (r.RING_3, (r.RING_VALIDATION | longest) if self._ring_validation else 0),
        )

    def _country_registers(self) -> tuple[tuple[int, int], ...]:
        row = fxo_country(self._country)
        counter = 3 if self._fast_hook else 1
        daa_3 = counter << 5 | r.LOW_CORNER | r.LOW_VOLTAGE_SHOWN
        daa_3 |= (r.SLOW_ON_HOOK if row.slow_on_hook else 0) | (r.FULL_SCALE if self._full_scale else 0)
        return (
            (r.INTERNATIONAL_1, row.international),
            (r.DC_TERMINATION, row.dc_termination),
            (r.AC_TERMINATION, self.termination),
            (r.DAA_3, daa_3),
            (r.SPARK_QUENCH, row.spark_quench),
        )

    def _write_country(self) -> None:
        for register, value in self._country_registers():
            self._bench.verified(register, value)

    def _gain_registers(self) -> tuple[tuple[int, int], ...]:
        (to_whole, to_tenths), (from_whole, from_tenths) = (gain_registers(decibels) for decibels in self._gains)
        return ((r.TX_GAIN, to_whole), (r.RX_GAIN, from_whole), (r.TX_GAIN_TENTHS, to_tenths), (r.RX_GAIN_TENTHS, from_tenths))

    def _write_gains(self) -> None:
        for register, value in self._gain_registers():
            self._bench.verified(register, value)

    # --- looking --------------------------------------------------------------------------------------------------------

    def attach(self) -> tuple[Fault, ...]:
        """Take over a configured port without a single write. Learns the hook; returns settings that differ."""
        with self._bench.step("attach"):
            seen = self._look()
            self._off_hook = bool(seen[r.DAA_1] & r.OFF_HOOK)
            for fault in self._faults(seen):
                if fault.kind not in ("settings", "overload"):
                    raise self._bench.error(
                        register=fault.register, read=fault.read, expected=fault.expected, remedy=f"{fault.text}; bring the port up again"
                    )
            self.line_side = r.LINE_SIDES.get(seen[r.REVISION] >> 4, "")
            wanted = (*self._slot_registers(), *self._country_registers(), *self._ring_registers())
            return tuple(self._difference(register, value) for register, value in wanted if self._bench.read(register) != value)

    def _faults(self, seen: dict[int, int]) -> tuple[Fault, ...]:
        silent = self._silent_bus(seen)
        if silent is not None:
            return (silent,)
        hook, revision, status = seen[r.DAA_1], seen[r.REVISION], seen[r.LINE_STATUS]
        linked = bool(revision >> 4) and bool(status & r.FRAME_LOCK)
        if hook & r.NEVER_SET_5:
            return (Fault("garbage", "bits that are always 0 read 1", r.DAA_1, hook, f"0 in the bits {hex8(r.NEVER_SET_5)}"),)
        if revision & 0x0F in (0x00, 0x0F):
            return (Fault("garbage", "the chip's revision cannot be true", r.REVISION, revision, "a revision of 1 to 14 in the low bits"),)
        if not seen[r.PCM_MODE] & r.PCM_ENABLE or seen[r.DAA_2] & r.LINE_SIDE_DOWN:
            return (self._lost(seen),)
        if linked and not seen[r.LINE_REVISION] & r.ALWAYS_SET_13:
            return (Fault("garbage", "a bit that is always 1 reads 0", r.LINE_REVISION, seen[r.LINE_REVISION], "1 in bit 6"),)
        found: list[Fault] = []
        if not linked:
            register = r.LINE_STATUS if revision >> 4 else r.REVISION
            found.append(
                Fault("link", "the isolation link to the line side is down", register, seen[register], "a line side with frame lock")
            )
        elif bool(hook & r.OFF_HOOK) != self._off_hook or not hook & (r.OFF_HOOK | r.ON_HOOK_MONITOR):
            found.append(
                Fault("hook", "the hook is not where it was put", r.DAA_1, hook, "off-hook" if self._off_hook else "on-hook with monitor")
            )
        if linked and self._off_hook and seen[r.INTERNATIONAL_4] & (r.OVERLOAD | r.OVERLOAD_DETECTED):
            found.append(
                Fault(
                    "overload", "too much current or voltage on the line", r.INTERNATIONAL_4, seen[r.INTERNATIONAL_4], "bits 2 and 0 clear"
                )
            )
        return tuple(found) if found else self._audit()

    def _audit(self) -> tuple[Fault, ...]:
        """A few settings at each look, in turn; one that differs is looked at until it is right again."""
        settings = self._settings()
        for _ in range(AUDITED_AT_ONCE):
            register, value = settings[self._audited % len(settings)]
            read = self._bench.read(register)
            if read != value:
                return (self._settled(register, read, value),)
            self._audited += 1
        return ()

    def _lost(self, seen: dict[int, int]) -> Fault:
        """Which register shows that the chip forgot its settings."""
        if not seen[r.PCM_MODE] & r.PCM_ENABLE:
            return Fault("chip-reset", "the chip reset itself: its PCM bus is off", r.PCM_MODE, seen[r.PCM_MODE], hex8(self._pcm_mode()))
        return Fault("chip-reset", "the chip reset itself: its line side is off", r.DAA_2, seen[r.DAA_2], "0x00")

    def _settled(self, register: int, read: int, wanted: int) -> Fault:
        return Fault("settings", f"{r.NAMES[register]} differs from what was written", register, read, hex8(wanted))

    def _difference(self, register: int, wanted: int) -> Fault:
        return self._settled(register, self._bench.read(register), wanted)

    def measure(self) -> LineFact:
        """Line voltage (1 V steps, sign = polarity), loop current (1.1 mA steps), ringing half-waves, hook."""
        with self._bench.step("measure"):
            hook = self._bench.read(r.DAA_1)
            return LineFact(
                at=self._clock.now(),
                volts=float(signed8(self._bench.read(r.LINE_VOLTAGE))),
                milliamps=round(self._bench.read(r.LOOP_CURRENT) * r.LOOP_CURRENT_2_STEP_MA, 1),
                closed=bool(hook & r.OFF_HOOK),
                ring_positive=bool(hook & r.RING_POSITIVE),
                ring_negative=bool(hook & r.RING_NEGATIVE),
            )

    # --- acting ---------------------------------------------------------------------------------------------------------

    def drive(self, code: int) -> None:
        """`Hook.ON_HOOK` or `Hook.OFF_HOOK`; returns when the chip shows it (seizing takes 25 ms)."""
        if code not in SI3050.drives:
            raise LocalProtocolError(f"{self.where}: drive code {code} is neither on-hook (0) nor off-hook (1)")
        off_hook = code == Hook.OFF_HOOK
        bench = self._bench
        with bench.step("off-hook" if off_hook else "on-hook"):
            if off_hook:
                remedy = "the isolation link is down: the hook cannot be moved; bring the port up again"
                bench.expect(r.LINE_STATUS, r.FRAME_LOCK, mask=r.FRAME_LOCK, remedy=remedy)
            self._carry_out(SI3050.drives[code])
            self._off_hook = off_hook
            bench.wait(
                r.DAA_1, lambda value: not value & r.NEVER_SET_5 and bool(value & r.OFF_HOOK) == off_hook,
                limit_ms=HOOK_LIMIT_MS, every_ms=1, expected="the hook bit (0) to follow",
                remedy="the hook switch does not follow; check the isolation link and the line side",
            )  # fmt: skip

    def assume(self, code: int) -> None:
        """The scanner moved the hook."""
        self._off_hook = code == Hook.OFF_HOOK

    def _carry_out(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if write.after_ms:
                self._clock.sleep(write.after_ms)
            if write.mask == 0xFF:
                self._bench.write(write.register, write.value)
            else:
                self._bench.change(write.register, write.value, write.mask)

    def mute(self, *, to_line: bool, from_line: bool) -> None:
        """Silence a direction."""
        self._muted = (r.MUTE_TO_LINE if to_line else 0) | (r.MUTE_FROM_LINE if from_line else 0)
        with self._bench.step("mute"):
            self._bench.change(r.MUTE, self._muted, r.MUTE_TO_LINE | r.MUTE_FROM_LINE)

    def set_gain(self, *, to_line_db: float, from_line_db: float) -> None:
        """Gains in tenths of a dB, -15 to +12 dB."""
        gain_registers(to_line_db)
        gain_registers(from_line_db)
        self._gains = (to_line_db, from_line_db)
        with self._bench.step("gains"):
            self._write_gains()

    def loop_back(self, on: bool) -> None:
        """PCM loop inside the chip."""
        self._looped = on
        with self._bench.step("PCM loop"):
            self._bench.verified(r.PCM_MODE, self._pcm_mode())

    def set_country(self, country: str) -> None:
        """Electrical settings of a country; the line is on hook."""
        fxo_country(country)
        if self._off_hook:
            raise LocalProtocolError(f"{self.where}: the country changes on hook only; release the line first")
        self._country = country
        with self._bench.step("country"):
            self._write_country()

    @property
    def terminations(self) -> tuple[str, ...]:
        """Names of the AC terminations by their number."""
        return ACIM

    @property
    def termination(self) -> int:
        """The one in use: the country's, unless another was set."""
        return fxo_country(self._country).impedance if self._termination is None else self._termination

    def set_termination(self, number: int | None) -> None:
        """Another AC termination than the country's (None: the country's), kept over recoveries; also within a call."""
        if number is not None and not 0 <= number < len(ACIM):
            raise LocalProtocolError(f"{self.where}: terminations are 0 to {len(ACIM) - 1}, not {number}")
        self._termination = number
        with self._bench.step("termination"):
            self._bench.verified(r.AC_TERMINATION, self.termination)

    def set_hybrid(self, coefficients: Sequence[int]) -> None:
        """Digital hybrid, eight signed 8-bit coefficients; zeros turn it off."""
        if len(coefficients) != r.HYBRID_TAPS or not all(-128 <= value <= 127 for value in coefficients):
            raise LocalProtocolError(f"{self.where}: the hybrid has {r.HYBRID_TAPS} coefficients of -128 to 127, not {list(coefficients)}")
        self._hybrid = tuple(coefficients)
        with self._bench.step("hybrid"):
            for register, value in self._hybrid_registers():
                self._bench.verified(register, value)

    def fast_hook(self, on: bool) -> None:
        """8 ms off-hook counter and no automatic calibration while on; the last full calibration goes on to hold."""
        self._fast_hook = on
        with self._bench.step("fast hook"):
            self._bench.change(r.DAA_3, (3 if on else 1) << 5, r.OFF_HOOK_COUNTER)
            self._bench.change(r.INTERNATIONAL_2, r.NO_AUTO_CALIBRATION if on else 0, r.NO_AUTO_CALIBRATION)

    def interrupts(self, on: bool) -> None:
        """Let ringing, a lost line and changed polarity pull the INT line. A hint only: registers are polled anyway."""
        with self._bench.step("interrupts"):
            self._bench.verified(r.INTERRUPT_MASK, r.EVENTS if on else 0)
            self._bench.change(r.CONTROL_2, r.INTERRUPT_ENABLE if on else 0, r.INTERRUPT_ENABLE)

    def take_interrupts(self) -> int:
        """Events since the last call; they are cleared by writing their bits as 0."""
        with self._bench.step("interrupts"):
            events = self._bench.read(r.INTERRUPT_SOURCE)
            if events:
                self._bench.write(r.INTERRUPT_SOURCE, ~events & 0xFF)
            return events

    def power_down(self) -> None:
        """Open the hook and switch the line side off; never raises."""
        self._off_hook = False
        for register, value in ((r.DAA_1, 0x00), (r.DAA_2, r.LINE_SIDE_DOWN)):
            try:
                self._bench.write(register, value)
            except OSError as error:
                log.error("%s: register %d could not be written (%s); the RESET line has to release the line", self.where, register, error)


def remedy_of_silence(read: int) -> str:
    """What to do about a chip that is not there."""
    if read == 0xFF:
        return "no chip answers: check chip select, MISO, supply and the number of jacks in the board file"
    if read == 0x00:
        return "the data line stays low: check that RESET is released and MISO is not shorted"
    return "the answer makes no sense: check SPI mode 3, speed_hz and the order of the chain"
