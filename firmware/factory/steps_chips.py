"""Steps 3 to 7: clocks, SPI, RESET, INT and PCM slots of the line chips (L5).

Chips may be touched only while the PCM clocks run, so step 6 comes first. Registers are those of the drivers' tables; the test values of
step 3 go to the slot registers, which do nothing as long as the PCM bus of a chip is off.
"""

from __future__ import annotations

import math

from firmware.factory.rig import Notes, Place, Rig
from firmware.factory.sound import find_pattern, idle_level, pattern, samples_of
from firmware.hal import si321x_registers as fxs
from firmware.hal import si3050_registers as fxo
from firmware.hal.cards import Card

SPEEDS_HZ = (2_000_000, 4_000_000)
TEST_VALUES = (0x55, 0xAA, 0x00, 0xFF)
FXO_SCRATCH = ((34, 0xFF), (35, 0x03), (36, 0xFF), (37, 0x03))
FXS_SCRATCH = ((2, 0xFF), (3, 0x03), (4, 0xFF), (5, 0x03))
MARK = 0xA5
LINK_LIMIT_MS = 2000
LINK_EVENT = 0x20
EDGE_WAIT_S = 0.05
PATTERN_SAMPLES = 800


def clocks(rig: Rig, notes: Notes) -> None:
    """Step 6."""
    limits = rig.limits.steps.clocks
    if not rig.highway.clocks_running():
        rig.highway.start()
    nominal = rig.board.pcm.clock_khz * 1000.0
    bit = rig.fixture.hertz("bit")
    if not notes.require(bit > 0, "no bit clock: the sound device does not run"):
        return
    notes.number("bit clock error", (bit / nominal - 1) * 1e6, "ppm", limits.bit_ppm)
    notes.number("frame clock", rig.fixture.hertz("frame"), "Hz", limits.frame_hz)
    before = rig.highway.xruns
    rig.highway.exchange({}, round(limits.xrun_s * 8000))
    notes.number("breaks of the stream", rig.highway.xruns - before, "", limits.xruns)


def is_fxo(card: Card) -> bool:
    """Kind of a chain."""
    return card.chain.kind == "fxo"


def spi(rig: Rig, notes: Notes) -> None:
    """Step 3."""
    limits = rig.limits.steps.spi
    for card in rig.cards:
        card.probe()
    for place in rig.places():
        chip = place.registers
        if is_fxo(place.card):
            control = chip.read(fxo.CONTROL_2)
            notes.require(control == 0x03, f"register 2 reads 0x{control:02X}, a Si3050 has 0x03 after RESET", place.title)
            notes.number("revision", chip.read(fxo.REVISION) & 0x0F, "", limits.fxo_revision, place.title)
        else:
            revision = chip.read(fxs.SPI_MODE) & fxs.REVISION_MASK
            notes.number("revision", revision, "", limits.fxs_revision, place.title, "the chip is too old")
            notes.fact(f"{place.title} family", "Si3215" if chip.read(fxs.PCM_MODE) & fxs.FAMILY_3215 else "Si3210")
    for speed in SPEEDS_HZ:
        for card in rig.cards:
            rig.set_speed(card.chain, speed)
        for place in rig.places():
            wrong = write_read(place, limits.accesses)
            notes.number(f"errors at {speed // 1_000_000} MHz", wrong, "", limits.errors, place.title, "SPI wiring, supply or speed")
    for card in rig.cards:
        rig.set_speed(card.chain, card.chain.speed_hz)


def write_read(place: Place, accesses: int) -> int:
    """Values that did not come back."""
    chip, scratch = place.registers, FXO_SCRATCH if is_fxo(place.card) else FXS_SCRATCH
    wrong = 0
    for number in range(accesses):
        register, mask = scratch[number % 4]
        value = TEST_VALUES[number // 4 % 4] & mask
        chip.write(register, value)
        wrong += chip.read(register) != value
    for register, _ in scratch:
        chip.write(register, 0)
    return wrong


def reset(rig: Rig, notes: Notes) -> None:
    """Step 4."""
    marked = rig.places()
    for card in rig.cards:
        title = f"{card.chain.kind.upper()} chain"
        for place in marked:
            place.port.resync()
            place.registers.write(36 if is_fxo(place.card) else 4, MARK)
        try:
            card.probe()
        except Exception as error:
            notes.require(False, f"{title}: RESET does not reset the chips, or they do not come back: {error}")
            continue
        for place in marked:
            left = place.registers.read(36 if is_fxo(place.card) else 4)
            if place.card is card:
                notes.require(left == 0, "RESET does not reset the chip: check its line", place.title)
                defaults(place, notes)
            else:
                notes.require(left == MARK, f"RESET of the {title} resets this chip, too: the lines are joined", place.title)


def defaults(place: Place, notes: Notes) -> None:
    """Registers that must hold their first values."""
    for register, value in place.card.reset_values().items():
        read = place.registers.read(register)
        notes.require(read == value, f"register {register} reads 0x{read:02X} after RESET, expected 0x{value:02X}", place.title)


def no_interrupts(rig: Rig) -> str:
    """Boards that poll only."""
    return "" if rig.interrupts else "the board file has no INT lines"


def interrupts(rig: Rig, notes: Notes) -> None:
    """Step 5: each chip is made to pull its chain's line by itself."""
    limits = rig.limits.steps.interrupts
    for card in rig.cards:
        line = rig.interrupts.get(card.chain.spi)
        if line is None:
            continue
        title = f"INT of the {card.chain.kind.upper()} chain"
        card.probe()
        if not notes.require(line.read(), f"{title} is low while no chip asks: stuck"):
            continue
        for place in rig.places():
            if place.card is not card:
                continue
            port = card.ports[place.jack]
            if not prepare_event(rig, place):
                notes.fact(place.title, "not judged: the isolation link is down, see step 8")
                continue
            port.interrupts(True)
            if is_fxo(card):  # what an open jack picks up is of no concern here
                place.registers.write(fxo.INTERRUPT_MASK, LINK_EVENT)
            port.take_interrupts()
            while line.poll(0):  # edges of what was pending
                line.read_event()
            began = rig.clock.now()
            make_event(place)
            fell = line.poll(EDGE_WAIT_S)
            took = float(rig.clock.now() - began) if fell else math.inf
            notes.number("INT falls after", took, "ms", limits.edge_ms, place.title, f"{title} does not follow")
            port.take_interrupts()
            rig.clock.sleep(1)
            if fell:
                notes.require(line.read(), f"{title} stays low after the events were cleared", place.title)
            port.interrupts(False)


def prepare_event(rig: Rig, place: Place) -> bool:
    """FXO: the isolation link must be up, so that it can fall; false when it does not come."""
    if not is_fxo(place.card):
        return True
    chip = place.registers
    chip.write(fxo.DAA_2, 0x00)
    return math.isfinite(rig.until(lambda: bool(chip.read(fxo.LINE_STATUS) & fxo.FRAME_LOCK), LINK_LIMIT_MS, 10))


def make_event(place: Place) -> None:
    """FXO: the link falls. FXS: an indirect read ends."""
    if is_fxo(place.card):
        place.registers.write(fxo.DAA_2, fxo.LINE_SIDE_DOWN)
    else:
        place.registers.write(fxs.INDIRECT_ADDRESS, 0)


def slots(rig: Rig, notes: Notes) -> None:
    """Step 7: one chip at a time on the bus."""
    limits = rig.limits.steps.slots
    most = int(limits.delay_samples.max or 0)
    for card in rig.cards:
        card.probe()
    channels = rig.board.pcm.slots
    play = {slot: pattern(PATTERN_SAMPLES, slot + 1) for slot in range(channels)}
    for place in rig.places():
        chip, port = place.registers, place.card.ports[place.jack]
        mode = fxo.PCM_MODE if is_fxo(place.card) else fxs.PCM_MODE
        port.set_slot(port.slot)
        port.loop_back(True)
        if not is_fxo(place.card):
            early = fxs.PCM_EARLY_RELEASE if rig.board.pcm.early_release else 0
            chip.write(fxs.PCM_MODE, fxs.PCM_ENABLE | fxs.PCM_LINEAR | fxs.PCM_16_BIT | early)
        back = [samples_of(data) for data in rig.highway.exchange(play, PATTERN_SAMPLES)]
        sent = samples_of(play[port.slot])
        delay = find_pattern(back[port.slot], sent, most)
        found, why = float(delay) if delay >= 0 else math.inf, f"not in slot {port.slot}"
        notes.number("delay of the own pattern", found, "samples", limits.delay_samples, place.title, why)
        loudest = max(range(channels), key=lambda slot: idle_level(back[slot]) if slot != port.slot else -math.inf)
        why = f"something speaks in slot {loudest}"
        notes.number("loudest other slot", idle_level(back[loudest]), "dBm0", limits.other_dbm0, place.title, why)
        port.loop_back(False)
        chip.write(mode, 0)
