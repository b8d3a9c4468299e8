"""Lines that speak through a loopback sound card: the world's half of it, and a world that it paces. The card is a stand-in here."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
import pytest

from firmware.config.board import parse_board
from firmware.errors import ConfigError, HardwareError
from firmware.sim.loop_card import LoopCard, open_loop_card
from firmware.sim.people import CallPlan
from tests.sim.chip_box import FILE, LAYOUT, ChipBox
from tests.unit.engine_stage import Samples, level, sine

CHANNELS, SPARE, BLOCK = 8, 7, 80
EPIPE = 32


class Cable:
    """A sound card between a world and this test: `talk(n)` gives what media plays in block n, `heard` is what it would capture."""

    def __init__(self, blocks: int, box: ChipBox) -> None:
        self.left, self.box, self.count = blocks, box, 0
        self.tone = sine(1000, -12, blocks * BLOCK)
        self.heard: list[Samples] = []
        self.ends = os.pipe()
        os.write(self.ends[1], b"!")                    # there is always a block

    def fileno(self) -> int:
        return self.ends[0]

    def read(self) -> bytes | None:
        if self.count % 50 == 49 and self.left % 2:     # now and then it is not complete yet
            self.left -= 1
            return None
        first = self.count * BLOCK
        frames = np.zeros((BLOCK, CHANNELS), np.int16)
        frames[:, 0] = self.tone[first : first + BLOCK]
        frames[:, SPARE] = np.arange(first, first + BLOCK)
        self.count += 1
        self.left -= 1
        self.box.town.world.stopping = self.left <= 0
        return frames.tobytes()

    def write(self, block: bytes) -> None:
        self.heard.append(np.frombuffer(block, np.int16).reshape(BLOCK, CHANNELS))

    def figures(self) -> dict[str, int]:
        return {"capture_xruns": 0, "playback_xruns": 0}


@pytest.fixture
def talking(monkeypatch: pytest.MonkeyPatch) -> ChipBox:
    """A call from town that the box has answered; from now on its sound goes through a card."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    box = ChipBox()
    box.town.exchange.line(1).wire.hiss(-99)
    box.town.call_in(CallPlan("13800138000", 1, say="tone:700", partners_hz=(1000.0,), caller_id="none"))
    box.run(1_000)
    box.off_hook(0)
    box.run(2_000)
    box.segment.speed = 100
    box.segment.by_card(CHANNELS, SPARE)
    return box


def test_a_caller_and_the_box_hear_each_other_through_the_card(talking: ChipBox) -> None:
    cable = Cable(200, talking)
    talking.town.world.card = cable
    before = talking.segment.block
    talking.town.world.run()
    assert cable.count == talking.segment.block - before == len(cable.heard), "a block for each that the card had"
    person = next(iter(talking.town.people.values()))
    assert person.partners["1000"] == pytest.approx(-12.0, abs=0.3)
    heard = np.concatenate(cable.heard)
    assert level(heard[-8000:, 0], 700) == pytest.approx(-16.0, abs=0.3)
    assert (heard[:, SPARE] == np.arange(len(heard)).astype(np.int16)).all(), "the spare slot comes back as it was sent"
    assert talking.town.facts()["sound"] == cable.figures()


def test_a_world_that_lost_blocks_goes_on_where_media_is(talking: ChipBox) -> None:
    cable = Cable(10, talking)
    talking.town.world.card = cable
    ahead = talking.segment.block + 100

    def lose(_block: int) -> None:
        struct.pack_into("<Q", talking.memory, LAYOUT["ticked"], ahead)

    talking.town.world.each_block.append(lose)
    talking.town.world.run()
    assert talking.segment.block == ahead + cable.count - 1
    assert talking.town.world.xruns == 1


def test_a_sound_card_runs_in_real_time_only(talking: ChipBox) -> None:
    with pytest.raises(ValueError, match="real time"):
        talking.segment.speed = 200
    with pytest.raises(ValueError, match="80 frames of 8 channels"):
        talking.segment.hear(bytes(1278))
    with pytest.raises(ValueError, match="spare slot 8"):
        talking.segment.by_card(8, 8)
    with pytest.raises(ValueError, match="at 0 %"):
        ChipBox(bring_up=False).segment.by_card(8, 7)


class Pcm:
    """A PCM of pyalsaaudio: gives what is in `has` part by part ("xrun": it broke before), keeps what is written."""

    def __init__(self, *has: bytes | str | int) -> None:
        self.has = list(has)
        self.written: list[bytes] = []

    def state(self) -> int:
        broken = self.has[:1] == ["xrun"]
        if broken:
            self.has.pop(0)
        return 4 if broken else 3

    def read(self) -> tuple[int, bytes]:
        found = self.has.pop(0) if self.has else b""
        return (len(found) // (2 * CHANNELS), found) if isinstance(found, bytes) else (int(found), b"")

    def write(self, data: bytes) -> int:
        if self.has and self.has.pop(0) == -EPIPE:
            raise BrokenPipeError
        self.written.append(data)
        return len(data) // (2 * CHANNELS)


def whole(byte: int) -> bytes:
    """A block of one value."""
    return bytes([byte]) * (2 * BLOCK * CHANNELS)


def test_a_block_is_given_when_it_is_complete() -> None:
    card = LoopCard(Pcm(b"", whole(1)[:800], whole(1)[800:] + whole(2)), Pcm(), CHANNELS)
    assert [card.read(), card.read(), card.read()] == [None, whole(1), whole(2)]
    assert card.read() is None


def test_a_stream_that_broke_is_counted_and_goes_on() -> None:
    """What was begun before a break is not mixed with what came after it; what is played goes on behind silence."""
    into: Any = Pcm(b"", whole(1)[:32], -EPIPE, b"", whole(3), whole(1)[:32], "xrun", b"", whole(4))
    out: Any = Pcm()
    card = LoopCard(into, out, CHANNELS)
    assert [card.read() for _ in range(6)] == [None, None, whole(3), None, None, whole(4)]
    out.written.clear()
    silence = bytes(3 * len(whole(0)))
    out.has = [-EPIPE]
    card.write(whole(5))
    out.has = ["xrun"]
    card.write(whole(6))
    card.write(whole(7))
    assert out.written == [silence, whole(5), silence, whole(6), whole(7)]
    assert card.figures() == {"capture_xruns": 2, "playback_xruns": 2}


def test_a_card_that_is_not_there_is_named() -> None:
    with pytest.raises(HardwareError, match="hw:NoSuchCard,1 cannot be opened"):
        open_loop_card("hw:NoSuchCard,1", CHANNELS)


PCM = '\n[pcm]\ndevice = "hw:Loopback,0"\nworld = "hw:Loopback,1"\nspare = 7\n'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("Loopback,1", "Loopback,0", "both halves"), ("hw:Loopback,1", "default", "both halves"), ("spare = 7", "spare = 3", "without a jack"),
     ("spare = 7", "spare = -1", "needs a spare slot"), ("spare = 7", "", "needs a spare slot")],
)  # fmt: skip
def test_a_board_names_both_halves_and_a_spare_slot(old: str, new: str, words: str) -> None:
    four, three = (f'jacks = [{jacks}]\nreset = {{chip = "world", line = 1}}' for jacks in ('"1", "2", "3", "4"', '"1", "2", "3"'))
    text = FILE.replace("slots_fxs = [4, 5, 6, 7]", "slots_fxs = [4, 5, 6]").replace(four, three)
    assert parse_board((text + PCM).encode(), "board.toml").pcm.world == "hw:Loopback,1"
    with pytest.raises(ConfigError, match=words):
        parse_board((text + PCM.replace(old, new)).encode(), "board.toml")
