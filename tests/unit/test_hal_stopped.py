"""A process that was stopped blames no chip: the clock jumps at any access of a bring-up, the chips answer as ever (no clock runs here)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from firmware.hal.bus import LEAST_TURNS, Bench, ChipError
from firmware.hal.si321x import Si321x
from firmware.hal.si321x_power import LEAK_LOOKS
from firmware.hal.si3050 import Si3050
from tests.unit.hal_bench import PCM, Chain, Chain321x, Chain3050, Chip, Chip321x, Clocks, Time, chip_3050, where

STOPPED_MS = 30_000


class Stopped:
    """A bus on which the clock jumps within one access: before it is answered, or between the answer and whoever looks at the clock."""

    def __init__(self, chain: Chain, time: Time, at: int, *, before: bool) -> None:
        self._chain, self._time, self._at, self._before = chain, time, at, before
        self.accesses = 0

    def transfer(self, data: list[int]) -> list[int]:
        return self._chain.transfer(data)

    def access(self, frames: Sequence[int]) -> int:
        here = self.accesses == self._at
        self.accesses += 1
        if here and self._before:
            self._time.ms += STOPPED_MS
        reply = self._chain.access(frames)
        if here and not self._before:
            self._time.ms += STOPPED_MS
        return reply


def slow_321x(time: Time) -> Chip321x:
    """An access is seen busy once, the battery rises within four looks, and an idle converter's charge is gone after 0.9 s."""
    chip = Chip321x()
    busy, rising, off_at = [0], [4], [0]

    def written(register: int, value: int) -> None:
        chip.react(register, value)
        if register == 30:
            busy[0] = 1
        if register == 14:
            rising[0], off_at[0] = 4, time.ms

    def looked(register: int) -> None:
        chip.battery_when_on = 0x40 if rising[0] else 0xC7
        chip.battery_when_off = 0x60 if time.ms - off_at[0] < 900 else 0x00
        chip.prepare(register)
        if register == 31:
            chip.registers[31], busy[0] = busy[0], 0
        if register == 82:
            rising[0] = max(0, rising[0] - 1)

    chip.on_write, chip.on_read = written, looked
    return chip


def start_321x(at: int, *, before: bool) -> int:
    time = Time()
    chip = slow_321x(time)
    bus = Stopped(Chain321x([chip]), time, at, before=before)
    Si321x(bus, 0, where("fxs"), slot=4, pcm=PCM, clocks=Clocks(), clock=time, country="CN", daisy=False).bring_up()
    assert chip.registers[64] == 0x11
    return bus.accesses


def start_3050(at: int, *, before: bool) -> int:
    time = Time()
    chip = chip_3050()
    bus = Stopped(Chain3050([chip]), time, at, before=before)
    Si3050(bus, 0, where(), slot=0, pcm=PCM, clocks=Clocks(), clock=time, country="CN").bring_up()
    return bus.accesses


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("start", [start_321x, start_3050])
def test_a_stop_of_half_a_minute_at_any_access_of_a_bring_up_blames_nobody(start: Callable[..., int], before: bool) -> None:
    accesses = start(-1, before=before)
    assert accesses > 20
    for at in range(accesses):
        start(at, before=before)


def test_every_wait_makes_its_turns_before_it_blames_the_chip() -> None:
    """Stopped in each pause, longer than any limit."""
    time, chip = Time(), Chip({31: 1})
    looks: list[int] = []
    chip.on_read = looks.append
    bench = Bench(chip, where("fxs"), Always(time), {})
    with pytest.raises(ChipError, match="within 20 ms"):
        bench.wait(31, lambda value: value == 0, limit_ms=20, every_ms=1, expected="idle", remedy="none")
    assert len(looks) == 1 + LEAST_TURNS
    late = iter([1] * LEAST_TURNS + [0])
    chip.on_read = lambda register: chip.registers.__setitem__(register, next(late))
    assert bench.wait(31, lambda value: value == 0, limit_ms=20, every_ms=1, expected="idle", remedy="none") == 0


def test_an_unhurried_process_waits_no_longer_than_before() -> None:
    time, chip = Time(), Chip({31: 1})
    bench = Bench(chip, where("fxs"), time, {})
    with pytest.raises(ChipError):
        bench.wait(31, lambda value: value == 0, limit_ms=20, every_ms=1, expected="idle", remedy="none")
    assert time.ms == 20


class Always(Time):
    """Every pause becomes a stop."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.ms = time.ms

    def sleep(self, ms: int) -> None:
        self.ms += STOPPED_MS


def test_a_leak_is_named_also_by_a_process_that_is_always_late() -> None:
    """It cannot tell a leak from a charge that is gone after so long; after a few looks it stays with the safe side."""
    chip, clock = Chip321x(), Always(Time())
    chip.battery_when_off = 0x00
    driver = Si321x(Chain321x([chip]), 0, where("fxs"), slot=4, pcm=PCM, clocks=Clocks(), clock=clock, country="CN", daisy=False)
    with pytest.raises(ChipError) as failure:
        driver.bring_up()
    assert failure.value.step == "leak test"
    assert 1 <= chip.written(14).count(0x00) <= LEAK_LOOKS
    assert chip.writes[-2:] == [(64, 0), (14, 0x10)]
