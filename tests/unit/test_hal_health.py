"""Health of a port: what is confirmed, recovered, limited, alarmed; on drivers and register files."""

from __future__ import annotations

from firmware.hal.api import Feed, Hook
from firmware.hal.health import Keeper, Limits
from firmware.hal.si321x import Si321x
from firmware.hal.si3050 import Si3050
from tests.unit.hal_bench import PCM, Chain321x, Chain3050, Chip, Chip321x, Clocks, Time, chip_3050, where


def fxs() -> tuple[Keeper, Si321x, Chip321x, Chain321x, Time]:
    chip, time = Chip321x(), Time()
    chain = Chain321x([chip])
    port = Si321x(chain, 0, where("fxs"), slot=4, pcm=PCM, clocks=Clocks(), clock=time, country="CN", daisy=False)
    port.bring_up()
    chip.writes.clear()
    return Keeper(port, time), port, chip, chain, time


def fxo() -> tuple[Keeper, Si3050, Chip, Chain3050, Time]:
    chip, time = chip_3050(), Time()
    chain = Chain3050([chip])
    port = Si3050(chain, 0, where(), slot=0, pcm=PCM, clocks=Clocks(), clock=time, country="CN")
    port.bring_up()
    chip.writes.clear()
    return Keeper(port, time), port, chip, chain, time


def run(keeper: Keeper, time: Time, ms: int) -> list[tuple[str, bool, bool]]:
    """Poll for a time; what was told, as (kind, raised, final)."""
    told = []
    end = time.ms + ms
    while time.ms < end:
        told += [(event.kind, event.raised, event.final) for event in keeper.poll()]
        time.sleep(10)
    return told


def test_a_healthy_port_is_only_looked_at() -> None:
    for keeper, _, chip, _, time in (fxs(), fxo()):
        assert run(keeper, time, 2000) == []
        assert keeper.state == "well"
        assert chip.writes == []


def test_one_bad_read_is_no_fault() -> None:
    keeper, _, chip, chain, time = fxo()
    chain.force = 0xFF
    assert run(keeper, time, 100) == []
    assert keeper.state == "suspect"
    chain.force = None
    assert run(keeper, time, 200) == []
    assert keeper.state == "well"
    assert keeper.garbage_looks == 1
    assert chip.writes == []


def test_a_dead_wire_raises_one_alarm_and_no_write_until_it_is_back() -> None:
    for value, kind in ((0xFF, "all-ones"), (0x00, "all-zeros")):
        keeper, _, chip, chain, time = fxo()
        chain.force = value
        assert run(keeper, time, 60_000) == [(kind, True, False)]
        assert keeper.state == "unreadable"
        assert chip.writes == []
        chain.force = None
        assert run(keeper, time, 300) == [(kind, False, False)]
        assert keeper.state == "well"


def test_a_bus_that_raises_is_survived() -> None:
    keeper, _, _, chain, time = fxs()
    chain.broken = True
    assert run(keeper, time, 1000) == [("bus", True, False)]
    chain.broken = False
    assert run(keeper, time, 200) == [("bus", False, False)]


def test_a_chip_that_reset_itself_is_brought_up_alone() -> None:
    keeper, _, chip, _, time = fxs()
    chip.reset()
    assert run(keeper, time, 3000) == [("chip-reset", True, False), ("recovered", True, False), ("chip-reset", False, False)]
    assert keeper.recoveries == 1
    assert chip.registers[64] == 0x11


def test_a_setting_that_changed_is_written_again_and_nothing_else_happens() -> None:
    keeper, _, chip, _, time = fxo()
    chip.registers[26] = 0x11
    told = run(keeper, time, 3000)
    assert [kind for kind, _, _ in told] == ["settings", "recovered", "settings"]
    assert chip.registers[26] == 0xC0
    assert (1, 0x80) not in chip.writes
    assert not chip.written(5)
    keeper, _, chip, _, time = fxs()
    chip.registers[71] = 7
    run(keeper, time, 3000)
    assert chip.registers[71] == 0
    assert not chip.written(64)
    chip.registers[64] = 0x22
    run(keeper, time, 3000)
    assert chip.registers[64] == 0x11


def test_a_lost_link_is_brought_up_again() -> None:
    keeper, _, chip, _, time = fxo()
    chip.registers.update({11: 0x03, 12: 0x00})
    assert run(keeper, time, 4000)[:2] == [("link", True, False), ("recovered", True, False)]
    assert keeper.state == "well"
    assert chip.registers[5] == 0x08


def test_recovery_is_limited_with_growing_pauses_then_a_person_is_called() -> None:
    keeper, _, chip, _, time = fxo()
    looked = chip.on_read
    chip.on_read = lambda register: None  # the line side never answers again
    chip.registers.update({11: 0x03, 12: 0x00})
    resets: list[int] = []
    plain = chip.on_write

    def noted(register: int, value: int) -> None:
        plain(register, value)
        if register == 1:
            resets.append(time.ms)

    chip.on_write = noted
    told = run(keeper, time, 120_000)
    assert len(resets) == 5
    pauses = [after - before for before, after in zip(resets, resets[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 7000
    assert told[-1] == ("link", True, True)
    assert keeper.state == "out"
    assert chip.writes[-2:] == [(5, 0x00), (6, 0x10)]
    chip.on_read = looked
    keeper.retry()
    run(keeper, time, 10_000)
    assert len(resets) == 6
    assert keeper.state == "well"


def test_a_chip_that_resets_itself_again_and_again_is_given_up() -> None:
    keeper, _, chip, _, time = fxs()
    told = []
    for _ in range(8):
        chip.reset()
        told += run(keeper, time, 5000)
    assert told[-1] == ("chip-reset", True, True)
    assert keeper.recoveries == 5
    assert keeper.state == "out"


def test_attempts_come_back_after_a_long_health() -> None:
    keeper, _, chip, _, time = fxs()
    keeper._limits = Limits(look_ms=100, forget_ms=20_000)
    for _ in range(8):
        chip.reset()
        run(keeper, time, 30_000)
    assert keeper.recoveries == 8
    assert keeper.state == "well"


def open_itself(chip: Chip321x) -> None:
    chip.registers[64] &= 0x07
    chip.registers[19] |= 0x08


def test_a_power_alarm_while_ringing_goes_on_as_active() -> None:
    keeper, port, chip, _, time = fxs()
    port.drive(Feed.RINGING)
    chip.writes.clear()
    open_itself(chip)
    assert run(keeper, time, 300) == [("power-alarm", True, False), ("power-alarm", False, False)]
    assert chip.writes == [(19, 0xFF), (64, 1)]


def test_ten_power_alarms_are_answered_then_the_line_stays_open() -> None:
    _, port, chip, _, time = fxs()
    keeper, told = Keeper(port, time, Limits(longest_feed_ms=100)), []
    for _ in range(12):
        if keeper.state != "out":
            open_itself(chip)
        told += run(keeper, time, 200)
    assert chip.written(64)[:10] == [1] * 10
    assert told[-1] == ("power-alarm", True, True)
    assert chip.writes[-2:] == [(64, 0), (14, 0x10)]


def test_a_line_that_stays_on_earth_is_tried_less_and_less_often() -> None:
    keeper, _, chip, _, time = fxs()
    tries: list[int] = []
    react = chip.on_write

    def touched(register: int, value: int) -> None:
        react(register, value)
        if register == 64 and value:
            tries.append(time.ms)
            open_itself(chip)

    chip.on_write = touched
    open_itself(chip)
    run(keeper, time, 60_000)
    pauses = [after - before for before, after in zip(tries, tries[1:], strict=False)]
    assert keeper.state == "out"
    assert 10 <= len(tries) <= 14
    assert pauses[0] <= 210
    assert pauses[-1] >= 5000
    assert pauses == sorted(pauses)


def test_rare_power_alarms_are_forgiven() -> None:
    keeper, _, chip, _, time = fxs()
    for _ in range(30):
        open_itself(chip)
        run(keeper, time, 11_000)
    assert keeper.state == "well"


def test_lost_supply_switches_the_port_off() -> None:
    keeper, _, chip, _, time = fxs()
    chip.battery_when_on = 0x02
    assert run(keeper, time, 1000) == [("supply", True, False), ("supply", True, True)]
    assert chip.registers[14] == 0x10


def test_overload_is_told_and_ends() -> None:
    keeper, port, chip, _, time = fxo()
    port.drive(Hook.OFF_HOOK)
    chip.registers[19] = 0x01
    assert run(keeper, time, 500) == [("overload", True, False)]
    chip.registers[19] = 0x00
    assert run(keeper, time, 200) == [("overload", False, False)]
    keeper.state, chip.registers[19] = "recovering", 0x01    # brought up for something else just before
    run(keeper, time, 200)
    assert keeper.state == "suspect", "it serves"
