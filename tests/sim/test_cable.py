"""The serial cable of the simulated box: what is typed arrives, what nobody hears is lost, and plugging in again works."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.errors import PbxError
from firmware.sim.cable import CHUNK, LINK, Cable, terminal


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path)
    yield made
    made.unplug()
    assert not os.path.lexists(tmp_path / LINK)


def opened(port: str | Path) -> int:
    return os.open(port, os.O_RDWR | os.O_NOCTTY)


def read(end: int, wanted: int) -> bytes:
    got = b""
    while len(got) < wanted:
        assert select.select([end], [], [], 10)[0], f"only {got!r}"
        got += os.read(end, wanted - len(got))
    return got


def meet(box: int, person: int) -> None:
    """Until the cable has seen that somebody opened the far end: only then is anything carried there."""
    while not select.select([person], [], [], 0.05)[0]:
        os.write(box, b".")
    while select.select([person], [], [], 0.2)[0]:
        os.read(person, CHUNK)


def test_every_byte_goes_both_ways_as_it_is(cable: Cable, tmp_path: Path) -> None:
    box, person = opened(cable.box_port), opened(tmp_path / LINK)
    meet(box, person)
    every = bytes(range(256))
    os.write(person, every)
    assert read(box, 256) == every
    os.write(box, every)
    assert read(person, 256) == every
    os.close(box)
    os.close(person)


def test_what_nobody_hears_is_lost_and_does_not_stop_the_box(cable: Cable, tmp_path: Path) -> None:
    box = opened(cable.box_port)
    for _ in range(64):
        os.write(box, b"x" * CHUNK)  # more than any buffer between
    for _ in range(2):  # once more after it was taken out
        person = opened(tmp_path / LINK)
        meet(box, person)
        os.write(box, b"hello")
        assert read(person, 5) == b"hello"
        os.write(person, b"yes")
        assert read(box, 3) == b"yes"
        os.close(person)
    os.close(box)


def test_somebody_who_does_not_read_does_not_stop_it_for_good(cable: Cable, tmp_path: Path) -> None:
    box, person = opened(cable.box_port), opened(tmp_path / LINK)
    for _ in range(8):
        os.write(box, b"x" * CHUNK)
    os.write(person, b"still there")
    assert read(box, 11) == b"still there"
    os.close(person)
    os.close(box)


def test_a_terminal_without_a_box_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PbxError, match="sim run"):
        terminal(tmp_path, "")
