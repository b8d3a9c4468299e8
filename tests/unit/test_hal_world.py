"""The world's faces: mail reaches chips whole and in time, or says why not; a board is brought up through it unmodified."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from firmware.config.board import Board, parse_board
from firmware.dsp.chip_mail import ChipMail
from firmware.errors import ConfigError, HardwareError
from firmware.hal.cards import PortSettings
from firmware.hal.seams import open_cards
from firmware.hal.world import WorldLines, WorldSeam
from firmware.sim.chip_face import SimBoard
from tests.unit.world_post import RESET, TRANSFER, PostOffice

FILE = b"""
name = "small"
seam = "world"
slots_fxo = [0, 1]
slots_fxs = [4, 5]
[[chains]]
chip = "si3050"
spi = "world:0"
jacks = ["1", "2"]
reset = {chip = "world", line = 0}
interrupt = {chip = "world", line = 8}
[[chains]]
chip = "si321x"
spi = "world:1"
jacks = ["1", "2"]
reset = {chip = "world", line = 1}
[lifeline]
relay = {chip = "world", line = 16}
sense = {chip = "world", line = 17}
"""


def small() -> Board:
    return parse_board(FILE, "board.toml")


@pytest.fixture
def office() -> Iterator[PostOffice]:
    made = PostOffice(SimBoard(2, 2))
    made.open()
    yield made
    made.end()


def test_bytes_go_under_one_chip_select_or_one_each(office: PostOffice) -> None:
    office.sim.power_up()
    mail = ChipMail(office.fd, 0)
    whole = office.sim.spi["fxo"].transfer([0x60, 2, 0xFF])
    assert list(mail.transfer(0, [0x60, 2, 0xFF], split=False)) == whole
    assert mail.transfer(0, [0x60, 2, 0xFF], split=True)[-1] == 0x03
    assert mail.chains == 2


def test_what_the_world_refuses_is_an_error_with_its_number(office: PostOffice) -> None:
    mail = ChipMail(office.fd, 0)
    with pytest.raises(OSError, match="Invalid") as refused:
        mail.transfer(7, [1, 2], split=True)
    assert refused.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="256") as long:
        mail.transfer(0, bytes(257), split=True)
    assert long.value.errno == errno.EMSGSIZE
    assert mail.transfer(0, [0xFF], split=True)


def test_a_silent_world_is_an_error_and_what_it_owes_is_not_written_over(office: PostOffice) -> None:
    office.close()
    mail = ChipMail(office.fd, 0, limit_ms=50)
    with pytest.raises(OSError, match="does not answer") as late:
        mail.reset(0, True)
    assert late.value.errno == errno.ETIMEDOUT
    with pytest.raises(OSError, match="does not answer"):
        mail.transfer(0, [1, 2, 3], split=True)
    assert (office.boxes[0].op, office.boxes[0].value) == (RESET, 1)
    office.open()
    patient = ChipMail(office.fd, 0)
    patient.transfer(0, [0xFF], split=True)
    assert office.served == [(0, RESET), (0, TRANSFER)]


def test_threads_of_a_process_take_turns_and_two_boxes_do_not_mix(office: PostOffice) -> None:
    office.sim.power_up()
    mails = [ChipMail(office.fd, 0), ChipMail(office.fd, 1)]
    wrong: list[bytes] = []

    def use(number: int) -> None:
        for turn in range(50):
            value = (number * 50 + turn) & 0xFF
            got = mails[number % 2].transfer(0, [value] * (1 + turn), split=False)
            if len(got) != 1 + turn:
                wrong.append(got)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(office.served) == 200


def test_other_memory_is_refused() -> None:
    short = os.memfd_create("short")
    with pytest.raises(HardwareError, match="too short"):
        ChipMail(short, 0)
    os.ftruncate(short, 4 << 20)
    with pytest.raises(HardwareError, match="magic"):
        ChipMail(short, 0)
    os.close(short)


def test_a_board_comes_up_by_mail_in_chip_time_not_in_real_time(office: PostOffice) -> None:
    seam = WorldSeam(ChipMail(office.fd, 0))
    assert seam.answers()
    clock = seam.bench_clock()
    settings = {("fxs", "2"): PortSettings(country="US"), ("fxo", "1"): PortSettings(country="DE")}
    cards = open_cards(small(), seam, clock, settings)
    assert all(set(card.bring_up()) == set(card.ports) for card in cards), "without clocks nothing comes up"
    seam.start_clocks()
    chips = clock.now()
    assert [card.bring_up() for card in cards] == [{}, {}]
    assert clock.now() - chips > 800
    assert office.sim.fxs[1].peek(10) & 7 == 0
    assert office.sim.fxo[0].peek(30) & 15 == 2
    assert office.sim.illegal == []
    again = open_cards(small(), seam, clock, settings)
    assert [set(card.attach()) for card in again] == [{"1", "2"}, {"1", "2"}]
    assert all(not card.faults for card in again)


def test_the_parent_holds_relay_and_reset(office: PostOffice) -> None:
    office.sim.power_up()
    lines = WorldLines(small(), ChipMail(office.fd, 1))
    assert lines.sensed() is False
    lines.energise()
    assert lines.sensed() is True
    office.welded = True
    assert lines.sensed() is False
    lines.release()
    assert not office.relay
    assert [office.sim.gpio[f"reset-{name}"].read() for name in ("fxo", "fxs")] == [False, False]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'spi = "world:1"', b'spi = "world:2"', 'has spi "world:1"'), (b"line = 1}", b"line = 3}", "line = 1}"),
        (b"line = 8}", b"line = 9}", "line = 8}"), (b"line = 16}", b"line = 15}", "relay is line 16"),
        (b"line = 17}", b"line = 18}", "sense line 17"),
    ],
)  # fmt: skip
def test_the_world_has_fixed_places(old: bytes, new: bytes, words: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError, match=words):
        parse_board(FILE.replace(old, new, 1), "board.toml")
