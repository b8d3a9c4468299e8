"""Audio of the media engine: levels both ways, delay, mixing, prompts, keys, tones, caller id, recordings."""

from __future__ import annotations

import io
import os
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from firmware.dsp import abi, vault
from firmware.store.vault import DeviceKey, Sealed
from tests.unit.engine_stage import Phone, Samples, Stage, kept, level, power, sine

BEEP = sine(1000, -10, 4000)
NUMBER = sine(700, -10, 1600)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Four RTP ports, two clips, playback depth 1."""
    one = Stage(rtp=4, clips={"beep": BEEP, "number": NUMBER, "empty": np.zeros(0, np.int16)})
    yield one
    one.close()


def feed(phone: Phone, stage: Stage, freq: float, dbm0: float) -> None:
    """Let a phone speak a tone, 20 ms a packet."""

    def work(block: int) -> None:
        if block % 2 == 0:
            phone.send(sine(freq, dbm0, 160, phone.ts - 5000))
        phone.receive()

    stage.each.append(work)


def key(digit: str) -> dict[int, tuple[float, float]]:
    low, high = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
    at = "123A456B789C*0#D".index(digit)
    return {0: (low[at // 4], high[at % 4])}


def keying(digits: str, start: int = 0, on: int = 100, off: int = 100, dbm0: float = -9.0) -> Samples:
    parts = [np.zeros(start * 8, np.int16)]
    for digit in digits:
        a, b = key(digit)[0]
        parts += [sine(a, dbm0, on * 8) + sine(b, dbm0, on * 8), np.zeros(off * 8, np.int16)]
    return np.concatenate(parts).astype(np.int16)


def source(samples: Samples) -> Any:
    padded = np.concatenate([samples, np.zeros(80000, np.int16)])
    first: list[int] = []

    def take(at: int) -> Samples:
        if not first:
            first.append(at)
        return padded[at - first[0] : at - first[0] + 80]

    return take


def test_two_lines_hear_each_other_at_the_level_spoken_and_not_themselves(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(1, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    stage.tick(60)
    at_phone, at_line = stage.heard(4, 10, 50), stage.heard(0, 10, 50)
    assert level(at_phone, 1000) == pytest.approx(-10, abs=0.1)
    assert level(at_line, 400) == pytest.approx(-20, abs=0.1)
    assert level(at_phone, 400) < -60
    assert level(at_line, 1000) < -60


@pytest.mark.parametrize("depth", [1, 3])
def test_line_to_line_delay_is_the_playback_depth_and_nothing_more(depth: int) -> None:
    """Capture of block n is in the playback of tick n, which reaches the wire in block n + depth."""
    stage = Stage(depth=depth)
    stage.line(0)
    stage.line(4)
    stage.join(1, 0, 4)
    stage.tick(5)
    pulse = np.zeros(80, np.int16)
    pulse[3] = 8000
    stage.captures[0] = lambda t: pulse if t == 400 else np.zeros(80, np.int16)
    stage.tick(5)
    heard = stage.heard(4, 0, 10)
    stage.close()
    assert int(np.argmax(np.abs(heard))) == 403  # in tick 5: no tick of delay in the engine


@pytest.mark.parametrize("law", [0, 8])
def test_line_and_sip_phone_hear_each_other_within_half_a_decibel(stage: Stage, law: Literal[0, 8]) -> None:
    phone = Phone(stage.local(16), law=law)
    stage.line(0)
    stage.rtp(16, phone, law=law)
    stage.join(0, 0, 16)
    stage.captures[0] = lambda t: sine(1000, -12, 80, t)
    feed(phone, stage, 600, -15)
    stage.tick(120)
    at_line, at_phone = stage.heard(0, 40, 80), phone.heard()[-4000:]
    phone.socket.close()
    assert level(at_line, 600) == pytest.approx(-15, abs=0.5)
    assert level(at_phone, 1000) == pytest.approx(-12, abs=0.5)
    assert level(at_line, 1000) < -45
    assert level(at_phone, 600) < -45


def test_three_in_a_bridge_hear_the_sum_of_the_others_and_a_listener_is_not_heard(stage: Stage) -> None:
    for slot, freq in ((0, 500), (1, 900), (4, 1500)):
        stage.line(slot)
        stage.captures[slot] = lambda t, f=freq: sine(f, -15, 80, t)  # type: ignore[misc]
    stage.join(3, 0, 1)
    stage.do("join", 4, abi.pack_join(3, True, False))
    stage.tick(60)
    heard = {slot: stage.heard(slot, 10, 50) for slot in (0, 1, 4)}
    assert level(heard[0], 900) == pytest.approx(-15, abs=0.1)
    assert level(heard[0], 1500) < -60
    assert level(heard[4], 500) == pytest.approx(-15, abs=0.1)
    assert level(heard[4], 900) == pytest.approx(-15, abs=0.1)


def test_mixing_saturates_instead_of_wrapping(stage: Stage) -> None:
    for slot in (0, 1, 4):
        stage.line(slot)
        stage.captures[slot] = lambda _t: np.where(np.arange(80) % 8 < 4, 30000, -30000).astype(np.int16)
    stage.join(0, 0, 1, 4)
    stage.tick(3)
    heard = stage.heard(4, 2, 1)
    assert set(np.unique(np.abs(heard.astype(int)))) == {32767, 32768}


def test_gains_of_a_line_apply_in_both_directions(stage: Stage) -> None:
    stage.do("open_line", 0, abi.pack_line(0, 0.5, 2.0, "a"))
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    stage.tick(40)
    assert level(stage.heard(4, 10, 30), 1000) == pytest.approx(-16.02, abs=0.1)
    assert level(stage.heard(0, 10, 30), 400) == pytest.approx(-13.98, abs=0.1)


def test_echo_of_a_line_is_cancelled_with_the_reference_at_the_playback_depth(seed: int) -> None:
    """The line returns our own playback 6 dB weaker after the depth and 3 ms of hybrid; the far talker must not hear it."""
    rng = np.random.default_rng(seed)
    for depth in (1, 4):
        stage = Stage(depth=depth)
        stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "fxo"))
        stage.line(4)
        stage.join(0, 0, 4)
        talk = np.clip(rng.normal(0, 2500, 80 * 500), -32000, 32000).astype(np.int16)
        stage.captures[4] = lambda t, talk=talk: talk[t : t + 80]  # type: ignore[misc]
        wire = np.zeros(80 * 520, np.int16)

        def work(block: int, stage: Stage = stage, wire: Samples = wire, depth: int = depth) -> None:
            if block >= 1:
                at = (block - 1 + depth) * 80 + 24
                wire[at : at + 80] = stage.played[-1][0] // 2

        stage.each.append(work)
        stage.captures[0] = lambda t, wire=wire: wire[t : t + 80]  # type: ignore[misc]
        stage.tick(450)
        echo, sent = stage.heard(4, 350, 100), talk[80 * 350 : 80 * 450]
        stage.close()
        assert power(echo) < power(sent) - 36


def test_realignment_resets_the_canceller_and_it_learns_again() -> None:
    stage = Stage(depth=1)
    stage.do("open_line", 0, abi.pack_line(64, 1.0, 1.0, "fxo"))
    stage.line(4)
    stage.join(0, 0, 4)
    rng = np.random.default_rng(1)
    talk = np.clip(rng.normal(0, 2500, 80 * 900), -32000, 32000).astype(np.int16)
    wire = np.zeros(80 * 920, np.int16)
    stage.captures[4] = lambda t: talk[t : t + 80]
    stage.captures[0] = lambda t: wire[t : t + 80]

    def work(block: int) -> None:
        if block >= 1:
            at = (block - 1 + int(stage.world.u32[3])) * 80 + 24
            wire[at : at + 80] = stage.played[-1][0] // 2

    stage.each.append(work)
    stage.tick(300)
    stage.world.u32[3] = 5
    stage.world.u32[5] += 1
    stage.tick(500)
    echo = stage.heard(4, 700, 100)
    stage.close()
    assert power(echo) < power(talk[56000:64000]) - 36


def test_prompts_follow_each_other_without_a_gap_and_report_their_end(stage: Stage) -> None:
    stage.line(4)
    stage.do("play", 4, abi.pack_play(7, [stage.clips["beep"], stage.clips["empty"], stage.clips["number"]], 1.0, False, False))
    stage.tick(80)
    heard = stage.heard(4, 0, 80)
    assert np.array_equal(heard[:5600], kept(np.concatenate([BEEP, NUMBER])))
    assert power(heard[5600:]) == -99.0
    assert [payload for _, payload in stage.named("played", 4)] == [(7, True, "")]


def test_a_key_stops_the_prompt_in_the_tick_that_knows_it(stage: Stage) -> None:
    stage.line(4)
    stage.do("detect", 4, abi.pack_detect(True, 0, False, 0))
    stage.do("play", 4, abi.pack_play(9, [stage.clips["beep"]], 1.0, True, True))
    stage.captures[4] = source(keying("5", start=200))
    stage.tick(60)
    (at, payload), *rest = stage.named("played", 4)
    assert payload == (9, False, "5")
    assert not rest
    assert 220 <= at <= 280
    assert power(stage.heard(4, at // 10 + 1, 20)) == -99.0
    assert [(p[0], p[2]) for _, p in stage.named("digit", 4)] == [("5", "inband")]


def test_looped_music_goes_on_until_it_is_stopped(stage: Stage) -> None:
    stage.line(4)
    stage.do("play", 4, abi.pack_play(3, [stage.clips["number"]], 1.0, True, False))
    stage.tick(100)
    assert level(stage.heard(4, 50, 50), 700) > -11
    assert stage.named("played") == []
    stage.do("stop", 4)
    stage.tick(2)
    assert [payload for _, payload in stage.named("played")] == [(3, False, "")]


def test_a_loop_of_empty_clips_ends_instead_of_spinning(stage: Stage) -> None:
    stage.line(4)
    stage.do("play", 4, abi.pack_play(3, [stage.clips["empty"]] * 3, 1.0, True, False))
    stage.tick(3)
    assert [payload for _, payload in stage.named("played")] == [(3, True, "")]


def test_a_tone_has_its_cadence_and_level_and_a_timed_tone_ends(stage: Stage) -> None:
    stage.line(4)
    stage.do("tone", 4, abi.pack_tone(5, 1400, "busy", (450.0,), -10.0, (350, 350), 3))
    stage.tick(160)
    heard = stage.heard(4, 0, 160)
    assert level(heard[400:2400], 450) == pytest.approx(-10, abs=0.3)
    assert power(heard[2900:5500]) < -60
    assert level(heard[6000:8000], 450) == pytest.approx(-10, abs=0.3)
    assert power(heard[11200:]) == -99.0
    assert [payload for _, payload in stage.named("played")] == [(5, True, "")]


def test_keys_sent_in_band_are_heard_by_the_detector_of_another_line(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.do("detect", 4, abi.pack_detect(True, 0, False, 0))
    stage.do("dtmf", 0, abi.pack_dtmf(11, "159*0#D", 80, 80, -9.0))
    stage.captures[4] = lambda _t: stage.played[-1][0] if stage.played else np.zeros(80, np.int16)
    stage.tick(150)
    assert "".join(p[0] for _, p in stage.named("digit", 4)) == "159*0#D"
    assert [p[0] for _, p in stage.named("dtmf_sent", 0)] == [11]


def test_muted_keys_do_not_reach_the_far_side_but_are_reported(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.do("detect", 0, abi.pack_detect(True, 0, False, 0))
    stage.do("mute_digits", 0, abi.pack_flag(True))
    stage.captures[0] = source(keying("5", start=100, on=200))
    stage.tick(60)
    heard = stage.heard(4, 0, 60)
    loud = np.count_nonzero(np.abs(heard) > 500)
    assert loud < 8 * 25  # at most the onset
    assert [p[0] for _, p in stage.named("digit", 0)] == ["5"]


def test_a_tone_of_the_exchange_is_recognised_with_its_start(stage: Stage) -> None:
    stage.line(0)
    stage.do("detect", 0, abi.pack_detect(False, 0, False, 2))
    stage.do("detect_tone", 0, abi.pack_detect_tone(0, "busy", (450.0,), -10.0, (350, 350), 3))
    stage.do("detect_tone", 0, abi.pack_detect_tone(1, "dial", (450.0,), -10.0, (), 5))
    cycle = np.concatenate([sine(450, -15, 2800), np.zeros(2800, np.int16)])
    stage.captures[0] = source(np.concatenate([np.zeros(1600, np.int16), *([cycle] * 5)]))
    stage.tick(300)
    heard = stage.named("tone_heard", 0)
    assert [p[0] for _, p in heard] == ["busy"]
    assert heard[0][1][1] >= 3
    assert abs(heard[0][1][2] - 200) <= 40


@pytest.mark.parametrize(("standard", "name"), [(0, "bell202"), (1, "v23")])
def test_caller_id_sent_on_one_line_is_received_on_another(stage: Stage, standard: int, name: str) -> None:
    message = b"\x80\x0f\x01\x0801011234\x02\x03201"
    stage.line(0)
    stage.line(4)
    stage.do("detect", 4, abi.pack_detect(False, standard + 1, False, 0))
    stage.do("stage", 0, abi.pack_stage(0, message[:5]))
    stage.do("stage", 0, abi.pack_stage(5, message[5:]))
    stage.do("fsk", 0, abi.pack_fsk(21, standard, len(message), -13.5))
    stage.captures[4] = lambda _t: stage.played[-1][0] if stage.played else np.zeros(80, np.int16)
    stage.tick(150)
    assert [p for _, p in stage.named("fsk_message", 4)] == [(name, message)]
    assert [p[0] for _, p in stage.named("fsk_sent", 0)] == [21]


def test_voice_is_reported_when_it_begins_and_when_it_ends(stage: Stage, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stage.line(0)
    stage.do("detect", 0, abi.pack_detect(False, 0, True, 0))
    noise = rng.normal(0, 8, 80 * 400)
    noise[8000:16000] += rng.normal(0, 2000, 8000)
    stage.captures[0] = source(noise.astype(np.int16))
    stage.tick(300)
    facts = [(at, p[0]) for at, p in stage.named("voice", 0)]
    assert [on for _, on in facts] == [1, 0]
    assert 1000 < facts[0][0] < 1200
    assert 2300 < facts[1][0] < 2700


def test_an_echo_loop_returns_what_the_telephone_said(stage: Stage) -> None:
    stage.do("open_line", 4, abi.pack_line(32, 1.0, 1.0, "echo"))
    stage.do("relay", 4, abi.pack_relay(4))
    stage.captures[4] = lambda t: sine(1000, -10, 80, t)
    stage.tick(50)
    assert level(stage.heard(4, 10, 40), 1000) == pytest.approx(-10, abs=0.1)
    stage.do("unrelay", 4)
    stage.tick(5)
    assert power(stage.heard(4, 52, 3)) == -99.0


# --- recordings --------------------------------------------------------------------------------------------------------


def record(stage: Stage, path: Path, number: int = 1, token: int = 77) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stage.do("record", 0, abi.pack_record(token, number))
    stage.engine.attach_file(number, fd)


def finish(stage: Stage) -> tuple[int, int, int]:
    """Ticks until the recording is closed."""
    stage.do("stop_record", 0)
    for _ in range(100000):
        stage.tick()
        if events := stage.named("recorded", 0):
            return events[0][1]  # type: ignore[no-any-return]
    raise AssertionError("the recording never ended")


def test_a_recording_has_the_telephone_left_and_what_it_hears_right(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    record(stage, path)
    stage.tick(100)
    token, samples, lost = finish(stage)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (8000, 2, 2, samples)
        frames = np.frombuffer(file.readframes(samples), dtype=np.int16).reshape(-1, 2)
    assert (token, lost) == (77, 0)
    assert samples >= 8000
    assert level(frames[800:8000, 0], 1000) == pytest.approx(-10, abs=0.1)
    assert level(frames[800:8000, 1], 400) == pytest.approx(-20, abs=0.1)
    assert level(frames[800:8000, 0], 400) < -60


def test_a_recording_cut_at_any_byte_is_readable(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    stage.line(0)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    record(stage, path)
    stage.tick(20)
    finish(stage)
    whole = path.read_bytes()
    for cut in [*range(44, 400), *range(400, len(whole), 97)]:
        with wave.open(io.BytesIO(whole[:cut])) as file:
            data = file.readframes(file.getnframes())
        assert data[: len(data) // 4 * 4] == whole[44 : 44 + (cut - 44) // 4 * 4]


def test_every_state_of_a_growing_recording_promises_no_more_than_it_has(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    stage.line(0)
    record(stage, path)
    seen = set()
    for _ in range(400):
        stage.tick()
        raw = path.read_bytes()
        if len(raw) >= 44:
            promised = struct.unpack_from("<I", raw, 40)[0]
            assert promised <= len(raw) - 44
            assert raw[:4] == b"RIFF"
            seen.add(promised)
    finish(stage)
    assert path.stat().st_size > 44


def sealed(stage: Stage, path: Path, key: bytes, ident: bytes, number: int = 3, coded: str = "") -> None:
    path.write_bytes(bytes(vault.HEADER))
    stage.do("record", 0, abi.pack_record(77, number))
    stage.engine.attach_file(number, os.open(path, os.O_RDWR), key, ident, coded)


def pieces(raw: bytes, key: bytes, ident: bytes) -> tuple[bytes, bool]:
    """Samples of a sealed file as far as it goes, and whether its last piece is there."""
    content, at, expected = b"", vault.HEADER, 0
    while len(raw) >= at + vault.HEAD:
        word = int.from_bytes(raw[at : at + 4], "little")
        assert int.from_bytes(raw[at + 4 : at + 12], "little") == expected
        end = at + vault.HEAD + (word & vault.BYTES) + vault.TAG
        if len(raw) < end:
            break
        opened = vault.open_piece(key, ident, raw[at:end])
        assert opened is not None
        content, at, expected = content + opened, end, expected + 1
        if word & vault.FINAL:
            return content, True
    return content, False


def test_a_sealed_recording_holds_the_same_samples_and_no_clear_one(stage: Stage, tmp_path: Path) -> None:
    path, key, ident = tmp_path / "call.rec", os.urandom(32), os.urandom(16)
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    sealed(stage, path, key, ident)
    stage.tick(150)
    grown = path.read_bytes()
    _, samples, lost = finish(stage)
    content, whole = pieces(path.read_bytes(), key, ident)
    assert whole and not pieces(grown, key, ident)[1]
    assert (len(content), lost) == (4 * samples, 0)
    frames = np.frombuffer(content, dtype=np.int16).reshape(-1, 2)
    assert level(frames[800:8000, 0], 1000) == pytest.approx(-10, abs=0.1)
    assert level(frames[800:8000, 1], 400) == pytest.approx(-20, abs=0.1)
    assert content[4000:4064] not in path.read_bytes()


@pytest.mark.parametrize(("coded", "bits"), [("a-law", vault.CODED), ("mu-law", vault.CODED | vault.MU_LAW)])
def test_a_coded_recording_is_half_as_long_and_sounds_the_same(stage: Stage, tmp_path: Path, coded: str, bits: int) -> None:
    device, path = DeviceKey(bytes(32)), tmp_path / "call.rec"
    header, key, ident = device.header()
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    sealed(stage, path, key, ident, coded=coded)
    with path.open("r+b") as file:
        file.write(header)
    stage.tick(150)
    _, samples, lost = finish(stage)
    found = Sealed(path, device)
    content = b"".join(found)
    assert (found.how, found.frames, found.missing, lost, len(content)) == ("whole", samples, 0, 0, 4 * samples)
    raw = path.read_bytes()
    assert int.from_bytes(raw[vault.HEADER : vault.HEADER + 4], "little") & ~vault.BYTES == bits
    assert len(raw) < 2 * samples + vault.HEADER + 40 * (samples // 4000 + 3)
    frames = np.frombuffer(content, dtype=np.int16).reshape(-1, 2)
    for channel, hz, dbm0 in ((0, 1000, -10), (1, 400, -20)):
        heard = frames[800:8000, channel].astype(float)
        assert level(heard, hz) == pytest.approx(dbm0, abs=0.2)
        turn = 2 * np.pi * hz * np.arange(len(heard)) / 8000
        basis = np.column_stack([np.sin(turn), np.cos(turn)])
        tone = basis @ np.linalg.lstsq(basis, heard, rcond=None)[0]
        assert 10 * np.log10(np.mean(tone**2) / np.mean((heard - tone) ** 2)) > 33          # of G.711 itself, G.712 asks for 33 dB
    later = np.frombuffer(Sealed(path, device).span(1000, 200), dtype=np.int16).reshape(-1, 2)
    assert (later == frames[8000 : 8000 + len(later)]).all() and len(later) >= 1600


def test_only_what_is_sealed_is_coded(stage: Stage) -> None:
    with pytest.raises(ValueError, match="not sealed"):
        stage.engine.attach_file(1, -1, coded="a-law")
    with pytest.raises(ValueError, match="no coding"):
        stage.engine.attach_file(1, -1, bytes(32), bytes(16), "mp3")


def test_a_sealed_recording_cut_at_any_byte_opens_up_to_its_last_whole_piece(stage: Stage, tmp_path: Path) -> None:
    path, key, ident = tmp_path / "call.rec", os.urandom(32), os.urandom(16)
    stage.line(0)
    sealed(stage, path, key, ident)
    stage.tick(130)
    finish(stage)
    raw = path.read_bytes()
    content, _ = pieces(raw, key, ident)
    size = 16000 + vault.HEAD + vault.TAG
    for cut in [*range(vault.HEADER, vault.HEADER + 40), *range(vault.HEADER + 40, len(raw), 331)]:
        got, whole = pieces(raw[:cut], key, ident)
        assert not whole
        assert got == content[: len(got)]
        assert len(got) >= (cut - vault.HEADER) // size * 16000


def test_a_masked_recording_is_silent_on_both_channels_until_it_goes_on(stage: Stage, tmp_path: Path) -> None:
    path, key, ident = tmp_path / "call.rec", os.urandom(32), os.urandom(16)
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    sealed(stage, path, key, ident)
    stage.tick(50)
    stage.do("mask", 0, abi.pack_flag(True))
    stage.tick(50)
    stage.do("mask", 0, abi.pack_flag(False))
    stage.tick(50)
    finish(stage)
    frames = np.frombuffer(pieces(path.read_bytes(), key, ident)[0], dtype=np.int16).reshape(-1, 2)
    silent = 2000 + np.flatnonzero(~frames[2000:].any(axis=1))      # the first frames are silence that was on its way
    assert 3900 <= len(silent) <= 4100
    quiet = frames[silent[0] + 100 : silent[-1] - 100]
    assert not quiet.any()
    assert level(frames[-3000:, 0], 1000) == pytest.approx(-10, abs=0.1)
    assert level(frames[800:3000, 1], 400) == pytest.approx(-20, abs=0.1)


def test_a_full_disk_costs_a_sealed_recording_samples_and_never_a_nonce(stage: Stage) -> None:
    stage.line(0)
    stage.do("record", 0, abi.pack_record(5, 9))
    stage.engine.attach_file(9, os.open("/dev/full", os.O_RDWR), os.urandom(32), os.urandom(16))
    stage.tick(100)
    token, samples, lost = finish(stage)
    assert (token, samples) == (5, 0)
    assert lost >= 8000


def test_a_full_disk_costs_counted_samples_and_no_audio(stage: Stage) -> None:
    stage.line(0)
    stage.line(4)
    stage.join(0, 0, 4)
    stage.captures[0] = lambda t: sine(1000, -10, 80, t)
    stage.do("record", 0, abi.pack_record(5, 9))
    stage.engine.attach_file(9, os.open("/dev/full", os.O_RDWR))
    stage.tick(100)
    token, samples, lost = finish(stage)
    assert (token, samples) == (5, 0)
    assert lost >= 8000
    assert level(stage.heard(4, 10, 90), 1000) == pytest.approx(-10, abs=0.1)


def test_a_descriptor_that_never_comes_loses_the_recording_and_not_the_call(stage: Stage) -> None:
    stage.line(0)
    stage.do("record", 0, abi.pack_record(5, 9))
    stage.tick(500)  # more than the ring holds: nothing blocks
    stage.do("record", 0, abi.pack_record(6, 10))
    stage.tick()
    assert stage.snapshot()[0]["recording"] == 5
