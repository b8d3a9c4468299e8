"""RTP of the media engine: relay, keys, symmetric learning, jitter, loss, hostile packets."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from firmware.dsp import abi
from tests.unit.engine_stage import Phone, Samples, Stage, level, power, sine


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=6, clips={"beep": sine(1000, -10, 4000)})
    yield one
    one.close()


def talk(stage: Stage, phone: Phone, freq: float, dbm0: float = -12.0, ptime: int = 20) -> None:
    """The phone speaks a tone in packets of `ptime` ms and keeps what it hears."""
    blocks = ptime // 10

    def work(block: int) -> None:
        if block % blocks == 0 and phone.talking:
            phone.send(sine(freq, dbm0, ptime * 8, phone.ts - 5000))
        phone.receive()

    phone.talking = True
    stage.each.append(work)


def pair(stage: Stage, **arguments: int) -> tuple[Phone, Phone]:
    a, b = Phone(stage.local(16)), Phone(stage.local(17), ssrc=0x9999)
    stage.rtp(16, a, **arguments)  # type: ignore[arg-type]
    stage.rtp(17, b)
    stage.do("relay", 16, abi.pack_relay(17))
    return a, b


def stream(phone: Phone) -> list[tuple[int, int, int, int]]:
    """(payload type, sequence, timestamp, ssrc) of what the phone received."""
    phone.receive()
    return [(p[1] & 0x7F, *struct.unpack("!HII", p[2:12])) for p in phone.packets]


def gaps(audio: Samples) -> int:
    """Longest run of near silence in ms."""
    longest = run = 0
    for i in range(0, len(audio) - 79, 80):
        run = run + 10 if power(audio[i : i + 80]) < -40 else 0
        longest = max(longest, run)
    return longest


def keys(phone: Phone, digit: str, *, packets: int = 5, ends: int = 3, start: int = 0) -> None:
    """One RFC 4733 key: `packets` growing events of 160 samples, then `ends` end packets; the first `start` are lost."""
    code = "0123456789*#ABCD".index(digit)
    for n in range(start, packets):
        phone.raw(101, struct.pack("!BBH", code, 10, (n + 1) * 160), marker=n == 0, ts=phone.ts)
    for _ in range(ends):
        phone.raw(101, struct.pack("!BBH", code, 0x80 | 10, packets * 160), ts=phone.ts)
    phone.ts += packets * 160


def test_two_phones_are_relayed_packet_by_packet_under_our_own_stream(stage: Stage) -> None:
    a, b = pair(stage)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(100)
    assert stage.snapshot()[16]["relaying"]
    assert level(b.heard()[-4000:], 600) == pytest.approx(-12, abs=0.5)
    assert level(a.heard()[-4000:], 1000) == pytest.approx(-12, abs=0.5)
    packets = stream(b)
    assert len({ssrc for *_, ssrc in packets}) == 1
    assert packets[0][3] not in (a.ssrc, b.ssrc)
    assert [(y[1] - x[1]) & 0xFFFF for x, y in zip(packets, packets[1:], strict=False)] == [1] * (len(packets) - 1)


def test_a_relay_falls_back_to_mixing_and_returns_without_a_gap_or_a_jump(stage: Stage) -> None:
    a, b = pair(stage)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(60)
    stage.do("play", 17, abi.pack_play(1, [0], 0.3, False, False))
    stage.tick(20)
    assert not stage.snapshot()[16]["relaying"]
    stage.tick(60)
    assert stage.snapshot()[16]["relaying"]
    stage.tick(60)
    for phone, freq in ((a, 1000), (b, 600)):
        audio = phone.heard()[800:]
        assert gaps(audio) <= 60
        assert level(audio[-4000:], freq) == pytest.approx(-12, abs=0.5)
        packets = stream(phone)
        assert len({ssrc for *_, ssrc in packets}) == 1
        steps = [((y[2] - x[2] + (1 << 31)) & 0xFFFFFFFF) - (1 << 31) for x, y in zip(packets, packets[1:], strict=False)]
        assert min(steps) > 0
        assert max(steps) <= 160 + 640


def test_recording_a_relayed_call_makes_the_engine_mix_it(stage: Stage) -> None:
    a, b = pair(stage)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(30)
    stage.do("record", 16, abi.pack_record(1, 1))
    stage.tick(30)
    assert not stage.snapshot()[16]["relaying"]
    assert level(b.heard()[-1600:], 600) == pytest.approx(-12, abs=0.5)


def test_phones_of_different_codecs_are_refused_a_relay_and_can_be_bridged(stage: Stage) -> None:
    a, b = Phone(stage.local(16), law=0), Phone(stage.local(17), law=8)
    stage.rtp(16, a, law=0)
    stage.rtp(17, b, law=8)
    seq = stage.do("relay", 16, abi.pack_relay(17))
    stage.join(0, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(80)
    assert stage.done(seq) == 3
    assert level(b.heard()[-4000:], 600) == pytest.approx(-12, abs=0.5)
    assert level(a.heard()[-4000:], 1000) == pytest.approx(-12, abs=0.5)


def test_a_third_party_turns_a_relayed_bridge_into_a_conference(stage: Stage) -> None:
    a, b = pair(stage)
    stage.join(0, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(30)
    assert stage.snapshot()[16]["relaying"]
    stage.line(4)
    stage.join(0, 4)
    stage.captures[4] = lambda t: sine(400, -20, 80, t)
    stage.tick(40)
    assert not stage.snapshot()[16]["relaying"]
    assert level(a.heard()[-1600:], 400) == pytest.approx(-20, abs=0.6)
    assert level(stage.heard(4, 50, 20), 600) == pytest.approx(-12, abs=0.6)


def test_keys_of_a_relayed_phone_are_forwarded_and_reported_once(stage: Stage) -> None:
    a, b = pair(stage)
    stage.do("detect", 16, abi.pack_detect(True, 0, False, 0))
    talk(stage, a, 600)
    stage.tick(20)
    keys(a, "7")
    stage.tick(3)
    keys(a, "7")
    stage.tick(3)
    assert stage.snapshot()[16]["relaying"]
    assert [p[:3] for _, p in stage.named("digit", 16)] == [("7", 100, "rfc4733")] * 2
    events = [p for p in stream(b) if p[0] == 101]
    assert len(events) == 16
    assert len({ts for _, _, ts, _ in events}) == 2


@pytest.mark.parametrize(("start", "ends"), [(0, 3), (4, 3), (5, 1), (0, 0)])
def test_a_key_survives_the_loss_of_its_start_or_its_end(stage: Stage, start: int, ends: int) -> None:
    a = Phone(stage.local(16))
    stage.rtp(16, a)
    stage.do("detect", 16, abi.pack_detect(True, 0, False, 0))
    stage.tick(2)
    keys(a, "#", start=start, ends=ends)
    stage.tick(2)
    if ends == 0:
        keys(a, "1")
        stage.tick(2)
    digits = [p[0] for _, p in stage.named("digit", 16)]
    assert digits == (["#"] if ends else ["#", "1"])


def test_a_key_by_rfc4733_stops_the_prompt(stage: Stage) -> None:
    a = Phone(stage.local(16))
    stage.rtp(16, a)
    stage.do("play", 16, abi.pack_play(4, [0], 1.0, False, True))
    stage.tick(10)
    keys(a, "3")
    stage.tick(3)
    assert [p for _, p in stage.named("played", 16)] == [(4, False, "3")]


def test_keys_sent_to_a_phone_are_events_with_three_ends_each(stage: Stage) -> None:
    a = Phone(stage.local(16))
    stage.rtp(16, a)
    stage.tick(4)
    stage.do("dtmf", 16, abi.pack_dtmf(8, "12", 100, 100, -9.0))
    stage.tick(50)
    a.receive()
    keyed = [p for p in a.packets if p[1] & 0x7F == 101]
    events = [(p[12], p[13] >> 7, int.from_bytes(p[4:8], "big"), int.from_bytes(p[14:16], "big")) for p in keyed]
    assert [p[0] for _, p in stage.named("dtmf_sent", 16)] == [8]
    assert [code for code, end, _, _ in events if end] == [1, 1, 1, 2, 2, 2]
    assert len({ts for _, _, ts, _ in events}) == 2
    assert all(length == 800 for _, end, _, length in events if end)
    first = [length for code, end, _, length in events if code == 1 and not end]
    assert first == sorted(set(first))


def test_silence_is_sent_continuously_in_the_negotiated_packet_time(stage: Stage) -> None:
    a = Phone(stage.local(16))
    stage.rtp(16, a, ptime=30)
    stage.tick(60)
    packets = stream(a)
    assert len(packets) == 20
    assert {(y[2] - x[2]) & 0xFFFFFFFF for x, y in zip(packets, packets[1:], strict=False)} == {240}


def test_audio_goes_to_where_packets_come_from_and_a_foreign_source_is_ignored(stage: Stage) -> None:
    """The SDP names a private address; the phone behind NAT is answered where it is, and keeps its call."""
    nat, other = Phone(stage.local(16)), Phone(stage.local(16), ssrc=7)
    nowhere = Phone(stage.local(16))
    stage.rtp(16, nowhere)
    nowhere.socket.close()
    stage.line(4)
    stage.join(0, 4, 16)
    talk(stage, nat, 600)
    stage.tick(80)
    talk(stage, other, 1500)
    stage.tick(40)
    state = stage.snapshot()[16]
    assert state["remote"] == ("127.0.0.1", nat.port)
    assert state["foreign"] >= 20
    assert level(stage.heard(4, 90, 30), 600) == pytest.approx(-12, abs=0.5)
    assert level(stage.heard(4, 90, 30), 1500) < -45
    assert other.packets == []


def test_the_address_of_the_sdp_takes_over_from_an_early_stranger(stage: Stage) -> None:
    phone, stranger = Phone(stage.local(16)), Phone(stage.local(16), ssrc=7)
    stage.rtp(16, phone)
    stage.tick(1)
    for _ in range(5):
        stranger.send(sine(1500, -12, 160))
        stage.tick(2)
    talk(stage, phone, 600)
    talk(stage, stranger, 1500)
    stage.tick(60)
    assert stage.snapshot()[16]["remote"] == ("127.0.0.1", phone.port)
    assert len(stranger.packets) < 15


def test_a_new_ssrc_of_the_same_source_goes_on(stage: Stage) -> None:
    phone = Phone(stage.local(16))
    stage.rtp(16, phone)
    stage.line(4)
    stage.join(0, 4, 16)
    talk(stage, phone, 600)
    stage.tick(50)
    phone.ssrc, phone.seq, phone.ts = 0xABCDEF, 9, 5000 + 3_000_000_000
    stage.tick(50)
    assert gaps(stage.heard(4, 10, 90)) <= 60
    assert level(stage.heard(4, 70, 30), 600) == pytest.approx(-12, abs=0.6)


def test_an_update_of_the_session_keeps_ssrc_and_moves_to_the_new_address(stage: Stage) -> None:
    first, second = Phone(stage.local(16)), Phone(stage.local(16))
    stage.rtp(16, first)
    stage.tick(10)
    stage.rtp(16, second, update=True)
    stage.tick(10)
    assert stream(first)[0][3] == stream(second)[0][3]
    assert stream(second)[0][1] == stream(first)[-1][1] + 1


def test_hold_stops_sending_and_hearing(stage: Stage) -> None:
    phone = Phone(stage.local(16))
    stage.rtp(16, phone)
    stage.line(4)
    stage.join(0, 4, 16)
    talk(stage, phone, 600)
    stage.tick(40)
    stage.rtp(16, phone, update=True, send=False, receive=False)
    stage.tick(10)
    count = len(stream(phone))
    stage.tick(40)
    assert len(stream(phone)) == count
    assert power(stage.heard(4, 70, 20)) < -60


def test_start_and_silence_of_the_stream_are_reported(stage: Stage) -> None:
    phone = Phone(stage.local(16))
    stage.rtp(16, phone)
    talk(stage, phone, 600)
    stage.tick(20)
    phone.talking = False
    stage.tick(320)
    phone.talking = True
    stage.tick(5)
    assert len(stage.named("rtp_started", 16)) == 2
    assert [p[0] for _, p in stage.named("rtp_silent", 16)] == [1000, 2000, 3000]


# --- jitter ------------------------------------------------------------------------------------------------------------


def jittered(stage: Stage, seed: int, *, jitter_ms: int, loss: float, blocks: int, drift: float = 0.0) -> Samples:
    """What a line hears of a 500 Hz tone whose packets are delayed and lost at random; `drift` = relative speed of the phone."""
    rng = random.Random(seed)
    phone = Phone(stage.local(16))
    stage.rtp(16, phone)
    stage.line(4)
    stage.join(0, 4, 16)
    queue: list[tuple[float, int, bytes]] = []
    sent = 0

    def work(block: int) -> None:
        nonlocal sent
        now = block * 10.0
        while sent * 20.0 * (1 - drift) <= now:
            payload = phone._encode_samples(sine(500, -12, 160, sent * 160))
            if rng.random() >= loss:
                queue.append((sent * 20.0 * (1 - drift) + rng.random() * jitter_ms, sent * 160, payload))
            sent += 1
        for item in sorted(item for item in queue if item[0] <= now):
            queue.remove(item)
            phone.raw(8, item[2], ts=item[1])
        phone.receive()

    stage.each.append(work)
    stage.tick(blocks)
    return stage.heard(4, 0, blocks)


def test_jitter_of_60_ms_with_reordering_is_smoothed_without_gaps(stage: Stage, seed: int) -> None:
    audio = jittered(stage, seed, jitter_ms=60, loss=0.0, blocks=1000)
    tail = audio[80 * 300 :]
    assert gaps(tail) == 0
    assert power(tail) == pytest.approx(-12, abs=0.3)


def test_five_percent_of_loss_is_concealed(stage: Stage, seed: int) -> None:
    audio = jittered(stage, seed, jitter_ms=10, loss=0.05, blocks=800)
    tail = audio[80 * 100 :]
    assert gaps(tail) <= 60
    assert power(tail) == pytest.approx(-12, abs=1.0)


@pytest.mark.parametrize("drift", [0.002, -0.002])
def test_a_phone_with_another_clock_costs_single_blocks_and_no_growing_delay(stage: Stage, drift: float) -> None:
    audio = jittered(stage, 1, jitter_ms=0, loss=0.0, blocks=3000, drift=drift)  # 30 s: 60 ms of drift
    tail = audio[80 * 300 :]
    assert gaps(tail) <= 20
    assert power(tail) == pytest.approx(-12, abs=0.5)
    state = stage.snapshot()[16]
    assert state["late"] < 20


# --- hostile -----------------------------------------------------------------------------------------------------------


def test_hostile_packets_change_nothing_but_counters(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    phone = Phone(stage.local(16))
    stage.rtp(16, phone)
    stage.line(4)
    stage.join(0, 4, 16)
    stage.do("detect", 16, abi.pack_detect(True, 0, False, 0))
    talk(stage, phone, 600)
    stage.tick(50)
    for _ in range(100):
        for _ in range(20):
            kind = rng.randrange(5)
            if kind == 0:
                data = rng.randbytes(rng.randrange(0, 1500))
            elif kind == 1:  # lying CSRC count, extension or padding
                data = bytes([0x80 | rng.randrange(64), 8]) + rng.randbytes(rng.randrange(0, 40))
            elif kind == 2:
                data = b"\x80\x08" + rng.randbytes(rng.randrange(0, 12))
            elif kind == 3:  # oversize
                data = b"\x80\x08" + rng.randbytes(rng.randrange(500, 1400))
            else:  # other payload types
                data = b"\x80" + bytes([rng.choice((0, 3, 18, 96, 127))]) + rng.randbytes(170)
            phone.socket.sendto(data, phone.target)
        stage.tick()
    before = len(stage.played)
    stage.tick(200)
    assert stage.snapshot()[16]["malformed"] > 500
    assert level(stage.heard(4, before + 100, 100), 600) == pytest.approx(-12, abs=0.6)


def test_a_flood_to_one_port_does_not_disturb_another(stage: Stage) -> None:
    a, b = Phone(stage.local(16)), Phone(stage.local(17))
    stage.rtp(16, a)
    stage.rtp(17, b)
    stage.line(4)
    stage.join(0, 4, 17)
    talk(stage, b, 600)
    junk = sine(1500, -3, 160)

    def flood(block: int) -> None:
        for _ in range(60):
            a.send(junk)

    stage.each.append(flood)
    stage.tick(120)
    assert level(stage.heard(4, 60, 60), 600) == pytest.approx(-12, abs=0.5)
    assert gaps(stage.heard(4, 20, 100)) <= 60


def test_a_closed_port_is_deaf_and_its_reuse_hears_nothing_of_the_past(stage: Stage) -> None:
    old, new = Phone(stage.local(16)), Phone(stage.local(16), ssrc=5)
    stage.rtp(16, old)
    stage.tick(2)
    for _ in range(10):
        old.send(sine(1500, -5, 160))
    stage.do("close", 16)
    stage.tick(2)
    stage.rtp(16, new)
    stage.line(4)
    stage.join(0, 4, 16)
    talk(stage, new, 600)
    talk(stage, old, 1500)
    stage.tick(60)
    assert level(stage.heard(4, 30, 30), 1500) < -40
    assert level(stage.heard(4, 40, 20), 600) == pytest.approx(-12, abs=0.6)
    assert np.abs(stage.heard(4, 0, 4)).max() == 0
