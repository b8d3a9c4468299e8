"""Rings, commands, snapshot, adoption and the dead-man of the media engine."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from firmware.dsp import abi
from firmware.dsp.ring import CommandWriter, EventReader, RingSegment
from firmware.errors import EngineBusy, HardwareError
from tests.unit.engine_stage import NO_HORIZON, Stage, level, sine


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=2, clips={"beep": sine(1000, -10, 800)})
    yield one
    one.close()


def test_a_segment_of_another_version_or_size_is_refused() -> None:
    ring = RingSegment.create()
    os.pwrite(ring.fd, struct.pack("<I", 99), 4)
    with pytest.raises(HardwareError, match="restart"):
        RingSegment.attach(ring.fd)
    os.pwrite(ring.fd, struct.pack("<I", 1), 4)
    os.pwrite(ring.fd, b"\0", 0)
    with pytest.raises(HardwareError):
        RingSegment.attach(ring.fd)
    small = os.memfd_create("small")
    os.ftruncate(small, 4096)
    with pytest.raises(HardwareError, match="4096"):
        RingSegment.attach(small)


def test_a_full_command_ring_is_engine_busy_and_loses_nothing() -> None:
    writer = CommandWriter(RingSegment.create())
    for expected in range(writer.room):
        assert writer.write(abi.COMMANDS["stop"], 0) == expected
    with pytest.raises(EngineBusy, match="full"):
        writer.write(abi.COMMANDS["stop"], 0)
    assert writer.room == 0


def test_commands_before_the_engine_started_fail_and_later_ones_are_done() -> None:
    ring = RingSegment.create()
    writer = CommandWriter(ring)
    early = writer.write(abi.COMMANDS["stop"], 0)
    stage = Stage(ring=ring)
    late = stage.do("stop", 0)
    stage.tick(2)
    stage.close()
    assert stage.done(early) == 6
    assert stage.done(late) == 0


def test_every_command_is_answered_once_however_many_come_at_once(stage: Stage) -> None:
    seqs = [stage.do("stop", n % 8) for n in range(1000)]
    stage.tick(6)
    answered = [payload[0] for name, _, _, payload in stage.events if name == "done"]
    assert answered == seqs


def test_bad_ids_ranges_and_states_are_refused(stage: Stage) -> None:
    wrong = {
        "port beyond the pool": stage.do("close", 40),
        "port beyond all": stage.do("close", 5000),
        "closed RTP port": stage.do("join", 16, abi.pack_join(0, True, True)),
        "unknown command": stage.writer.write(99, 0),
        "unknown clip": stage.do("play", 0, abi.pack_play(1, [500], 1.0, False, False)),
        "bridge": stage.do("join", 0, struct.pack("<HBB", 64, 1, 1)),
        "drive of an RTP port": stage.do("drive", 16, abi.pack_word(1)),
        "drive code": stage.do("drive", 0, abi.pack_word(77)),
        "update of a closed port": stage.rtp(16, None, update=True),
        "relay of a line": stage.do("relay", 0, abi.pack_relay(1)),
        "tone index": stage.do("detect_tone", 0, abi.pack_detect_tone(3, "x", (450.0,), -10.0, (), 3)),
    }
    stage.tick(2)
    assert {what: stage.done(seq) for what, seq in wrong.items() if stage.done(seq) <= 0} == {}


def test_random_bytes_as_commands_do_no_harm(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    seqs = []
    for _ in range(3000):
        body = rng.randbytes(rng.choice((0, 4, 16, 64, 240)))
        if rng.random() < 0.3:
            body = bytes(240)
        seqs.append(stage.writer.write(rng.randrange(0, 26), rng.choice((0, 4, 15, 16, 17, 18, 127, 128, 65535)), body))
        if rng.random() < 0.05:
            stage.tick()
    stage.tick(14)
    answers = {payload[0] for name, _, _, payload in stage.events if name in ("done", "failed")}
    assert set(seqs) <= answers


def test_without_a_reader_lifecycle_events_keep_their_room_and_losses_are_counted() -> None:
    stage = Stage()
    stage.ring.set_core_present(False)
    for _ in range(5):
        for _ in range(1000):
            stage.do("stop", 0)
        while stage.ring.statistics()["commands_used"]:
            stage.world.deliver()
            stage.world.wait_ticked(stage.world.delivered, lambda: None)
    counts = stage.ring.statistics()
    assert counts["events_used"] == 4096
    assert counts["lost_events"] == 5001 - 4096
    stage.close()


def test_a_snapshot_names_what_runs(stage: Stage) -> None:
    stage.line(4)
    stage.rtp(16, None)
    stage.join(5, 4, 16)
    stage.do("watch", 0, abi.pack_word(1))
    stage.do("play", 4, abi.pack_play(31, [0], 1.0, True, False))
    stage.tick(2)
    ports = stage.snapshot()
    assert set(ports) == {0, 4, 16}
    assert (ports[4]["tag"], ports[4]["bridge"], ports[4]["player"]) == ("line-4", 5, 31)
    assert (ports[16]["kind"], ports[16]["codec"], ports[16]["local_port"]) == ("rtp", "pcma", stage.local(16)[1])
    assert (ports[0]["watched"], ports[0]["open"]) == ("fxo", False)


def test_audio_goes_on_without_core_and_a_new_core_finds_ports_and_events(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.do("watch", 4, abi.pack_word(2))
    stage.do("drive", 4, abi.pack_word(1))
    stage.facts[4] = lambda ms: (480, 250, 0, 0)
    stage.tick(20)
    stage.ring.set_core_present(False)  # killed
    stage.facts[4] = lambda ms: (480, 0, 0, 0)
    for _ in range(30):
        block = stage.world.delivered
        stage.world.capture[block % 16, 0] = sine(1000, -10, 80, block * 80)
        stage.world.facts[block % 16, 4, :, :] = (480, 0, 0, 0)
        stage.world.deliver()
        stage.world.wait_ticked(block + 1, lambda: None)
        stage.played.append(stage.world.playback[block % 16].copy())
    assert level(stage.heard(4, 20, 30), 1000) == pytest.approx(-10, abs=0.1)

    stage.ring.set_core_present(True)
    stage.ring.set_horizon(NO_HORIZON)
    stage.writer, stage.reader, stage.events = CommandWriter(stage.ring), EventReader(stage.ring), []
    stage.gather()
    assert stage.named("loop", 4)[0][1][0] == 0  # went on hook in the gap
    assert {port: state["bridge"] for port, state in stage.snapshot().items()} == {0: 0, 4: 0}


def test_events_that_were_read_but_not_committed_are_read_again_by_the_next_core(stage: Stage) -> None:
    stage.do("stop", 0)
    stage.world.deliver()
    first: list[tuple[int, int, int, int, int, int, Any]] = []
    while not first:
        first = stage.reader.read()
    assert EventReader(stage.ring).read()[: len(first)] == first


def test_a_minute_without_core_closes_everything_and_puts_lines_on_hook() -> None:
    stage = Stage(rtp=1)
    stage.line(4)
    stage.rtp(16, None)
    stage.do("watch", 0, abi.pack_word(1))
    stage.do("watch", 4, abi.pack_word(2))
    stage.do("drive", 0, abi.pack_word(1))
    stage.do("drive", 4, abi.pack_word(4))
    stage.tick(2)
    assert list(stage.world.drive[[0, 4]]) == [1, 4]
    # The dead-man counts engine ticks: let the world leap over the minute, as after a stall.
    stage.ring.set_core_present(False)
    for leap in (0, 6000, 1, 1):
        stage.world.u64[15] += leap
        stage.world.deliver()
        stage.world.wait_ticked(stage.world.delivered - 1, lambda: None)
    stage.ring.set_core_present(True)
    stage.ring.set_horizon(NO_HORIZON)
    ports = stage.snapshot()
    assert list(stage.world.drive[[0, 4]]) == [0, 1]
    stage.close()
    assert not any(state["open"] for state in ports.values())


def test_a_virtual_clock_waits_for_core_to_handle_the_events_and_for_its_timers(stage: Stage) -> None:
    stage.tick(3)
    stage.do("stop", 0)
    block = stage.world.delivered
    stage.world.deliver()
    while not (batch := stage.reader.read()):
        pass
    assert stage.world.ticked == block  # an event was read, but not handled
    stage.ring.set_horizon(block + 1)
    stage.reader.commit()
    assert stage.world.ticked == block  # handled, but a timer is due now
    stage.ring.set_horizon(NO_HORIZON)
    stage.world.wait_ticked(block + 1, lambda: None)
    assert batch


def test_a_new_media_process_raises_the_epoch_and_goes_on_counting_ticks(stage: Stage) -> None:
    stage.tick(10)
    stage.engine.stop()
    again = Stage(ring=stage.ring, stage_world=stage.world)
    assert stage.ring.epoch == 2
    assert stage.ring.tick >= 10
    again.tick(2)
    assert [payload for _, payload in again.named("epoch")] == [(2,)]
    assert stage.ring.tick >= 12
    again.close()


def test_a_world_that_stops_costs_silence_and_no_more() -> None:
    stage = Stage()
    stage.world.u32[4] = 100
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.world.wait_ticked(10, stage.gather)  # nobody delivers: real-time pace, on silence
    assert stage.engine.silent_ticks >= 10
    assert np.count_nonzero(stage.world.playback[:, 4]) == 0
    stage.close()
