"""Clips that come and go while the engine runs: recorded messages, greetings and new prompts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from firmware.dsp import abi
from tests.unit.engine_stage import Stage, kept, power, sine

FIRST = sine(700, -10, 4000)
SECOND = sine(1100, -10, 2400)
REST = 12_000


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(clips={"first": FIRST})
    yield one
    one.close()


def test_a_clip_loaded_while_the_engine_runs_is_heard_as_a_law_codes_it(stage: Stage) -> None:
    stage.line(4)
    stage.tick(5)
    number = stage.engine.load_clip("vm/message/1", SECOND.tobytes())
    assert stage.engine.clips[number] == "vm/message/1"
    stage.do("play", 4, abi.pack_play(7, [number, stage.clips["first"]], 1.0, False, False))
    stage.tick(90)
    assert np.array_equal(stage.heard(4, 5, 80)[: len(SECOND) + len(FIRST)], kept(np.concatenate([SECOND, FIRST])))


def test_a_dropped_clip_is_skipped_at_once_and_refused_from_then_on(stage: Stage) -> None:
    stage.line(4)
    number = stage.engine.load_clip("vm/message/1", SECOND.tobytes())
    stage.do("play", 4, abi.pack_play(7, [number, stage.clips["first"]], 1.0, False, False))
    stage.tick(10)
    stage.engine.drop_clip(number)
    stage.tick(60)
    heard = stage.heard(4, 0, 70)
    assert np.array_equal(heard[:800], kept(SECOND)[:800])
    assert np.array_equal(heard[800:4800], kept(FIRST))
    assert [payload for _, payload in stage.named("played", 4)] == [(7, True, "")]
    refused = stage.do("play", 4, abi.pack_play(8, [number], 1.0, False, False))
    assert stage.done(refused) != 0


def test_a_loop_of_nothing_but_a_dropped_clip_ends(stage: Stage) -> None:
    stage.line(4)
    number = stage.engine.load_clip("site/music", SECOND.tobytes())
    stage.do("play", 4, abi.pack_play(7, [number], 1.0, True, False))
    stage.tick(5)
    stage.engine.drop_clip(number)
    stage.tick(5)
    assert [payload for _, payload in stage.named("played", 4)] == [(7, True, "")]
    assert power(stage.heard(4, 6, 4)) == -99.0


def test_a_number_is_given_again_only_when_no_player_can_hold_it(stage: Stage) -> None:
    number = stage.engine.load_clip("a", SECOND.tobytes())
    stage.engine.drop_clip(number)
    stage.engine.drop_clip(number)                              # twice is once
    assert stage.engine.load_clip("b", SECOND.tobytes()) == number + 1
    stage.tick(REST + 1)
    assert stage.engine.load_clip("c", FIRST.tobytes()) == number
    assert stage.engine.load_clip("d", FIRST.tobytes()) == number + 2
    assert stage.engine.clips[number] == "c"
    stage.line(4)
    stage.tick(1)
    at = REST + 2
    stage.do("play", 4, abi.pack_play(7, [number], 1.0, False, False))
    stage.tick(60)
    assert np.array_equal(stage.heard(4, at, 50), kept(FIRST))
