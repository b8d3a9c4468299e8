"""Steps 8 to 16: links, converters, calibration, feeding, ringing and line measurements of the ports (L5).

Numbers come from both sides wherever both exist: what the chip says through its driver, and what the fixture's meter says.
"""

from __future__ import annotations

import math

from firmware.factory.limits import Band
from firmware.factory.rig import FxoPlace, FxsPlace, Notes, Rig, Unsafe
from firmware.hal import si321x_registers as fxs
from firmware.hal import si3050_registers as fxo
from firmware.hal.api import Feed, Hook, Ringing
from firmware.hal.bus import ChipError

OPEN = math.inf
FEED_48 = (48.0, 600.0, 25.0)
SWAPPED = "tip and ring are swapped"


def link(rig: Rig, notes: Notes) -> None:
    """Step 8."""
    limits = rig.limits.steps.link
    for card in rig.cards:
        if card.chain.kind == "fxo":
            card.probe()
    for place in rig.fxo():
        chip = place.registers
        chip.write(fxo.DAA_2, 0x00)
        took = rig.until(
            lambda chip=chip: chip.read(fxo.REVISION) >> 4 != 0 and bool(chip.read(fxo.LINE_STATUS) & fxo.FRAME_LOCK),  # type: ignore[misc]
            limits.link_ms.max or 2000, 5,
        )  # fmt: skip
        good = notes.number("isolation link", took, "ms", limits.link_ms, place.title, "isolation capacitors, Si3019, its supply")
        if not good:
            continue
        try:
            place.port.bring_up()
        except ChipError as error:
            notes.require(False, str(error), place.title)
            continue
        code = chip.read(fxo.REVISION) >> 4
        notes.fact(f"{place.title} line side", fxo.LINE_SIDES.get(code, f"code {code}"))
        notes.require(code == 3, f"line side {code} in register 11, a Si3019 is 3", place.title)


def converter(rig: Rig, notes: Notes) -> None:
    """Step 9: one converter at a time, by bare registers, then off again."""
    limits = rig.limits.steps.converter
    for card in rig.cards:
        if card.chain.kind == "fxs":
            card.probe()
    for place in rig.fxs():
        chip = place.registers
        chip.read(fxs.BATTERY_1)
        chip.write(fxs.DC_PERIOD, rig.board.linefeed.converter_period)
        chip.write(fxs.POWER_DOWN, 0x00)
        took = rig.until(lambda chip=chip: chip.read(fxs.BATTERY_1) >= fxs.BATTERY_GOOD, limits.rise_ms.max or 500, 5)  # type: ignore[misc]
        rig.clock.sleep(50)
        volts = chip.read(fxs.BATTERY_1) * fxs.BATTERY_STEP_V
        chip.write(fxs.LINEFEED, Feed.OPEN)
        chip.write(fxs.POWER_DOWN, fxs.CONVERTER_OFF)
        notes.number("converter rises in", took, "ms", limits.rise_ms, place.title, "no DC power: 12 V, coil, transistor")
        if not notes.number("supply of the linefeed", volts, "V", limits.volts, place.title):
            raise Unsafe(f"{place.title}: the converter gives {volts:.1f} V")
        rig.clock.sleep(500)
        left = chip.read(fxs.BATTERY_1) * fxs.BATTERY_STEP_V
        why = "the supply leaks: linefeed transistors"
        notes.number("left after 500 ms without converter", left, "V", limits.left_volts, place.title, why)


def calibration(rig: Rig, notes: Notes) -> None:
    """Step 10: the drivers' own bring-up."""
    limits = rig.limits.steps.calibration
    for card in rig.cards:
        if card.chain.kind == "fxs":
            card.probe()
    for place in rig.fxs():
        began = rig.clock.now()
        try:
            place.port.bring_up()
        except ChipError as error:
            notes.require(False, str(error), place.title)
            continue
        notes.number("bring-up", (rig.clock.now() - began) / 1000, "s", limits.bring_up_s, place.title)
        notes.number("converter peak current", place.registers.read(fxs.PEAK_CURRENT), "code", limits.peak_code, place.title)
        notes.fact(f"{place.title} calibration", " ".join(f"{value:02X}" for value in place.port.calibration or ()))


def idle_voltage(rig: Rig, notes: Notes) -> None:
    """Step 11."""
    band = rig.limits.steps.idle_voltage.volts
    for place in rig.fxs():
        for feed, name, sign in ((Feed.ACTIVE, "forward", 1), (Feed.REVERSED, "reversed", -1)):
            place.port.drive(feed)
            rig.clock.sleep(50)
            chip, meter = sign * place.port.measure().volts, sign * rig.fixture.volts(place.name)
            notes.number(f"{name}, by the chip", chip, "V", band, place.title, "polarity does not follow" if chip < 0 else "")
            notes.number(f"{name}, by the meter", meter, "V", band, place.title, SWAPPED if meter < 0 < chip else "")
        place.port.drive(Feed.ACTIVE)


def loop(rig: Rig, notes: Notes) -> None:
    """Step 12."""
    limits = rig.limits.steps.loop
    for place in rig.fxs():
        port = place.port
        port.drive(Feed.ACTIVE)
        port.set_loop_current(20)
        rig.fixture.load(place.name, limits.ohms, 0)
        closed = rig.until(lambda port=port: port.measure().closed, 200)  # type: ignore[misc]
        notes.number("off-hook seen after", closed, "ms", limits.closed_ms, place.title)
        rig.clock.sleep(100)
        notes.number("loop current at 20 mA, by the meter", rig.fixture.milliamps(place.name), "mA", limits.low_ma, place.title)
        notes.number("loop current at 20 mA, by the chip", port.measure().milliamps, "mA", limits.low_ma, place.title)
        port.set_loop_current(limits.high_setting)
        rig.clock.sleep(100)
        name = f"loop current at {limits.high_setting} mA, by the meter"
        notes.number(name, rig.fixture.milliamps(place.name), "mA", limits.high_ma, place.title)
        port.set_loop_current(rig.board.linefeed.loop_milliamps)
        rig.fixture.load(place.name, OPEN, 0)
        opened = rig.until(lambda port=port: not port.measure().closed, 200)  # type: ignore[misc]
        notes.number("on-hook seen after", opened, "ms", limits.closed_ms, place.title)
        notes.number("threshold of the loop detector", threshold(rig, place), "mA", limits.threshold_ma, place.title)
        rig.fixture.load(place.name, OPEN, 0)


def threshold(rig: Rig, place: FxsPlace) -> float:
    """Loop current at which the telephone counts as lifted: the load is lowered in steps of 3 %."""
    ohms = 8000.0
    while ohms > 600:
        rig.fixture.load(place.name, ohms, 0)
        rig.clock.sleep(40)
        if place.port.measure().closed:
            return rig.fixture.milliamps(place.name)
        ohms *= 0.97
    return OPEN


def ringing(rig: Rig, notes: Notes) -> None:
    """Step 13."""
    limits = rig.limits.steps.ringing
    share = limits.hertz_percent / 100
    hertz = Band(limits.hertz * (1 - share), limits.hertz * (1 + share))
    for place in rig.fxs():
        port, chip = place.port, place.registers
        port.set_ringing(Ringing(hertz=limits.hertz, volts_peak=limits.volts_peak))
        rig.clock.sleep(200)
        for ren, band in ((1, limits.volts_1_ren), (5, limits.volts_5_ren)):
            rig.fixture.load(place.name, OPEN, ren)
            port.drive(Feed.RINGING)
            volts, frequency = rig.fixture.ringing(place.name)
            notes.number(f"ringing into {ren} REN", volts, "Vrms", band, place.title)
            notes.number(f"ringing frequency at {ren} REN", frequency, "Hz", hertz, place.title)
            notes.require(rings(chip.read(fxs.LINEFEED)), f"ring trip at {ren} REN although nobody lifted", place.title)
            port.drive(Feed.ACTIVE)
        port.drive(Feed.RINGING)
        rig.clock.sleep(500)
        rig.fixture.load(place.name, 600, 1)
        trip = rig.until(lambda chip=chip: not rings(chip.read(fxs.LINEFEED)), 500)  # type: ignore[misc]
        port.drive(Feed.ACTIVE)
        notes.number("ring trip after", trip, "ms", limits.trip_ms, place.title, "the telephone was lifted while it rang")
        rig.fixture.load(place.name, OPEN, 0)
        port.set_ringing(Ringing())


def rings(linefeed: int) -> bool:
    """Register 64: the chip rings."""
    return linefeed >> fxs.FEED_ACTUAL_SHIFT & fxs.FEED_MASK == Feed.RINGING


def line_voltage(rig: Rig, notes: Notes) -> None:
    """Step 14."""
    limits = rig.limits.steps.line_voltage
    for place in rig.fxo():
        port = place.port
        for volts, band in ((48.0, limits.volts_48), (24.0, limits.volts_24)):
            for sign in (1, -1):
                rig.fixture.feed(place.name, sign * volts, 600.0, 25.0)
                flip = rig.until(lambda port=port, sign=sign: sign * port.measure().volts > 10, limits.flip_ms.max or 500)  # type: ignore[misc]
                if sign < 0:
                    name = f"polarity turns at {volts:g} V within"
                    notes.number(name, flip, "ms", limits.flip_ms, place.title, "" if math.isfinite(flip) else SWAPPED)
                rig.clock.sleep(150)
                seen = sign * port.measure().volts
                notes.number(f"{sign * volts:+g} V", seen, "V", band, place.title, SWAPPED if seen < -10 else "")
        rig.fixture.feed(place.name, 0, 600.0, 25.0)
        rig.clock.sleep(300)
        notes.number("open", abs(port.measure().volts), "V", limits.volts_open, place.title)


def line_loop(rig: Rig, notes: Notes) -> None:
    """Step 15."""
    limits = rig.limits.steps.line_loop
    for place in rig.fxo():
        port, chip = place.port, place.registers
        rig.fixture.feed(place.name, limits.feed_volts, limits.feed_ohms, limits.feed_ma)
        rig.clock.sleep(100)
        began = rig.clock.now()
        try:
            port.drive(Hook.OFF_HOOK)
        except ChipError as error:
            notes.require(False, str(error), place.title)
            continue
        flows = rig.until(lambda place=place: rig.fixture.milliamps(place.name) > 10, 500)  # type: ignore[misc]
        notes.number("current flows after", rig.clock.now() - began if math.isfinite(flows) else OPEN, "ms", limits.hook_ms, place.title)
        rig.clock.sleep(port.settle_ms)
        notes.number("loop current, by the chip", port.measure().milliamps, "mA", limits.milliamps, place.title)
        notes.number("loop current, by the meter", rig.fixture.milliamps(place.name), "mA", limits.milliamps, place.title)
        dropped = chip.read(fxo.INTERNATIONAL_4) & fxo.DROP_OUT
        notes.require(not dropped, "the line drops out (DOD) while current flows", place.title)
        rig.fixture.feed(place.name, 0, limits.feed_ohms, limits.feed_ma)
        seen = rig.until(lambda place=place: shows_no_current(place), 200)  # type: ignore[misc]
        notes.require(math.isfinite(seen), "an open line is not seen: neither DOD nor current 0", place.title)
        rig.fixture.feed(place.name, limits.feed_volts, limits.feed_ohms, limits.feed_ma)
        rig.clock.sleep(50)
        began = rig.clock.now()
        port.drive(Hook.ON_HOOK)
        ends = rig.until(lambda place=place: rig.fixture.milliamps(place.name) < 1, 500)  # type: ignore[misc]
        notes.number("current ends after", rig.clock.now() - began if math.isfinite(ends) else OPEN, "ms", limits.hook_ms, place.title)
        rig.fixture.feed(place.name, 0, limits.feed_ohms, limits.feed_ma)


def shows_no_current(place: FxoPlace) -> bool:
    """DOD, or a loop current of 0."""
    return bool(place.registers.read(fxo.INTERNATIONAL_4) & fxo.DROP_OUT) or place.port.measure().milliamps < 1


def ring_detect(rig: Rig, notes: Notes) -> None:
    """Step 16: half-waves of both signs in turn are ringing."""
    limits = rig.limits.steps.ring_detect
    for place in rig.fxo():
        rig.fixture.feed(place.name, *FEED_48)
        rig.clock.sleep(300)
        rig.fixture.ring(place.name, limits.loud_vrms, 25.0)
        took, _ = half_waves(rig, place, 1500)
        notes.number(f"{limits.loud_vrms:g} Vrms detected after", took, "ms", limits.detect_ms, place.title)
        rig.fixture.ring(place.name, 0, 25.0)
        rig.clock.sleep(300)
        rig.fixture.ring(place.name, limits.quiet_vrms, 25.0)
        took, shown = half_waves(rig, place, 1000)
        name = f"half-waves shown at {limits.quiet_vrms:g} Vrms"
        notes.number(name, shown, "", Band(max=0), place.title, "the ring detector is too sensitive")
        rig.fixture.ring(place.name, 0, 25.0)
        rig.fixture.feed(place.name, 0, 600.0, 25.0)


def half_waves(rig: Rig, place: FxoPlace, limit_ms: int) -> tuple[float, int]:
    """Milliseconds until six half-waves of alternating sign were seen (infinite: never), and readings that showed any."""
    began, last, turns, shown = rig.clock.now(), 0, 0, 0
    while rig.clock.now() - began < limit_ms:
        fact = place.port.measure()
        sign = int(fact.ring_positive) - int(fact.ring_negative)
        shown += sign != 0
        if sign and sign != last:
            turns, last = turns + 1, sign
            if turns >= 6:
                return float(rig.clock.now() - began), shown
        rig.clock.sleep(1)
    return OPEN, shown
