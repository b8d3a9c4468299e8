"""The drivers, unmodified, on the register simulator: its record of the copper and of illegal accesses judges, not the drivers' state."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

from firmware.config.board import parse_board
from firmware.hal.api import Feed, FxoPort, FxsPort, Hook, Ringing
from firmware.hal.bus import ChipError, SoleUser
from firmware.hal.cards import Card, PortSettings
from firmware.hal.health import Keeper, Limits
from firmware.hal.scan import ScanPlan, facts_of, read_frames
from firmware.hal.si321x import Si321x
from firmware.hal.si3050 import Si3050
from firmware.sim.chip_face import SimBoard
from tests.conftest import soak

BOARD = parse_board(
    b"""
name = "simulated"
seam = "alsa"
slots_fxo = [0, 1]
slots_fxs = [2, 3]
[[chains]]
chip = "si3050"
spi = "fxo"
jacks = ["1", "2"]
reset = {chip = "g", line = 1}
[[chains]]
chip = "si321x"
spi = "fxs"
jacks = ["1", "2"]
reset = {chip = "g", line = 2}
""",
    "board.toml",
)


@dataclasses.dataclass
class Bench:
    """A simulated board with its two chains."""

    sim: SimBoard
    fxo: Card
    fxs: Card

    @property
    def trunk(self) -> FxoPort:
        port = self.fxo.ports["1"]
        assert isinstance(port, Si3050)
        return port

    @property
    def phone(self) -> FxsPort:
        port = self.fxs.ports["1"]
        assert isinstance(port, Si321x)
        return port

    def rest(self, ms: int) -> None:
        self.sim.clock.sleep(ms)

    def keep(self, keeper: Keeper, ms: int) -> list[tuple[str, bool, bool]]:
        """Poll for a time; what was told."""
        told = []
        end = self.sim.clock.now() + ms
        while self.sim.clock.now() < end:
            told += [(event.kind, event.raised, event.final) for event in keeper.poll()]
            self.rest(10)
        return told


def open_cards(sim: SimBoard, settings: PortSettings = PortSettings()) -> Bench:
    cards = [
        Card(
            BOARD,
            chain,
            spi=SoleUser(sim.spi[chain.spi]),
            reset=sim.gpio[f"reset-{chain.spi}"],
            clocks=sim.pcm,
            clock=sim.clock,
            settings=dict.fromkeys(chain.jacks, settings),
        )
        for chain in BOARD.chains
    ]
    return Bench(sim, *cards)


def powered(*, family: int = 3215, seed: int = 1, settings: PortSettings = PortSettings(), fxo: bool = True, fxs: bool = True) -> Bench:
    sim = SimBoard(2, 2, family=family, seed=seed)
    sim.pcm.start()
    sim.clock.sleep(10)
    bench = open_cards(sim, settings)
    assert not fxo or bench.fxo.bring_up() == {}
    assert not fxs or bench.fxs.bring_up() == {}
    return bench


# --- bring-up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [3210, 3215])
def test_bring_up_is_legal_and_the_lines_are_at_rest(family: int) -> None:
    bench = powered(family=family)
    assert bench.sim.illegal == []
    for trunk in bench.sim.fxo:
        assert trunk.state["link"]
        assert not trunk.state["closed"]
    for phone in bench.sim.fxs:
        state = phone.state
        assert (state["lfs"], state["powered"], state["calibrated"], state["chain"]) == (1, True, True, True)
        assert state["open_volts"] == pytest.approx(48, abs=3)
    assert bench.trunk.measure().volts == pytest.approx(48, abs=5)
    assert bench.phone.measure().volts == pytest.approx(48, abs=4)
    assert [fault for card in (bench.fxo, bench.fxs) for port in card.ports.values() for fault in port.check()] == []


def test_a_second_program_attaches_without_touching_anything() -> None:
    bench = powered()
    bench.trunk.drive(Hook.OFF_HOOK)
    bench.phone.drive(Feed.REVERSED)
    before = [[chip.peek(register) for register in range(109)] for chip in (*bench.sim.fxo, *bench.sim.fxs)]
    again = open_cards(bench.sim)
    assert again.fxo.attach() == {"1": (), "2": ()}
    assert again.fxs.attach() == {"1": (), "2": ()}
    assert again.trunk.off_hook
    assert again.phone.feed == Feed.REVERSED
    after = [[chip.peek(register) for register in range(109)] for chip in (*bench.sim.fxo, *bench.sim.fxs)]
    volatile = {28, 29, *range(78, 90)}  # measurements
    changed = {register for chip, old in zip(after, before, strict=True) for register, value in enumerate(chip) if value != old[register]}
    assert changed <= volatile
    assert bench.sim.illegal == []


def test_bring_up_of_a_running_chip_is_legal_too() -> None:
    bench = powered()
    for card in (bench.fxo, bench.fxs):
        for port in card.ports.values():
            port.reinitialise()
    assert bench.sim.illegal == []
    assert bench.sim.fxs[0].state["lfs"] == 1


def test_without_clocks_nothing_comes_up() -> None:
    bench = open_cards(SimBoard(2, 2))
    for card in (bench.fxo, bench.fxs):
        faults = card.bring_up()
        assert set(faults) == {"1", "2"}
        assert all(isinstance(fault, ChipError) and fault.step == "PCM clocks" for fault in faults.values())
    assert bench.sim.illegal == []


@pytest.mark.parametrize(
    ("chip", "fault", "step"),
    [
        ("fxo", "fault_link", "isolation link"), ("fxs", "fault_no_rise", "converter start"), ("fxs", "fault_leak", "leak test"),
        ("fxs", "fault_calibration", "calibration by hand"),
    ],
)  # fmt: skip
def test_a_broken_chip_fails_at_its_step_and_its_neighbour_works(chip: str, fault: str, step: str) -> None:
    bench = powered(fxo=False, fxs=False)
    ports = bench.sim.fxo if chip == "fxo" else bench.sim.fxs
    ports[0].set(**{fault: 1})
    card = bench.fxo if chip == "fxo" else bench.fxs
    faults = card.bring_up()
    assert list(faults) == ["1"]
    error = faults["1"]
    assert isinstance(error, ChipError)
    assert error.step == step
    assert card.ports["2"].check() == ()
    if chip == "fxs":
        bench.rest(3000)
        assert bench.sim.fxs[0].state["lfs"] == 0
        assert not bench.sim.fxs[0].state["powered"]


@pytest.mark.parametrize("wire", ["all_ff", "all_00"])
def test_a_dead_wire_is_said_at_bring_up(wire: str) -> None:
    for name in ("fxo", "fxs"):
        bench = powered(fxo=False, fxs=False)
        bench.sim.spi[name].set(**{wire: 1})
        card = bench.fxo if name == "fxo" else bench.fxs
        faults = card.bring_up()
        assert set(faults) == {"1", "2"}
        text = str(faults["1"])
        assert "chain count" in text
        assert ("no chip answers" if wire == "all_ff" else "RESET is released") in text


def test_a_lifted_telephone_at_start_needs_a_stored_calibration() -> None:
    bench = powered()
    stored = bench.phone.calibration
    again = powered(fxo=False, fxs=False)
    again.sim.fxs[0].set(lifted=1)
    faults = again.fxs.bring_up()
    assert "put the receiver down" in str(faults["1"])
    helped = open_cards(again.sim, PortSettings(calibration=stored))
    assert helped.fxs.bring_up() == {}
    assert again.sim.fxs[0].state["lfs"] == 1


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", ["CN", "US", "UK", "DE", "FR", "AU"])
def test_a_line_is_seized_and_released_in_every_country(country: str) -> None:
    bench = powered(settings=PortSettings(country=country), fxs=False)
    bench.trunk.drive(Hook.OFF_HOOK)
    bench.rest(bench.trunk.settle_ms)
    state = bench.sim.fxo[0].state
    assert state["closed"]
    assert bench.trunk.measure().milliamps == pytest.approx(state["milliamps"], abs=3)
    assert not bench.sim.fxo[1].state["closed"]
    assert bench.trunk.check() == ()
    bench.trunk.drive(Hook.ON_HOOK)
    bench.rest(100)
    assert not bench.sim.fxo[0].state["closed"]
    assert bench.sim.illegal == []


def test_line_voltage_has_the_sign_of_the_polarity() -> None:
    bench = powered(fxs=False)
    bench.sim.fxo[0].set(reversed=1)
    bench.rest(1000)
    assert bench.trunk.measure().volts == pytest.approx(-48, abs=5)
    bench.sim.fxo[0].set(opened=1)
    bench.rest(1000)
    assert bench.trunk.measure().volts == 0


def test_ringing_half_waves_are_seen_on_both_sides() -> None:
    bench = powered(fxs=False)
    bench.sim.fxo[0].set(ringing=1, ring_hz=25, ring_volts=75)
    seen = set()
    for _ in range(100):
        fact = bench.trunk.measure()
        seen.add((fact.ring_positive, fact.ring_negative))
        bench.rest(1)
    assert {(True, False), (False, True)} <= seen


@pytest.mark.parametrize("milliamps", [20, 29])
def test_a_lifted_telephone_gets_its_current(milliamps: int) -> None:
    bench = powered(fxo=False)
    bench.phone.set_loop_current(milliamps)
    bench.sim.fxs[0].set(lifted=1, phone_ohms=300, loop_ohms=0)
    bench.rest(200)
    fact = bench.phone.measure()
    assert fact.closed
    assert fact.milliamps == pytest.approx(milliamps, abs=2)
    bench.sim.fxs[0].set(lifted=0)
    bench.rest(100)
    assert not bench.phone.measure().closed


@pytest.mark.parametrize("ringing", [Ringing(20, 65), Ringing(25, 65), Ringing(25, 85), Ringing(50, 65)])
def test_a_telephone_rings_as_asked_and_stops_when_it_is_lifted(ringing: Ringing) -> None:
    bench = powered(settings=PortSettings(ringing=ringing), fxo=False)
    bench.rest(500)
    bench.phone.drive(Feed.RINGING)
    bench.rest(400)
    state = bench.sim.fxs[0].state
    assert state["lfs"] == 4
    assert state["ring_hz"] == pytest.approx(ringing.hertz, rel=0.01)
    assert state["ring_peak"] == pytest.approx(ringing.volts_peak, rel=0.02)
    bench.sim.fxs[0].set(lifted=1)
    bench.rest(200)
    assert bench.sim.fxs[0].state["lfs"] == 1
    assert bench.phone.check() == ()
    bench.phone.drive(Feed.ACTIVE)
    assert bench.phone.measure().closed
    assert bench.sim.illegal == []


def test_feed_sequence_of_a_call_is_legal() -> None:
    bench = powered(fxo=False)
    for feed in (Feed.RINGING, Feed.ON_HOOK_TX, Feed.RINGING, Feed.ACTIVE, Feed.REVERSED, Feed.REVERSED_TX, Feed.OPEN, Feed.ACTIVE):
        bench.phone.drive(feed)
        assert bench.sim.fxs[0].state["lfs"] == feed
        bench.rest(300)
    assert bench.sim.illegal == []


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spidc_lost", [0, 1])
def test_a_telephone_chip_that_resets_itself_is_back_without_a_word_to_its_neighbour(spidc_lost: int) -> None:
    bench = powered(fxo=False)
    neighbour = bench.fxs.ports["2"]
    neighbour.drive(Feed.REVERSED)
    bench.sim.fxs[0].set(spidc_lost=spidc_lost)
    keeper = Keeper(bench.phone, bench.sim.clock)
    bench.sim.fxs[0].self_reset()
    told = bench.keep(keeper, 8000)
    assert keeper.state == "well", told
    assert [kind for kind, _, _ in told].count("recovered") == 1
    assert bench.sim.fxs[0].state["lfs"] == 1
    assert bench.sim.fxs[1].state["lfs"] == 5
    assert neighbour.check() == ()


def test_a_line_chip_that_resets_itself_is_back() -> None:
    bench = powered(fxs=False)
    keeper = Keeper(bench.trunk, bench.sim.clock)
    bench.fxo.ports["2"].drive(Hook.OFF_HOOK)
    bench.sim.fxo[0].self_reset()
    assert ("recovered", True, False) in bench.keep(keeper, 4000)
    assert keeper.state == "well"
    assert bench.sim.fxo[1].state["closed"]
    assert bench.sim.illegal == []


def test_a_lost_link_that_comes_back_is_recovered_and_one_that_does_not_is_given_up() -> None:
    bench = powered(fxs=False)
    keeper = Keeper(bench.trunk, bench.sim.clock, Limits(attempts=3))
    bench.sim.fxo[0].set(fault_link=1)
    bench.keep(keeper, 3000)
    assert keeper.state == "recovering"
    bench.sim.fxo[0].set(fault_link=0)
    bench.keep(keeper, 6000)
    assert keeper.state == "well"
    bench.sim.fxo[0].set(fault_link=1)
    told = bench.keep(keeper, 60_000)
    assert told[-1] == ("link", True, True)
    assert bench.fxo.ports["2"].check() == ()


@pytest.mark.parametrize("gap_ms", [80, 500, 900])
def test_a_loop_break_of_the_exchange_is_no_fault_of_the_chip(gap_ms: int) -> None:
    bench = powered(fxs=False)
    keeper = Keeper(bench.trunk, bench.sim.clock)
    bench.trunk.drive(Hook.OFF_HOOK)
    bench.keep(keeper, 1000)
    bench.sim.fxo[0].set(opened=1, dropout_link_ms=20)
    told = bench.keep(keeper, gap_ms)
    bench.sim.fxo[0].set(opened=0)
    told += bench.keep(keeper, 2000)
    assert told == []
    assert keeper.recoveries == 0
    assert bench.sim.fxo[0].state["closed"]


@pytest.mark.parametrize("wire", ["all_ff", "all_00"])
def test_garbage_on_the_wire_changes_nothing_on_the_lines(wire: str) -> None:
    bench = powered()
    bench.trunk.drive(Hook.OFF_HOOK)
    keepers = [Keeper(port, bench.sim.clock) for card in (bench.fxo, bench.fxs) for port in card.ports.values()]
    for name in ("fxo", "fxs"):
        bench.sim.spi[name].set(**{wire: 1})
    for keeper in keepers:
        bench.keep(keeper, 1000)
        assert keeper.state == "unreadable"
    for name in ("fxo", "fxs"):
        bench.sim.spi[name].set(**{wire: 0})
    for keeper in keepers:
        bench.keep(keeper, 500)
        assert keeper.state == "well"
        assert keeper.recoveries == 0
    assert bench.sim.fxo[0].state["closed"]
    assert bench.sim.fxs[0].state["lfs"] == 1


def test_flipped_bits_in_replies_cost_no_port(seed: int) -> None:
    bench = powered(seed=seed & 0xFFFF)
    keepers = [Keeper(port, bench.sim.clock) for card in (bench.fxo, bench.fxs) for port in card.ports.values()]
    for name in ("fxo", "fxs"):
        bench.sim.spi[name].set(flip_in=0.001)
    for _ in range(600):
        for keeper in keepers:
            keeper.poll()
        bench.rest(100)
    for name in ("fxo", "fxs"):
        bench.sim.spi[name].set(flip_in=0)
    for _ in range(100):
        for keeper in keepers:
            keeper.poll()
        bench.rest(100)
    assert [keeper.state for keeper in keepers] == ["well"] * 4
    assert [phone.state["lfs"] for phone in bench.sim.fxs] == [1, 1]


def test_stopped_clocks_are_seen_and_a_restart_of_the_clocks_recovers_every_port() -> None:
    bench = powered()
    keepers = [Keeper(port, bench.sim.clock) for card in (bench.fxo, bench.fxs) for port in card.ports.values()]
    bench.sim.pcm.stop()
    for keeper in keepers:
        bench.keep(keeper, 1000)
    assert any(keeper.state != "well" for keeper in keepers)
    bench.sim.pcm.start()
    for _ in range(300):
        for keeper in keepers:
            keeper.poll()
        bench.rest(100)
    assert [keeper.state for keeper in keepers] == ["well"] * 4


def test_power_alarms_open_one_port_alone() -> None:
    bench = powered(fxo=False)
    keeper = Keeper(bench.phone, bench.sim.clock)
    bench.sim.fxs[0].set(fault_alarm=1)
    told = bench.keep(keeper, 60_000)
    assert told[-1] == ("power-alarm", True, True)
    bench.rest(3000)
    assert bench.sim.fxs[0].state["lfs"] == 0
    assert not bench.sim.fxs[0].state["powered"]
    assert bench.fxs.ports["2"].check() == ()
    assert bench.sim.fxs[1].state["lfs"] == 1


def test_chips_that_lost_count_of_the_bytes_are_put_in_step() -> None:
    bench = powered()
    for name, port, chip in (("fxo", bench.trunk, bench.sim.fxo[0]), ("fxs", bench.phone, bench.sim.fxs[0])):
        keeper = Keeper(port, bench.sim.clock)
        bench.sim.spi[name].set(slip_next=1)
        bench.keep(keeper, 6000)
        assert keeper.state == "well", name
        assert chip.state["drive"] == (0 if name == "fxo" else 1)


def test_a_hook_that_reads_back_wrong_is_a_fault_of_the_drive() -> None:
    bench = powered(fxs=False)
    bench.sim.fxo[0].set(fault_hook=1)
    with pytest.raises(ChipError, match="off-hook") as failure:
        bench.trunk.drive(Hook.OFF_HOOK)
    assert failure.value.register == 5


FAULTS = ("all_ff", "all_00", "slip", "reset-fxo", "reset-fxs", "link", "clocks", "flip_in", "flip_out", "drive")


def inflict(bench: Bench, rng: random.Random) -> Callable[[], None]:
    """One random fault of wire, chip or clock; returns how it ends."""
    sim, fault, number = bench.sim, rng.choice(FAULTS), rng.randrange(2)
    spi = sim.spi[rng.choice(("fxo", "fxs"))]
    if fault in ("all_ff", "all_00", "flip_in", "flip_out"):
        spi.set(**{fault: 1 if fault.startswith("all") else 0.001})
        return lambda: spi.set(**{fault: 0})
    if fault == "slip":
        spi.set(slip_next=rng.randrange(1, 4))
    elif fault == "reset-fxo":
        sim.fxo[number].self_reset()
    elif fault == "reset-fxs":
        sim.fxs[number].set(spidc_lost=rng.randrange(2))
        sim.fxs[number].self_reset()
    elif fault == "link":
        sim.fxo[number].set(fault_link=1)
        return lambda: sim.fxo[number].set(fault_link=0)
    elif fault == "clocks":
        sim.pcm.stop()
        return sim.pcm.start
    else:
        for port, code in ((bench.phone, rng.choice(list(Feed))), (bench.trunk, rng.choice(list(Hook)))):
            try:
                port.drive(code)
            except ChipError:
                continue  # a fault before is still being cured
    return lambda: None


@pytest.mark.parametrize("draw", range(3 * soak()))
def test_every_port_survives_random_faults(seed: int, draw: int) -> None:
    rng = random.Random(seed * 1000 + draw)
    bench = powered(seed=rng.randrange(1, 1 << 30), family=rng.choice((3210, 3215)))
    keepers = [Keeper(port, bench.sim.clock) for card in (bench.fxo, bench.fxs) for port in card.ports.values()]

    def poll(ms: int) -> None:
        end = bench.sim.clock.now() + ms
        while bench.sim.clock.now() < end:
            for keeper in keepers:
                keeper.poll()
            bench.rest(50)

    for _ in range(6):
        end = inflict(bench, rng)
        poll(rng.choice((50, 200, 1000, 4000)))
        end()
        poll(rng.choice((100, 3000, 30_000)))
    poll(90_000)
    assert [keeper.state for keeper in keepers] == ["well"] * 4
    bench.trunk.drive(Hook.OFF_HOOK)
    bench.phone.drive(Feed.ACTIVE)
    bench.rest(100)
    assert bench.sim.fxo[0].state["closed"]
    assert bench.sim.fxs[0].state["lfs"] == 1


# --- factory and scanner ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [3210, 3215])
def test_tables_of_reset_values_are_what_chips_hold_after_reset(family: int) -> None:
    bench = powered(family=family, fxo=False, fxs=False)
    for card in (bench.fxo, bench.fxs):
        card.probe()
        registers = card.registers("1")
        held = {register: registers.read(register) for register in card.reset_values()}
        assert held == dict(card.reset_values())


def test_interrupt_lines_fall_and_are_released() -> None:
    bench = powered()
    trunk_line, phone_line = bench.sim.gpio["int-fxo"], bench.sim.gpio["int-fxs"]
    bench.trunk.interrupts(True)
    bench.phone.interrupts(True)
    bench.trunk.take_interrupts()
    bench.phone.take_interrupts()
    assert trunk_line.read()
    assert phone_line.read()
    for line in (trunk_line, phone_line):
        while line.poll(0):
            line.read_event()
    bench.sim.fxo[0].set(ringing=1, ring_hz=25, ring_volts=75)
    bench.sim.fxs[0].set(lifted=1)
    assert trunk_line.poll(1)
    assert phone_line.poll(1)
    assert bench.phone.take_interrupts() & 0x02
    assert phone_line.read()
    bench.sim.fxo[0].set(ringing=0)
    bench.rest(100)
    assert bench.trunk.take_interrupts() & 0x80
    assert trunk_line.read()
    assert bench.sim.illegal == []


def scan(bench: Bench, card: Card, position: int) -> tuple[tuple[str, ...], dict[str, int]]:
    """All registers of a plan, by the bytes of the table alone."""
    plan: ScanPlan = card.plan
    values = {}
    for poll in plan.polls:
        reply = 0
        for byte in read_frames(card.framing, position, poll.register):
            reply = bench.sim.spi[card.chain.spi].transfer([byte])[0]
        values[poll.register] = reply
    return facts_of(plan, values)


def test_the_scan_table_alone_gives_the_facts_of_the_line() -> None:
    bench = powered()
    faults, facts = scan(bench, bench.fxo, 0)
    assert faults == ()
    assert facts["volts"] == pytest.approx(48e6, abs=5e6)
    assert (facts["off_hook"], facts["ring_positive"], facts["drop_out"]) == (0, 0, 0)
    bench.trunk.drive(Hook.OFF_HOOK)
    bench.rest(500)
    faults, facts = scan(bench, bench.fxo, 0)
    assert (faults, facts["off_hook"]) == ((), 1)
    assert facts["milliamps"] == pytest.approx(bench.sim.fxo[0].state["milliamps"] * 1000, abs=3000)
    bench.sim.fxo[0].set(opened=1)
    bench.rest(20)
    assert scan(bench, bench.fxo, 0)[1].get("drop_out", 1) == 1
    assert scan(bench, bench.fxo, 1)[1]["off_hook"] == 0


def test_the_scan_table_alone_gives_the_facts_of_the_loop() -> None:
    bench = powered()
    faults, facts = scan(bench, bench.fxs, 0)
    assert (faults, facts["closed"], facts["ring_trip"]) == ((), 0, 0)
    assert facts["volts"] == pytest.approx(48e6, abs=4e6)
    bench.sim.fxs[0].set(lifted=1)
    bench.rest(100)
    faults, facts = scan(bench, bench.fxs, 0)
    assert (faults, facts["closed"]) == ((), 1)
    assert facts["milliamps"] == pytest.approx(20_000, abs=2500)
    assert scan(bench, bench.fxs, 1)[1]["closed"] == 0


@pytest.mark.parametrize("wire", ["all_ff", "all_00"])
def test_the_scan_table_takes_no_fact_from_a_dead_wire(wire: str) -> None:
    bench = powered()
    for name, card in (("fxo", bench.fxo), ("fxs", bench.fxs)):
        bench.sim.spi[name].set(**{wire: 1})
        assert scan(bench, card, 0) == (("garbage",), {})


def test_the_scan_table_sees_resets_links_and_alarms() -> None:
    bench = powered()
    bench.sim.fxo[0].self_reset()
    assert "chip-reset" in scan(bench, bench.fxo, 0)[0] or scan(bench, bench.fxo, 0)[0] == ("garbage",)
    bench.sim.fxo[1].set(fault_link=1)
    bench.rest(200)
    assert scan(bench, bench.fxo, 1)[0] == ("link",)
    bench.sim.fxs[0].self_reset()
    assert "chip-reset" in scan(bench, bench.fxs, 0)[0]
    bench.sim.fxs[1].set(fault_alarm=1)
    bench.rest(200)
    assert "power-alarm" in scan(bench, bench.fxs, 1)[0]
