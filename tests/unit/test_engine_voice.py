"""What the engine makes of voices: hum filter, clear channel, supervisors, gain control, meters, talks, echo filters that last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from firmware.dsp import abi
from firmware.dsp.ring import RingSegment
from tests.unit.engine_stage import Phone, Samples, Stage, World, level, power, sine


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=3)
    yield one
    one.close()


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def voice(rng: np.random.Generator, seconds: float, dbm0: float) -> Samples:
    """Syllables of coloured noise with gaps: enough of a voice for levels, talks and cancellers."""
    n = int(8000 * seconds)
    x = np.convolve(rng.normal(0, 1, n), [1, 0.9, 0.6, 0.2, -0.2, -0.3], "same")
    t = np.arange(n)
    x *= (t % 2400 < 1700) * (0.5 + 0.5 * np.sin(2 * np.pi * t / 900) ** 2)
    rms = np.sqrt(np.mean(np.square(x[x != 0])))
    return np.clip(np.round(x / rms * 16086 * 10 ** (dbm0 / 20)), -32768, 32767).astype(np.int16)


def source(samples: Samples) -> Any:
    padded = np.concatenate([samples, np.zeros(80000, np.int16)])
    first: list[int] = []

    def take(at: int) -> Samples:
        if not first:
            first.append(at)
        return padded[at - first[0] : at - first[0] + 80]

    return take


class Hybrid:
    """What a slot plays comes back through an echo path, over a little noise."""

    def __init__(self, stage: Stage, slot: int, path: np.ndarray[Any, np.dtype[np.float64]], rng: np.random.Generator) -> None:
        self.world, self.slot, self.path, self.rng = stage.world, slot, path, rng
        self.depth = int(stage.world.u32[3])
        self.played = np.zeros(len(path) + 80 * (self.depth + 1))
        stage.captures[slot] = self.capture
        self.near = np.zeros(80)

    def capture(self, at: int) -> Samples:
        block = at // 80
        if block >= self.depth:
            self.played = np.concatenate([self.played[80:], self.world.playback[(block - self.depth) % 16, self.slot].astype(float)])
        echo = np.convolve(self.played[-len(self.path) - 79 :], self.path, "valid")[-80:]
        return np.round(echo + self.rng.normal(0, 6.0, 80) + self.near).astype(np.int16)


def path(delay_ms: float = 60.0, erl_db: float = 8.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    h = np.zeros(int(delay_ms * 8) + 24)
    h[int(delay_ms * 8) :] = np.array([(-0.6) ** k for k in range(24)])
    return h / np.sqrt(np.sum(np.square(h))) * 10 ** (-erl_db / 20)


def test_hum_on_a_line_is_not_heard_in_its_bridge_and_speech_is(stage: Stage) -> None:
    for slot in (0, 4):
        stage.line(slot)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(50, -10, 80, t) + sine(1000, -20, 80, t) + np.int16(500)
    stage.tick(120)
    heard = stage.heard(4, 40, 80)
    assert level(heard, 50) < -38
    assert level(heard, 1000) == pytest.approx(-20, abs=0.1)
    assert abs(float(np.mean(heard))) < 3


def test_a_clear_channel_passes_every_sample_as_it_is(stage: Stage, rng: np.random.Generator) -> None:
    for slot in (0, 4):
        stage.do("open_line", slot, abi.pack_line(64, 2.0, 0.5, "modem"))
        stage.do("clear_channel", slot, abi.pack_flag(True))
    stage.do("mute_digits", 0, abi.pack_flag(True))
    stage.do("agc", 0, abi.pack_agc(True, -10.0, 20.0))
    stage.join(0, 0, 4)
    stage.tick(2)
    data = (rng.normal(0, 3000, 8000) + 1500).astype(np.int16)
    stage.captures[0] = source(data)
    first = len(stage.played)
    stage.tick(100)
    assert np.array_equal(stage.heard(4, first, 100), data)
    assert stage.snapshot()[0]["clear"]
    stage.do("clear_channel", 0, abi.pack_flag(False))
    stage.captures[0] = lambda t: sine(50, -10, 80, t)
    stage.tick(60)
    assert level(stage.heard(4, len(stage.played) - 40, 40), 50) < -30


def test_a_supervisor_listens_whispers_to_one_and_is_then_heard_by_all(stage: Stage) -> None:
    for slot, freq in ((0, 500), (1, 900), (4, 1500)):
        stage.line(slot)
        stage.captures[slot] = lambda t, f=freq: sine(f, -15, 80, t)  # type: ignore[misc]
    stage.join(3, 0, 1)

    def heard(hear: bool, speak: bool, whisper: int = -1) -> dict[int, Samples]:
        stage.do("join", 4, abi.pack_join(3, hear, speak, whisper))
        stage.tick(5)
        first = len(stage.played)
        stage.tick(50)
        return {slot: stage.heard(slot, first, 50) for slot in (0, 1, 4)}

    listening = heard(True, False)
    assert level(listening[4], 500) == pytest.approx(-15, abs=0.1)
    assert level(listening[4], 900) == pytest.approx(-15, abs=0.1)
    assert level(listening[4], 1500) < -60
    assert level(listening[0], 1500) < -60
    whispering = heard(True, True, 1)
    assert level(whispering[1], 1500) == pytest.approx(-15, abs=0.1)
    assert level(whispering[1], 500) == pytest.approx(-15, abs=0.1)
    assert level(whispering[0], 1500) < -60
    assert level(whispering[4], 900) == pytest.approx(-15, abs=0.1)
    assert stage.snapshot()[4]["whisper"] == 1
    barging = heard(True, True)
    assert level(barging[0], 1500) == pytest.approx(-15, abs=0.1)
    assert level(barging[1], 1500) == pytest.approx(-15, abs=0.1)


def test_a_whisper_to_itself_or_to_another_bridge_is_heard_by_nobody(stage: Stage) -> None:
    for slot in (0, 1, 4):
        stage.line(slot)
    stage.join(3, 0)
    stage.join(5, 1)
    wrong = stage.do("join", 4, abi.pack_join(3, True, False, 4))
    stage.do("join", 4, abi.pack_join(3, True, False, 1))
    stage.captures[4] = lambda t: sine(1500, -15, 80, t)
    stage.tick(20)
    assert stage.done(wrong) > 0
    assert level(stage.heard(0, 5, 15), 1500) < -60
    assert level(stage.heard(1, 5, 15), 1500) < -60


def test_a_quiet_agent_is_raised_for_the_bridge_and_the_meters_say_by_how_much(stage: Stage, rng: np.random.Generator) -> None:
    phone = Phone(stage.local(16))
    stage.line(0)
    stage.rtp(16, phone)
    stage.join(0, 0, 16)
    stage.do("agc", 16, abi.pack_agc(True, -20.0, 10.0))
    stage.do("measure", 16, abi.pack_measure(True, False))
    quiet = voice(rng, 12.0, -36)

    def speak(block: int) -> None:
        if block % 2 == 0 and (block + 2) * 80 <= len(quiet):
            phone.send(quiet[block * 80 : block * 80 + 160])
        phone.receive()

    stage.each.append(speak)
    stage.tick(1150)
    early, late = power(stage.heard(0, 20, 100)), power(stage.heard(0, 1030, 100))
    assert late - early == pytest.approx(9, abs=3)
    gauge = stage.ring.gauge(16)
    assert gauge is not None
    assert 4 < gauge["agc_db"] <= 10.1
    stage.do("agc", 16, abi.pack_agc(False, -20.0, 10.0))
    stage.tick(2)
    phone.socket.close()
    assert stage.ring.gauge(16)["agc_db"] == 0.0  # type: ignore[index]


def test_levels_of_both_directions_are_read_at_any_time(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -12, 80, t)
    stage.captures[4] = lambda t: sine(600, -25, 80, t)
    stage.tick(2)
    assert stage.ring.gauge(0) is None
    stage.do("measure", 0, abi.pack_measure(True, False))
    stage.tick(150)
    gauge = stage.ring.gauge(0)
    assert gauge is not None
    assert gauge["in_dbm0"] == pytest.approx(-12, abs=0.2)
    assert gauge["out_dbm0"] == pytest.approx(-25, abs=0.2)
    assert gauge["in_peak_dbm0"] == pytest.approx(-12, abs=0.2)
    assert gauge["canceller"] == 0
    stage.do("measure", 0, abi.pack_measure(False, False))
    stage.tick(2)
    assert stage.ring.gauge(0) is None
    assert not stage.named("activity")
    with pytest.raises(ValueError, match="272"):
        stage.ring.gauge(272)


def test_talks_are_told_with_their_instants_level_and_overlap(stage: Stage, rng: np.random.Generator) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.do("measure", 0, abi.pack_measure(False, True))
    stage.tick(100)
    begun = stage.ring.tick * 10
    one = np.concatenate([voice(rng, 0.85, -18), np.zeros(8000, np.int16)])
    other = np.concatenate([np.zeros(4800, np.int16), voice(rng, 0.85, -18)])
    stage.captures[0], stage.captures[4] = source(one), source(other)
    stage.tick(200)
    start, end = stage.named("activity", 0)
    assert start[1][:2] == (True, start[0])
    assert start[0] == pytest.approx(begun, abs=30)
    assert end[1][0] is False
    assert end[1][1] == start[0]
    assert end[0] == pytest.approx(begun + 810, abs=40)
    assert end[1][2] == pytest.approx(-18, abs=2)
    assert end[1][3] == pytest.approx(210, abs=60)
    gauge = stage.ring.gauge(0)
    assert gauge is not None
    assert gauge["talk_ms"] == pytest.approx(1000, abs=200)


def test_echo_on_a_line_is_no_talk_and_its_figures_are_told(rng: np.random.Generator) -> None:
    stage = Stage()
    stage.line(0, 64)
    stage.line(4)
    stage.join(0, 0, 4)
    Hybrid(stage, 0, path(), rng)
    stage.do("measure", 0, abi.pack_measure(True, True))
    stage.captures[4] = source(voice(rng, 12.0, -16))
    stage.tick(1100)
    gauge = stage.ring.gauge(0)
    stage.close()
    assert gauge is not None
    assert gauge["converged"] == 2
    assert gauge["erl_db"] == pytest.approx(8, abs=5)
    assert gauge["erle_db"] > 20
    assert gauge["delay_ms"] == pytest.approx(60, abs=2)
    assert gauge["words"] >= 2
    assert gauge["words_audible"] <= 2  # of a cold start
    assert gauge["echo_db"] < 3
    talks = [payload for _, payload in stage.named("activity", 0) if not payload[0]]
    assert sum(payload[2] > -40 for payload in talks) == 0


# --- echo filters ------------------------------------------------------------------------------------------------------


def call(stage: Stage, rng: np.random.Generator, seconds: float, line: int = 77, delay_ms: float = 60.0) -> float:
    """One call on line 0 in which only the branch talks; returns what came back in the first word, dBm0."""
    stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "L", line))
    stage.line(4)
    stage.join(0, 0, 4)
    Hybrid(stage, 0, path(delay_ms), rng)
    stage.captures.pop(4, None)
    stage.tick(50)
    first = len(stage.played)
    stage.captures[4] = source(voice(rng, seconds, -16))
    stage.tick(int(seconds * 100))
    back = power(stage.heard(4, first + 6, 22))
    for slot in (0, 4):
        stage.do("close", slot)
    stage.tick(2)
    return back


def test_the_second_call_has_no_echo_from_its_first_word_also_under_a_new_media_process(rng: np.random.Generator) -> None:
    ring = RingSegment.create()
    stage = Stage(ring=ring, nlp=False)
    cold = call(stage, rng, 8.0)
    warm = call(stage, rng, 2.0)
    assert [payload[0] for _, payload in stage.named("echo_filter", 0)] == [1]
    learned = ring.learned(0)
    stage.close()
    assert cold > -50
    assert warm < cold - 10
    assert learned is not None
    assert learned[0] == 77
    assert learned[1:3] == (8000, 1)
    again = Stage(ring=ring, nlp=False)
    assert call(again, rng, 2.0) < cold - 10
    again.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "L", 78))  # another line on the same jack
    again.tick(2)
    again.close()
    assert [payload[0] for _, payload in again.named("echo_filter", 0)] == [1]


def test_a_filter_of_another_alignment_or_broken_is_told_and_not_used(rng: np.random.Generator) -> None:
    ring = RingSegment.create()
    stage = Stage(ring=ring)
    taps = np.zeros(560, np.float32)
    ring.offer(0, 77, 8000, 2, 8.0, 30.0, taps.tobytes())
    stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "L", 77))
    stage.tick(1)
    taps[3] = np.nan
    ring.offer(0, 77, 8000, 1, 8.0, 30.0, taps.tobytes())
    stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "L", 77))
    stage.tick(1)
    ring.offer(0, 5, 8000, 1, 8.0, 30.0, taps.tobytes())
    stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "L", 77))
    stage.tick(1)
    assert [payload[0] for _, payload in stage.named("echo_filter", 0)] == [2, 3]
    stage.close()
    with pytest.raises(ValueError, match="multiple of 4"):
        ring.offer(0, 1, 8000, 1, 0.0, 0.0, b"abc")
    with pytest.raises(ValueError, match="slot is 16"):
        ring.learned(16)


def test_a_wrong_filter_does_no_harm(rng: np.random.Generator) -> None:
    """Learned on a line that was rewired since: the canceller finds out and learns anew."""
    ring = RingSegment.create()
    stage = Stage(ring=ring)
    call(stage, rng, 8.0)
    call(stage, rng, 8.0, delay_ms=35.0)
    settled = power(stage.heard(4, len(stage.played) - 250, 200))
    right = call(stage, rng, 2.0, delay_ms=35.0)
    stage.close()
    assert settled < -55
    assert right < -55


def test_a_world_that_moved_playback_is_met_with_what_was_learned_for_that_depth(rng: np.random.Generator) -> None:
    stage = Stage(stage_world=World(2))
    call(stage, rng, 8.0)
    stage.world.u32[3] = 3
    stage.world.u32[5] += 1
    stage.tick(1)
    call(stage, rng, 1.0)
    assert [payload[0] for _, payload in stage.named("echo_filter", 0)] == [2]
    stage.close()


# --- fax tones and the learner of disconnect tones ---------------------------------------------------------------------


def test_an_answering_fax_is_told_with_the_begin_of_its_tone(stage: Stage) -> None:
    stage.line(0)
    stage.do("detect", 0, abi.pack_detect(True, 0, False, 0, True))
    stage.tick(20)
    begun = stage.ring.tick * 10
    stage.captures[0] = lambda t: sine(2100, -12, 80, t)
    stage.tick(100)
    stage.captures.pop(0)
    stage.world.capture[:, 0] = 0
    stage.tick(50)
    (at, ced), (_, end) = stage.named("fax_tone", 0)
    assert ced[0] == 2  # CED
    assert ced[1] == pytest.approx(begun, abs=30)
    assert at - begun < 700
    assert end[0] == 6
    assert end[2] == pytest.approx(1000, abs=40)


def test_disconnect_tone_is_learned_from_the_end_of_a_call_also_after_the_port_closed(stage: Stage, rng: np.random.Generator) -> None:
    stage.line(0)
    stage.do("detect", 0, abi.pack_detect(True, 0, False, 0, False, True))
    busy = np.concatenate([np.concatenate([sine(480, -15, 4000) + sine(620, -15, 4000), np.zeros(4000, np.int16)]) for _ in range(6)])
    stage.captures[0] = source(np.concatenate([voice(rng, 4.0, -18), np.zeros(2400, np.int16), busy]))
    stage.tick(1050)
    stage.do("close", 0)
    asked = stage.do("learn", 0)
    refused = stage.do("learn", 16)
    stage.captures.pop(0)
    for _ in range(4000):
        stage.tick(5)
        if stage.named("learned_tone", 0):
            break
    assert (stage.done(asked), stage.done(refused) > 0) == (0, True)
    (_, found), *_ = stage.named("learned_tone", 0)
    assert found["reason"] == 0
    assert found["freqs_hz"] == pytest.approx((480, 620), abs=5)
    assert found["cadence_ms"] == pytest.approx((500, 500), abs=15)
    assert found["repetitions"] >= 4


@pytest.mark.parametrize("standard", [0, 1])
def test_a_line_of_unknown_scheme_brings_its_caller_id_and_the_alerting_tone(stage: Stage, standard: int) -> None:
    """The other line sends it; both standards are listened to at once."""
    payload = bytes([0x80, 5, 2, 3]) + b"123"
    stage.line(0)
    stage.line(4)
    stage.do("detect", 0, abi.pack_detect(False, 3, False, 0))
    stage.captures[0] = lambda t: stage.played[-1][4] if stage.played else np.zeros(80, np.int16)
    stage.tick(5)
    stage.do("stage", 4, abi.pack_stage(0, payload))
    stage.do("fsk", 4, abi.pack_fsk(1, standard, len(payload), -13.5))
    stage.tick(120)
    (_, message), *others = stage.named("fsk_message", 0)
    assert others == []
    assert message == (("bell202", "v23")[standard], payload)
    stage.captures[0] = source(np.concatenate([np.zeros(1600, np.int16), sine(2130, -18, 640) + sine(2750, -18, 640)]))
    stage.tick(60)
    (_, alert), *_ = stage.named("alert_tone", 0)
    assert alert[0] is True
    assert alert[1] == pytest.approx(80, abs=6)
