"""Driver of the Si3210 and Si3215: a port towards a telephone (L3).

Theory of operation
-------------------
Si3215 datasheet, revision 0.92; power-up order as drivers in the field use it. Register 1 bit 7 tells the two families apart; they differ
in the numbers of indirect registers, which are written here as those of the Si3210. Power-up, each a named step: PCM clocks, identity,
converter off, indirect registers, bias, filters open, converter start, loop current, leak test, converter restart, calibration, converter
calibration, filters, PCM slot, battery, ringing, linefeed. Bring-up itself is in `si321x_power.py`; here is the chip at work.
The chip detects the loop and ring trip by itself and leaves ringing by itself when the telephone is lifted (automation, register 67);
cadence is made by software: `RINGING` for a burst, `ON_HOOK_TX` for the pause, so that caller id passes.
Invariants: ringing only with a good battery; a peak stays 7.5 V below the battery and above the open-circuit voltage; polarity is not
changed out of ringing or open but through active; `attach` and `check` never write (and so never use an indirect register).
"""

from __future__ import annotations

import logging
import math
from typing import Literal

from firmware.config.board import Linefeed, PcmBus
from firmware.errors import LocalProtocolError
from firmware.hal import si321x_registers as r
from firmware.hal.api import Fault, Feed, LineFact, Ringing
from firmware.hal.bus import Bench, Clock, PcmClocks, Spi, Where, hex8, sign_magnitude
from firmware.hal.chip import LineChip
from firmware.hal.countries import TWO_WIRE, fxs_country
from firmware.hal.framing import SpiRegisters
from firmware.hal.si321x_indirect import Indirect
from firmware.hal.si321x_power import POWER_SETTINGS, PowerUp

log = logging.getLogger("branchpbx.hal")

HEADROOM_V = 7.5
BATTERY_NORMAL, BATTERY_HIGH = 0x32, 0x3F  # register 74: 75 V, 94.5 V
FEED_LIMIT_MS = 50
LOOP_DEBOUNCE_STEPS = 4  # 5 ms: dial pulses are measured
BATTERY_SETTINGS = ((r.OPEN_VOLTAGE, 0x20), (r.COMMON_VOLTAGE, 0x02), (r.LOW_BATTERY, 0x10))  # 48 V, 3 V, 24 V
SETTING_MASKS = {r.SPI_MODE: 0xC0, r.PCM_MODE: 0x7F}  # what of a register is a setting
AUDITED_AT_ONCE = 4  # settings compared at each look
REVERSED_FEEDS = (Feed.REVERSED, Feed.REVERSED_TX)
HEALTH = (
    r.SPI_MODE, r.PCM_MODE, r.LOOPBACK, r.POWER_DOWN, r.ALARMS, r.INDIRECT_STATUS, r.LINEFEED, r.DETECTORS,
    r.BATTERY_1,
)  # fmt: skip


def sine_values(ringing: Ringing) -> tuple[int, int, int]:
    """RCO, RNGX, RNGY of a sine."""
    c = math.cos(2 * math.pi * ringing.hertz / 1000)
    amplitude = 0.25 * math.sqrt((1 - c) / (1 + c)) * 32768 * ringing.volts_peak / 96
    return int(c * 32768), int(amplitude), 0


def trapezoid_values(ringing: Ringing) -> tuple[int, int, int]:
    """RCO, RNGX, RNGY of a trapezoid with a crest factor below that of a sine."""
    period = 1 / ringing.hertz
    rise = 0.75 * period * (1 - 1 / ringing.crest**2)
    peak = int(ringing.volts_peak / 96 * 32768)
    return int(2 * peak / (rise * 8000)), peak, int(period / 2 * 8000)


def ring_trip_row(hertz: float) -> tuple[int, int]:
    """Filter and debounce of the ring-trip detector at a frequency."""
    for limit, nrtp, rtdi in r.RING_TRIP_ROWS:
        if hertz <= limit:
            return nrtp, rtdi
    raise LocalProtocolError(f"ringing at {hertz} Hz is outside 15 to 70 Hz")


class Si321x(LineChip):
    """An FXS port on one chip."""

    HEALTH = HEALTH
    IDENTITY = (r.SPI_MODE, "a revision of 2 to 14")
    SLOT = (r.TX_START_LOW, r.TX_START_HIGH, r.RX_START_LOW, r.RX_START_HIGH)

    kind: Literal["fxs"] = "fxs"

    def __init__(
        self, spi: Spi, position: int, where: Where, *, slot: int, pcm: PcmBus, clocks: PcmClocks, clock: Clock, country: str,
        linefeed: Linefeed = Linefeed(), ringing: Ringing = Ringing(), daisy: bool = True, calibration: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        self.where = where
        self.slot = slot
        self._chip = SpiRegisters(spi, "si321x-daisy" if daisy else "si321x", position)
        self._bench = Bench(self._chip, where, clock, r.NAMES)
        self._indirect = Indirect(self._bench)
        self._power = PowerUp(self._bench, self._indirect, clocks, linefeed, calibration, mode=r.DAISY_CHAIN if daisy else 0)
        self._clock = clock
        self._clocks = clocks
        self._pcm = pcm
        self._country = country
        self._termination: int | None = None
        self._linefeed = linefeed
        self._ringing = ringing
        self._loop_milliamps = linefeed.loop_milliamps
        self._feed = Feed.OPEN
        self._gains = (0.0, 0.0)
        self._muted = 0
        self._looped = False
        self._audited = 0
        self._check_ringing(ringing)

    @property
    def family(self) -> str:
        """Si3210 or Si3215; empty before the chip was seen."""
        return self._indirect.family

    @property
    def calibration(self) -> tuple[int, ...] | None:
        """Results of the last calibration (registers 98 to 107), to be kept for a fast restart."""
        return self._power.calibration

    @property
    def feed(self) -> Feed:
        """What the linefeed was told last."""
        return self._feed

    # --- bring-up ---------------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        """From RESET to a fed line; ChipError names the step, and the line is open with the converter off."""
        self._start(warm=False)

    def reinitialise(self) -> None:
        """Bring up this chip alone after it lost its settings: back into its chain, then with the calibration that is known."""
        with self._bench.step("chain"):
            self._chip.resync()
        self._start(warm=True)
        self.restore()

    def restore(self) -> None:
        """Write all direct settings again, and the linefeed where it is another than was asked for."""
        with self._bench.step("settings"):
            for register, value in self._settings():
                self._bench.verified(register, value, mask=SETTING_MASKS.get(register, 0xFF))
            feed = self._bench.read(r.LINEFEED)
            if feed & r.FEED_MASK != self._feed and not self._left_ringing(feed >> r.FEED_ACTUAL_SHIFT & r.FEED_MASK):
                self.drive(self._feed)

    def _settings(self) -> tuple[tuple[int, int], ...]:
        """Every direct register that holds a setting."""
        ringing = self._ringing
        return (
            (r.SPI_MODE, self._power.mode), (r.PCM_MODE, self._pcm_mode()), *self._slot_registers(), (r.AUDIO, self._muted),
            (r.IMPEDANCE, self._impedance()), *POWER_SETTINGS, (r.LOOP_LIMIT, self._loop_step()),
            *BATTERY_SETTINGS, (r.HIGH_BATTERY, self._high_battery()), (r.LOOP_DEBOUNCE, LOOP_DEBOUNCE_STEPS),
            (r.TRIP_DEBOUNCE, ring_trip_row(ringing.hertz)[1]), (r.DC_PERIOD, self._linefeed.converter_period),
        )  # fmt: skip

    def _start(self, *, warm: bool) -> None:
        self._feed = Feed.OPEN
        self._power.require_clocks()
        try:
            self._power.run(warm=warm, loop_step=self._loop_step())
            self._configure()
        except Exception:
            self.power_down()
            raise

    def _configure(self) -> None:
        bench = self._bench
        with bench.step("PCM slot"):
            self._write_slot()                   # before the bus is on: at its reset counts a chip speaks over its neighbours
            bench.verified(r.PCM_MODE, self._pcm_mode(), mask=0x7F)
            for register in r.INTERRUPTS:
                bench.write(register, 0xFF)
            for register in r.INTERRUPT_ENABLES:
                bench.verified(register, 0x00)
            bench.verified(r.IMPEDANCE, self._impedance())
        with bench.step("battery"):
            for register, value in BATTERY_SETTINGS:
                bench.verified(register, value)
            bench.verified(r.LOOP_DEBOUNCE, LOOP_DEBOUNCE_STEPS)
        with bench.step("ringing"):
            self._write_ringing()
        with bench.step("gains"):
            self._write_gains()
        self.drive(Feed.ACTIVE)

    def _pcm_mode(self) -> int:
        return r.PCM_ENABLE | r.PCM_LINEAR | r.PCM_16_BIT | (r.PCM_EARLY_RELEASE if self._pcm.early_release else 0)

    def _impedance(self) -> int:
        return r.IMPEDANCE_ENABLE | self.termination

    def _loop_step(self) -> int:
        return (self._loop_milliamps - 20) // 3

    # --- ringing --------------------------------------------------------------------------------------------------------

    def _high_battery(self) -> int:
        """Register 74: the lower voltage where the peak fits below it."""
        low = BATTERY_NORMAL * r.SETTING_STEP_V - HEADROOM_V
        return BATTERY_HIGH if self._ringing.volts_peak > low else BATTERY_NORMAL

    def _least_battery(self) -> int:
        """Register 82 at nine tenths of what register 74 asks for."""
        return int(0.9 * self._high_battery() * r.SETTING_STEP_V / r.BATTERY_STEP_V)

    def _check_ringing(self, ringing: Ringing) -> None:
        highest = BATTERY_HIGH * r.SETTING_STEP_V - HEADROOM_V
        if not 48 < ringing.volts_peak <= highest:
            raise LocalProtocolError(f"{self.where}: ringing of {ringing.volts_peak} V peak is not above 48 V and at most {highest} V")
        if not 15 <= ringing.hertz <= 70 or not 1.1 <= ringing.crest <= 1.415:
            raise LocalProtocolError(f"{self.where}: ringing has 15 to 70 Hz and a crest factor of 1.1 to 1.414, not {ringing}")

    def _write_ringing(self) -> None:
        ringing, bench = self._ringing, self._bench
        sine = ringing.crest > 1.41
        frequency, amplitude, phase = sine_values(ringing) if sine else trapezoid_values(ringing)
        nrtp, rtdi = ring_trip_row(ringing.hertz)
        bench.verified(r.HIGH_BATTERY, self._high_battery())
        for number, value in ((r.RING_OFFSET, 0), (r.RING_FREQUENCY, frequency), (r.RING_AMPLITUDE, amplitude), (r.RING_PHASE, phase)):
            self._indirect.verified(number, value)
        self._indirect.verified(r.TRIP_FILTER, nrtp)
        bench.verified(r.TRIP_DEBOUNCE, rtdi)
        bench.verified(r.RING_CONTROL, 0x00 if sine else r.TRAPEZOID)

    def set_ringing(self, ringing: Ringing) -> None:
        """Prepare frequency and voltage; refused while the port rings."""
        self._check_ringing(ringing)
        if self._feed == Feed.RINGING:
            raise LocalProtocolError(f"{self.where}: the ringing changes between bursts only; stop ringing first")
        self._ringing = ringing
        with self._bench.step("ringing"):
            self._write_ringing()

    # --- looking --------------------------------------------------------------------------------------------------------

    def attach(self) -> tuple[Fault, ...]:
        """Take over a configured port without a single write. Learns the linefeed; returns settings that differ."""
        bench = self._bench
        with bench.step("attach"):
            seen = self._look()
            self._indirect.know_family(seen[r.PCM_MODE])
            requested = seen[r.LINEFEED] & r.FEED_MASK
            self._feed = Feed(requested) if requested in tuple(Feed) else Feed.OPEN
            for fault in self._faults(seen):
                if fault.kind not in ("settings", "power-alarm"):
                    raise bench.error(
                        register=fault.register, read=fault.read, expected=fault.expected, remedy=f"{fault.text}; bring the port up again"
                    )
            wanted = (*self._slot_registers(), (r.IMPEDANCE, self._impedance()), (r.LOOP_LIMIT, self._loop_step()))
            read = [(register, bench.read(register), value) for register, value in wanted]
            differing = [self._setting(register, value, expected) for register, value, expected in read if value != expected]
            return (*(fault for fault in self._faults(seen) if fault.kind == "power-alarm"), *differing)

    def _faults(self, seen: dict[int, int]) -> tuple[Fault, ...]:
        silent = self._silent_bus(seen)
        if silent is not None:
            return (silent,)
        if not self._power.is_identity(seen[r.SPI_MODE]):
            text = "the chip's revision changed or cannot be true"
            return (Fault("garbage", text, r.SPI_MODE, seen[r.SPI_MODE], self._power.identity_text()),)
        if seen[r.LINEFEED] & 0x88 or seen[r.DETECTORS] & 0xF8:
            register = r.LINEFEED if seen[r.LINEFEED] & 0x88 else r.DETECTORS
            return (Fault("garbage", "bits that are always 0 read 1", register, seen[register], "0 in the unused bits"),)
        loop = r.DIGITAL_LOOP if self._looped else 0
        if seen[r.LOOPBACK] != loop or (seen[r.PCM_MODE] & r.PCM_ENABLE) == 0:
            register = r.LOOPBACK if seen[r.LOOPBACK] != loop else r.PCM_MODE
            return (Fault("chip-reset", "the chip reset itself", register, seen[register], "0x00" if register == r.LOOPBACK else "PCM on"),)
        return self._line_faults(seen)

    def _line_faults(self, seen: dict[int, int]) -> tuple[Fault, ...]:
        """Faults of a chip that is itself."""
        found: list[Fault] = []
        requested, actual = seen[r.LINEFEED] & r.FEED_MASK, seen[r.LINEFEED] >> r.FEED_ACTUAL_SHIFT & r.FEED_MASK
        alarms = seen[r.ALARMS] & r.POWER_ALARMS
        if alarms or (requested and not actual):
            register = r.ALARMS if alarms else r.LINEFEED
            which = ", ".join(f"Q{bit - 1}" for bit in range(2, 8) if alarms & 1 << bit)
            text = f"power alarm of {which}" if alarms else "the chip opened the line by itself"
            found.append(Fault("power-alarm", text, register, seen[register], "no alarm bits" if alarms else f"linefeed {requested}"))
        if seen[r.POWER_DOWN] & r.CONVERTER_OFF and self._feed:
            found.append(
                Fault("chip-reset", "nobody switched the DC-DC converter off, but it is", r.POWER_DOWN, seen[r.POWER_DOWN], "bit 4 clear")
            )
        elif self._feed and seen[r.BATTERY_1] < r.LEAK_LIMIT:
            found.append(Fault("supply", "the linefeed has no supply voltage", r.BATTERY_1, seen[r.BATTERY_1], "some 24 to 95 V"))
        if seen[r.INDIRECT_STATUS] & r.INDIRECT_BUSY and self._stays_busy():
            found.append(
                Fault("busy", "indirect access never ends: no PCM clock?", r.INDIRECT_STATUS, seen[r.INDIRECT_STATUS], "bit 0 clear")
            )
        if requested != self._feed and not self._left_ringing(actual):
            found.append(self._setting(r.LINEFEED, requested, self._feed))
        return tuple(found) if found else self._audit()

    def _audit(self) -> tuple[Fault, ...]:
        """A few settings at each look, in turn; one that differs is looked at until it is right again."""
        settings = self._settings()
        for _ in range(AUDITED_AT_ONCE):
            register, value = settings[self._audited % len(settings)]
            read = self._bench.read(register) & SETTING_MASKS.get(register, 0xFF)
            if read != value & SETTING_MASKS.get(register, 0xFF):
                return (self._setting(register, read, value),)
            self._audited += 1
        return ()

    def _left_ringing(self, actual: int) -> bool:
        """Ring trip: the chip moved on to active by itself, as it should."""
        return self._feed == Feed.RINGING and actual in (Feed.ACTIVE, Feed.REVERSED)

    def _stays_busy(self) -> bool:
        """An access takes 62 us; two more looks are later than that."""
        return all(self._bench.read(r.INDIRECT_STATUS) & r.INDIRECT_BUSY for _ in range(8))

    def _setting(self, register: int, read: int, wanted: int) -> Fault:
        return Fault("settings", f"{r.NAMES[register]} differs from what was written", register, read, hex8(wanted))

    def measure(self) -> LineFact:
        """Loop voltage (1.5 V steps), loop current (1.25 mA steps), supply, detectors."""
        with self._bench.step("measure"):
            read = self._bench.read
            detectors = read(r.DETECTORS)
            current = sign_magnitude(read(r.LOOP_CURRENT)) * r.LOOP_CURRENT_STEP_MA
            ringing = read(r.LINEFEED) >> r.FEED_ACTUAL_SHIFT & r.FEED_MASK == Feed.RINGING
            return LineFact(
                at=self._clock.now(),
                volts=sign_magnitude(read(r.LOOP_VOLTAGE)) * r.SETTING_STEP_V,
                milliamps=0.0 if ringing else abs(current),
                ring_trip_milliamps=abs(current) if ringing else 0.0,
                closed=bool(detectors & r.LOOP_CLOSED),
                ring_trip=bool(detectors & r.RING_TRIP),
                battery_volts=round(read(r.BATTERY_1) * r.BATTERY_STEP_V, 1),
            )

    def transistor_powers(self) -> tuple[float, ...]:
        """Power in mW of the six transistors of the linefeed, Q1 first."""
        powers = []
        with self._bench.step("transistor power"):
            for transistor in range(6):
                self._bench.write(76, transistor)
                step = 3.62 if transistor in (2, 3) else 30.4
                powers.append(self._bench.read(77) * step)
        return tuple(powers)

    # --- acting ---------------------------------------------------------------------------------------------------------

    def drive(self, code: int) -> None:
        """Set the linefeed (`Feed`); returns when the chip shows it."""
        if code not in tuple(Feed):
            raise LocalProtocolError(
                f"{self.where}: linefeed {code} is not used; feeds are {', '.join(f'{f.value} {f.name}' for f in Feed)}"
            )
        feed, bench = Feed(code), self._bench
        with bench.step(f"linefeed {feed.name.lower()}"):
            if feed == Feed.RINGING:
                battery, least = bench.read(r.BATTERY_1), self._least_battery()
                if battery < least:
                    remedy = "the port must not ring; check the DC-DC converter"
                    raise bench.error(register=r.BATTERY_1, read=battery, expected=f"{hex8(least)} or more to ring", remedy=remedy)
            if feed in REVERSED_FEEDS and self._feed in (Feed.RINGING, Feed.OPEN):
                self._follow(Feed.ACTIVE)
            self._follow(feed)

    def assume(self, code: int) -> None:
        """The scanner set the linefeed."""
        self._feed = Feed(code)

    def _follow(self, feed: Feed) -> None:
        bench = self._bench
        bench.write(r.LINEFEED, feed)
        self._feed = feed
        good = {feed} | ({Feed.ACTIVE, Feed.REVERSED} if feed == Feed.RINGING else set())
        bench.wait(
            r.LINEFEED, lambda value: value >> r.FEED_ACTUAL_SHIFT & r.FEED_MASK in good, limit_ms=FEED_LIMIT_MS, every_ms=1,
            expected=f"{feed.value} in the bits 6..4", remedy="the line does not follow: a short, a power alarm (register 19) or no supply",
        )  # fmt: skip

    def interrupts(self, on: bool) -> None:
        """Let power alarms, hook changes and finished indirect accesses pull the INT line. A hint only: registers are polled anyway."""
        with self._bench.step("interrupts"):
            for register, value in zip(r.INTERRUPT_ENABLES[1:], (0xFF, r.INDIRECT_DONE), strict=True):
                self._bench.verified(register, value if on else 0)

    def take_interrupts(self) -> int:
        """Events of registers 19 (low byte) and 20 since the last call; they are cleared by writing their bits as 1."""
        events = 0
        with self._bench.step("interrupts"):
            for shift, register in enumerate(r.INTERRUPTS[1:]):
                value = self._bench.read(register)
                events |= value << 8 * shift
                if value:
                    self._bench.write(register, value)
        return events

    def clear_alarms(self) -> None:
        """Forget latched alarms (bits are cleared by writing 1)."""
        with self._bench.step("clear alarms"):
            self._bench.write(r.ALARMS, 0xFF)

    def mute(self, *, to_line: bool, from_line: bool) -> None:
        """Silence a direction."""
        self._muted = (r.MUTE_TO_LINE if to_line else 0) | (r.MUTE_FROM_LINE if from_line else 0)
        with self._bench.step("mute"):
            self._bench.change(r.AUDIO, self._muted, r.MUTE_TO_LINE | r.MUTE_FROM_LINE)

    def set_gain(self, *, to_line_db: float, from_line_db: float) -> None:
        """Digital gains, -40 to +6 dB. 0 dB both ways after bring-up: levels are the matter of the ports' settings."""
        for decibels in (to_line_db, from_line_db):
            if not -40 <= decibels <= 6:
                raise LocalProtocolError(f"{self.where}: gain {decibels} dB is outside -40 to +6 dB")
        self._gains = (to_line_db, from_line_db)
        with self._bench.step("gains"):
            self._write_gains()

    def _write_gains(self) -> None:
        for number, decibels in zip((r.DAC_GAIN, r.ADC_GAIN), self._gains, strict=True):
            self._indirect.verified(number, gain_value(decibels))

    def loop_back(self, on: bool) -> None:
        """Digital loop inside the chip."""
        self._looped = on
        with self._bench.step("PCM loop"):
            self._bench.verified(r.LOOPBACK, r.DIGITAL_LOOP if on else 0)

    @property
    def terminations(self) -> tuple[str, ...]:
        """Names of the two-wire impedances by their number."""
        return TWO_WIRE

    @property
    def termination(self) -> int:
        """The one in use: the country's, unless another was set."""
        return fxs_country(self._country).impedance if self._termination is None else self._termination

    def set_termination(self, number: int | None) -> None:
        """Another two-wire impedance than the country's (None: the country's), kept over recoveries; also within a call."""
        if number is not None and not 0 <= number < len(TWO_WIRE):
            raise LocalProtocolError(f"{self.where}: terminations are 0 to {len(TWO_WIRE) - 1}, not {number}")
        self._termination = number
        with self._bench.step("termination"):
            self._bench.verified(r.IMPEDANCE, self._impedance())

    def set_impedance(self, country: str) -> None:
        """Two-wire impedance of a country."""
        fxs_country(country)
        self._country = country
        with self._bench.step("country"):
            self._bench.verified(r.IMPEDANCE, self._impedance())

    def set_loop_current(self, milliamps: int) -> None:
        """20 to 41 mA in steps of 3."""
        if not 20 <= milliamps <= 41:
            raise LocalProtocolError(f"{self.where}: a loop current of {milliamps} mA is not within 20 to 41 mA")
        self._loop_milliamps = milliamps
        with self._bench.step("loop current"):
            self._bench.verified(r.LOOP_LIMIT, self._loop_step())

    def power_down(self) -> None:
        """Open the line and stop the converter; never raises."""
        self._feed = Feed.OPEN
        self._power.down()


def gain_value(decibels: float) -> int:
    """Value of a gain register: 0x4000 is 0 dB, 0x2000 -6 dB; four low bits are not there."""
    nearest = {-6.0: 0x2000, 0.0: r.UNITY_GAIN}.get(decibels)
    return nearest if nearest is not None else min(0x7FF0, round(r.UNITY_GAIN * 10 ** (decibels / 20)) & ~0xF)
