"""The PCM seam through alsa-lib: alsa's own `file` plugin on two pipes, and a bus behind them that returns what is played after a delay.

The bus paces the engine and loses frames. (A pipe gives what it has and blocks, so waiting frames and stalls need the kernel's devices.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.dsp import abi, alsa
from firmware.errors import HardwareError
from tests.unit.engine_stage import Samples, Stage, World, level

CHANNELS, SPARE, DELAY = 8, 7, 533  # the file plugin holds a buffer back, the bus must not starve
CONFIG = """
pcm.bus_out {{ type file slave.pcm null file "{out}" format raw }}
pcm.bus_in {{ type file slave.pcm null file "/dev/null" infile "{into}" format raw }}
pcm.null {{ type null }}
"""


class TdmBus(threading.Thread):
    """Frames from one pipe, delayed, into the other. Slot `n` of a line hears what `talk[n](frame)` says besides its echo."""

    def __init__(self, folder: Path, spare: bool) -> None:
        super().__init__(daemon=True)
        self.folder, self.spare = folder, spare
        self.queue = np.zeros((DELAY, CHANNELS), np.int16)
        self.lock = threading.Lock()
        self.over = False
        self.ready = threading.Event()
        self.blocks = 0
        self.played: list[Samples] = []
        self.world: World | None = None
        for name in ("out", "into"):
            os.mkfifo(folder / name)

    def lose(self, frames: int) -> None:
        """Lose frames on the way to the engine."""
        with self.lock:
            self.queue = self.queue[frames:]

    def run(self) -> None:
        into = os.open(self.folder / "into", os.O_RDWR)  # never the last writer that leaves
        out = os.open(self.folder / "out", os.O_RDWR | os.O_NONBLOCK)
        self.ready.set()
        rest = b""
        while not self.over:
            try:
                rest += os.read(out, 1 << 14)
            except BlockingIOError:
                time.sleep(0.001)
            whole = len(rest) // (2 * CHANNELS) * 2 * CHANNELS
            frames, rest = np.frombuffer(rest[:whole], np.int16).reshape(-1, CHANNELS), rest[whole:]
            with self.lock:
                self.queue = np.concatenate([self.queue, frames])
                self.played.append(frames)
            if len(self.queue) < 80:
                continue
            time.sleep(0.002)
            with self.lock:
                block, self.queue = self.queue[:80].copy(), self.queue[80:]
            if not self.spare:
                block[:, SPARE] = 0
            os.write(into, block.tobytes())
            self.blocks += 1
            if self.world is not None:
                self.world.deliver()
        os.close(out)
        os.close(into)


class Rig:
    def __init__(self, folder: Path, spare: bool = True, world: World | None = None) -> None:
        (folder / "asound.conf").write_text(CONFIG.format(out=folder / "out", into=folder / "into"))
        os.environ["ALSA_CONFIG_PATH"] = str(folder / "asound.conf")
        self.bus = TdmBus(folder, spare)
        self.bus.start()
        assert self.bus.ready.wait(10)
        alsa.open_card("bus_in", CHANNELS, SPARE if spare else -1, "bus_out", 3)
        self.stage = Stage(world=world is not None, stage_world=world, lines=True, prepare=alsa.bind_card)
        self.bus.world = world

    def until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 20
        while not true():
            self.stage.gather()
            assert time.monotonic() < deadline, f"never came: {what}; {alsa.card_figures()}"
            time.sleep(0.005)

    def blocks(self, n: int) -> None:
        goal = self.bus.blocks + n
        self.until(lambda: self.bus.blocks >= goal, f"{n} blocks")

    def close(self) -> None:
        self.stage.close()
        alsa.close_card()
        self.bus.over = True
        self.bus.join(10)
        assert not self.bus.is_alive()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path)
    one.until(lambda: alsa.card_figures()["delay"] >= 0, "the first delay")
    yield one
    one.close()


def test_slots_are_channels_and_what_is_played_comes_back_by_the_measured_delay(rig: Rig) -> None:
    delay = alsa.card_figures()["delay"]
    assert delay % 80 == (DELAY + 160) % 80
    rig.stage.do("tone", 2, abi.pack_tone(1, 0, "a", (1000.0,), -10.0, (), 10))
    rig.stage.do("tone", 5, abi.pack_tone(2, 0, "b", (500.0,), -16.0, (), 10))
    rig.until(lambda: len(rig.stage.named("done")) >= 2, "both tones")
    rig.blocks(80)
    with rig.bus.lock:
        played = np.concatenate(rig.bus.played)[-1600:]
    assert level(played[:, 2], 1000.0) == pytest.approx(-10, abs=0.2)
    assert level(played[:, 5], 500.0) == pytest.approx(-16, abs=0.2)
    assert not played[:, [0, 1, 3, 4, 6]].any()
    assert ((np.diff(played[:, SPARE].astype(int)) % 32768) == 1).all()


@pytest.mark.parametrize("frames", [37, 80, 200])
def test_lost_frames_are_made_good_and_the_cancellers_keep_what_they_know(rig: Rig, frames: int) -> None:
    before = alsa.card_figures()
    rig.blocks(20)
    rig.bus.lose(frames)
    rig.until(lambda: alsa.card_figures()["seen"] not in (before["delay"], -1), "the other delay")
    rig.until(lambda: alsa.card_figures()["seen"] == before["delay"], "the right delay again")
    rig.blocks(60)
    after = alsa.card_figures()
    assert after["seen"] == after["delay"] == before["delay"]
    assert after["realigned"] == before["realigned"]
    assert 1 <= after["corrected"] <= 3


def test_a_caller_hears_a_line_through_the_device(rig: Rig) -> None:
    """Two slots in a bridge: the echo that slot 1 captures goes out of slot 2 (which has an echo, too)."""
    rig.stage.line(1)
    rig.stage.line(2)
    rig.stage.join(0, 1, 2)
    rig.stage.do("tone", 1, abi.pack_tone(1, 0, "a", (800.0,), -10.0, (), 10))
    rig.until(lambda: len(rig.stage.named("done")) >= 5, "the bridge")
    rig.blocks(100)
    with rig.bus.lock:
        played = np.concatenate(rig.bus.played)[-1600:]
    assert level(played[:, 2], 800.0) > -20
    assert not played[:, [0, 3, 4, 5, 6]].any()


def test_beside_a_world_the_card_carries_sound_alone(tmp_path: Path) -> None:
    """Ticks are counted as the world's blocks, drives go to the world, its memory has no sound."""
    world = World(1, 100)
    world.u64[15] = 5000                    # the world began long before
    rig = Rig(tmp_path, world=world)
    try:
        rig.until(lambda: alsa.card_figures()["delay"] >= 0, "the first delay")
        rig.stage.do("tone", 2, abi.pack_tone(1, 0, "a", (1000.0,), -10.0, (), 10))
        rig.stage.line(0)
        rig.stage.do("drive", 0, abi.pack_drive(1))
        rig.until(lambda: len(rig.stage.named("done")) >= 2, "the tone")
        rig.blocks(60)
        rig.until(lambda: world.drive[0] == 1, "the line off hook in the world")
        with rig.bus.lock:
            played = np.concatenate(rig.bus.played)[-1600:]
        assert level(played[:, 2], 1000.0) == pytest.approx(-10, abs=0.2)
        assert not world.playback.any()
        assert alsa.card_figures()["realigned"] == 1, "once, when the delay was learned"
        assert world.ticked > 5000
        world.u64[15] += 50                 # the engine lost half a second
        rig.until(lambda: world.ticked >= 5050, "the world's count")
        rig.until(lambda: abs(world.ticked - world.delivered) <= 5, "the same count")
        assert alsa.card_figures()["seen"] == alsa.card_figures()["delay"], "another count is no other delay"
    finally:
        rig.close()


def test_the_clocks_run_before_the_engine_and_after_it(rig: Rig) -> None:
    """While chips are brought up nobody but the card itself moves blocks."""
    rig.stage.engine.stop()
    alsa.close_card()
    alsa.open_card("bus_in", CHANNELS, SPARE, "bus_out", 3)
    rig.blocks(40)
    assert alsa.card_figures()["capture_xruns"] == alsa.card_figures()["playback_xruns"] == 0


def test_without_a_spare_slot_nothing_is_measured(tmp_path: Path) -> None:
    rig = Rig(tmp_path, spare=False)
    rig.blocks(60)
    figures = alsa.card_figures()
    assert (figures["delay"], figures["corrected"]) == (-1, 0)
    rig.close()


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="no-such-device cannot be opened"):
        alsa.open_card("no-such-device", 8)
    with pytest.raises(ValueError, match="33 channels"):
        alsa.open_card("null", 33)
