"""Steps 1, 2 and 19 to 24: supply, identity, lifeline, panel, network, clock, storage (L5)."""

from __future__ import annotations

import math
import re

from firmware.errors import HardwareError
from firmware.factory.eeprom import BadRecord, Identity, decode, encode, mac_fault
from firmware.factory.limits import Band
from firmware.factory.rig import Notes, Restart, Rig, Unsafe
from firmware.hal.api import Feed, Hook

MEGA = 1e6
PRESS_LIMIT_MS = 20_000


def supply(rig: Rig, notes: Notes) -> None:
    """Step 1, before anything is started."""
    limits = rig.limits.steps.supply
    for place in rig.places():
        across = rig.fixture.ohms(place.name, place.name) / 1000
        if not notes.number("across the open jack", across, "kohm", limits.jack_kohm, place.title, "a short between tip and ring"):
            raise Unsafe(f"{place.title} is shorted")
    rig.fixture.supply(True)
    amps = rig.fixture.supply_milliamps()
    if amps > limits.over_ma:
        notes.number("supply current, idle", amps, "mA", limits.idle_ma)
        raise Unsafe(f"the board takes {amps:.0f} mA, more than {limits.over_ma:g} mA: a short on the board")
    notes.number("supply current, idle", amps, "mA", limits.idle_ma)
    for rail, band in limits.rails.items():
        notes.number(f"rail {rail}", rig.fixture.rail_volts(rail), "V", band)


def supply_active(rig: Rig, notes: Notes) -> None:
    """Step 1 again, with all SLICs feeding."""
    for place in rig.fxs():
        place.port.drive(Feed.ACTIVE)
    rig.clock.sleep(200)
    amps = rig.fixture.supply_milliamps()
    notes.number("supply current, all SLICs active", amps, "mA", rig.limits.steps.supply_active.active_ma)
    if amps > rig.limits.steps.supply.over_ma:
        raise Unsafe(f"the board takes {amps:.0f} mA with its SLICs active")


def no_eeprom(rig: Rig) -> str:
    """Boards without identity memory."""
    return "" if rig.limits.eeprom else "factory.toml names no identity memory"


def identity(rig: Rig, notes: Notes) -> None:
    """Step 2."""
    limits, label, host = rig.limits.steps.identity, rig.label, rig.host
    right = notes.require(
        re.fullmatch(limits.serial, label.serial) is not None, f"serial number {label.serial!r} of the label does not match {limits.serial}"
    )
    fault = mac_fault(label.mac, limits.mac_prefix)
    right = notes.require(not fault, f"MAC address of the label: {fault}") and right
    if not right:
        return
    try:
        before: Identity | None = decode(host.eeprom_read(limits.size))
    except BadRecord as error:
        notes.fact("memory before", str(error))
        before = None
    if before is not None:
        same = before.serial == label.serial and before.mac == label.mac
        if not notes.require(same, f"the memory is of {before.serial} with {before.mac}, the label says {label.serial} with {label.mac}"):
            return
    wanted = Identity(rig.board.name, rig.limits.revision, label.serial, label.mac, before.made if before is not None else rig.today)
    record = encode(wanted, limits.size)
    try:
        host.protect(False)
        host.eeprom_write(record)
        found = decode(host.eeprom_read(limits.size))
    except (OSError, HardwareError) as error:
        notes.require(False, f"the memory does not keep its record: {error}")
        return
    finally:
        host.protect(True)
    notes.require(found == wanted, f"the memory reads back {found}, written was {wanted}")
    protected(rig, record, notes)
    notes.fact("serial", label.serial)
    notes.fact("MAC", label.mac)


def protected(rig: Rig, record: bytes, notes: Notes) -> None:
    """A write that must fail or change nothing."""
    spoiled = record[:-1] + bytes((record[-1] ^ 0xFF,))
    try:
        rig.host.eeprom_write(spoiled)
    except OSError:
        return
    if rig.host.eeprom_read(len(record)) != record:
        notes.require(False, "write protection does not hold: the memory was changed")
        rig.host.protect(False)
        rig.host.eeprom_write(record)
        rig.host.protect(True)


def no_lifeline(rig: Rig) -> str:
    """Boards without the relay."""
    return "" if rig.board.lifeline is not None and rig.relay is not None else "the board file has no lifeline relay"


def lifeline(rig: Rig, notes: Notes) -> None:
    """Step 19: both ports passed their bring-up, so the relay may be energised; it stays so for the steps that follow."""
    limits, relay, line = rig.limits.steps.lifeline, rig.relay, rig.board.lifeline
    assert relay is not None
    assert line is not None
    one, other = f"fxo:{line.fxo}", f"fxs:{line.fxs}"
    for trunk in rig.fxo():
        if trunk.name == one:
            trunk.port.drive(Hook.ON_HOOK)
    phones = [phone for phone in rig.fxs() if phone.name == other]
    for phone in phones:
        phone.port.drive(Feed.OPEN)
    joined, apart, wrong = 0.0, math.inf, 0
    for _ in range(limits.cycles):
        relay.write(False)
        rig.clock.sleep(20)
        wrong += rig.sense is not None and rig.sense.read()
        joined = max(joined, rig.fixture.ohms(one, other))
        relay.write(True)
        rig.clock.sleep(20)
        wrong += rig.sense is not None and not rig.sense.read()
        apart = min(apart, rig.fixture.ohms(one, other))
    notes.number("largest resistance, joined", joined, "ohm", limits.joined_ohm, "", "relay contacts, or the relay does not fall")
    notes.number("smallest resistance, apart", apart / MEGA, "Mohm", limits.apart_mohm, "", "a welded contact, or the relay does not pull")
    if rig.sense is not None:
        notes.number(f"wrong states of the sense contact in {limits.cycles} cycles", wrong, "", Band(max=0))
    for phone in phones:
        phone.port.drive(Feed.ACTIVE)


def no_panel(rig: Rig) -> str:
    """Boards without LEDs and button."""
    return "" if rig.leds or rig.button is not None else "the board file has neither LEDs nor a button"


def panel(rig: Rig, notes: Notes) -> None:
    """Step 20."""
    for name, led in rig.leds.items():
        for on in (True, False):
            led.write(on)
            notes.require(rig.operator.confirm("led-on" if on else "led-off", led=name), f"LED {name} is not {'on' if on else 'off'}")
    if rig.button is not None:
        button, limit = rig.button, rig.limits.steps.panel.button_s * 1000
        notes.require(not button.read(), "the button is pressed although nobody touches it")
        rig.operator.tell("press-button")
        notes.require(math.isfinite(rig.until(button.read, limit, 20)), "the button was not seen")
        rig.operator.tell("release-button")
        notes.require(math.isfinite(rig.until(lambda: not button.read(), limit, 20)), "the button stays pressed")


def ethernet(rig: Rig, notes: Notes) -> None:
    """Step 21."""
    limits = rig.limits.steps.ethernet
    state = rig.host.ethernet(limits.device)
    notes.number("link", state.mbit, "Mbit/s", Band(min=limits.mbit, max=limits.mbit))
    notes.require(state.full_duplex, "the link is half duplex")
    notes.require(state.mac.upper() == rig.label.mac, f"the port has MAC {state.mac}, label and memory have {rig.label.mac}")
    if state.mbit > 0:
        lost = rig.host.traffic(limits.peer, limits.megabytes)
        notes.number(f"packets lost of {limits.megabytes} MB", lost, "", limits.lost)


def rtc(rig: Rig, notes: Notes) -> None:
    """Step 22, in two parts: the board's supply is cut between them."""
    limits = rig.limits.steps.rtc
    if "rtc" not in rig.memory:
        notes_volts = rig.host.rtc_battery_volts()
        rig.host.rtc_set(limits.device, rig.host.true_seconds())
        rig.operator.tell("power-cycle", seconds=f"{limits.off_s:g}")
        rig.fixture.power_cycle(limits.off_s)
        raise Restart({"rtc": 1.0, "rtc volts": notes_volts})
    notes.number("battery of the clock", rig.memory["rtc volts"], "V", limits.battery_volts)
    error = rig.host.rtc_read(limits.device) - rig.host.true_seconds()
    notes.number(f"clock error after {limits.off_s:g} s without supply", error, "s", limits.error_s)


def storage(rig: Rig, notes: Notes) -> None:
    """Step 23; the watchdog comes last, because it resets the board."""
    limits = rig.limits.steps.storage
    if "watchdog" not in rig.memory:
        wrong = {name: rig.host.storage_faults(folder, limits.megabytes) for name, folder in limits.folders.items()}
        found = {f"storage {name}": float(count) for name, count in wrong.items()}
        found["usb"], found["celsius"] = float(rig.host.usb_sticks()), rig.host.celsius()
        if limits.watchdog:
            rig.fixture.watch_reset()
            rig.operator.tell("watchdog", seconds=f"{limits.reset_s.max or 60:g}")
            if rig.relay is not None:
                rig.relay.write(True)
            rig.host.starve_watchdog(limits.watchdog)
            raise Restart({"watchdog": 1.0, **found})
        rig.memory.update(found)
    for name in limits.folders:
        title = f"wrong bytes of {limits.megabytes} MB on {name}"
        notes.number(title, rig.memory[f"storage {name}"], "", Band(max=0))
    notes.number("USB sticks", rig.memory["usb"], "", Band(min=limits.usb))
    notes.number("temperature sensor", rig.memory["celsius"], "C", limits.celsius)
    if limits.watchdog:
        seconds, joined = rig.fixture.reset_seen()
        took = seconds if math.isfinite(seconds) else math.inf
        notes.number("watchdog resets after", took, "s", limits.reset_s, "", "the watchdog does not reset the board")
        if math.isfinite(seconds) and rig.relay is not None:
            notes.require(joined, "the lifeline relay is not released by the reset")


def insulation(rig: Rig, notes: Notes) -> None:
    """Step 24 is never run here."""
