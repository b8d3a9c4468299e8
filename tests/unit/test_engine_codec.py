"""G.722 and Opus in the media engine: mixed with lines, relayed untouched, transcoded, their clocks, keys and comfort noise."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from firmware.dsp import VoiceCodec, abi
from tests.unit.engine_stage import Phone, Samples, Stage, level, sine

NUMBERS = {"pcmu": 0, "pcma": 8, "g722": 9, "opus": 96}


class CodecPhone(Phone):
    """A phone of any codec; what it sends and hears is at 8 kHz."""

    def __init__(self, stage: Stage, port: int, codec: str, number: int | None = None, ssrc: int = 0x1234) -> None:
        super().__init__(stage.local(port), ssrc=ssrc)
        self.codec, self.number = codec, NUMBERS[codec] if number is None else number
        self.coder, self.decoder = VoiceCodec(codec), VoiceCodec(codec)
        self.sent: list[bytes] = []

    def send(self, samples: Samples, marker: bool = False) -> None:
        payload = self.coder.encode(samples.tobytes())
        self.sent.append(payload)
        self.raw(self.number, payload, marker=marker)
        self.ts += self.coder.span(payload)

    def audio(self) -> list[bytes]:
        """Audio packets received."""
        self.receive()
        return [packet for packet in self.packets if packet[1] & 0x7F == self.number]

    def heard(self) -> Samples:
        return np.frombuffer(b"".join(self.decoder.decode(packet[12:]) for packet in self.audio()), np.int16)

    def steps(self) -> set[int]:
        """Differences of the timestamps of audio packets in a row."""
        stamps = [struct.unpack("!I", packet[4:8])[0] for packet in self.audio()]
        return {(b - a) & 0xFFFFFFFF for a, b in zip(stamps, stamps[1:], strict=False)}

    def streams(self) -> list[int]:
        """Synchronisation sources in order of appearance."""
        return list(dict.fromkeys(struct.unpack("!I", packet[8:12])[0] for packet in self.audio()))


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=6, clips={"beep": sine(1000, -10, 4000)})
    yield one
    one.close()


def attach(
    stage: Stage, port: int, phone: CodecPhone, *, ptime: int = 20, update: bool = False, clock: int = 8000, noise: bool = False
) -> int:
    """Open or update the engine's port for a phone; keys have number 101."""
    body = abi.pack_rtp(("127.0.0.1", phone.port), phone.codec, phone.number, 101, ptime, True, True, f"rtp-{port}", clock, noise)
    return stage.do("update_rtp" if update else "open_rtp", port, body)


def speak(stage: Stage, phone: CodecPhone, freq: float, dbm0: float = -12.0) -> None:
    """The phone says a tone in packets of 20 ms."""
    at = 0

    def work(block: int) -> None:
        nonlocal at
        if block % 2 == 0 and phone.talking:
            phone.send(sine(freq, dbm0, 160, at))
            at += 160
        phone.receive()

    stage.each.append(work)


@pytest.mark.parametrize("codec", NUMBERS)
def test_a_line_and_a_phone_of_any_codec_hear_each_other(stage: Stage, codec: str) -> None:
    phone = CodecPhone(stage, 16, codec)
    stage.line(0)
    attach(stage, 16, phone)
    stage.join(0, 0, 16)
    stage.captures[0] = lambda t: sine(1004, -12, 80, t)
    speak(stage, phone, 620, -15)
    stage.tick(160)
    at_line, at_phone = stage.heard(0, 80, 80), phone.heard()[-6000:]
    close = 1.5 if codec == "opus" else 0.5
    assert level(at_line, 620) == pytest.approx(-15, abs=close)
    assert level(at_phone, 1004) == pytest.approx(-12, abs=close)
    assert stage.snapshot()[16]["codec"] == codec


@pytest.mark.parametrize("codec", NUMBERS)
def test_packets_of_a_relay_arrive_untouched(stage: Stage, codec: str) -> None:
    other = 111 if codec == "opus" else None
    a, b = CodecPhone(stage, 16, codec), CodecPhone(stage, 17, codec, other, ssrc=0x9999)
    attach(stage, 16, a)
    attach(stage, 17, b)
    stage.do("relay", 16, abi.pack_relay(17))
    stage.tick(2)
    speak(stage, a, 620)
    stage.tick(100)
    assert stage.snapshot()[16]["relaying"]
    got = [packet[12:] for packet in b.audio()]
    assert len(got) > 40 and got[-40:] == a.sent[-40:]
    assert b.steps() == {960 if codec == "opus" else 160}


@pytest.mark.parametrize(("one", "two"), [("g722", "pcma"), ("opus", "g722"), ("opus", "pcmu")])
def test_phones_of_different_codecs_are_bridged_and_transcoded(stage: Stage, one: str, two: str) -> None:
    a, b = CodecPhone(stage, 16, one), CodecPhone(stage, 17, two, ssrc=0x9999)
    attach(stage, 16, a)
    attach(stage, 17, b)
    seq = stage.do("relay", 16, abi.pack_relay(17))
    stage.join(0, 16, 17)
    speak(stage, a, 620)
    speak(stage, b, 1004)
    stage.tick(160)
    assert stage.done(seq) == 3
    assert level(b.heard()[-6000:], 620) == pytest.approx(-12, abs=1.5)
    assert level(a.heard()[-6000:], 1004) == pytest.approx(-12, abs=1.5)


def test_the_same_codec_with_keys_of_another_clock_is_not_relayed(stage: Stage) -> None:
    a, b = CodecPhone(stage, 16, "opus"), CodecPhone(stage, 17, "opus", ssrc=0x9999)
    attach(stage, 16, a, clock=48000)
    attach(stage, 17, b, clock=8000)
    seq = stage.do("relay", 16, abi.pack_relay(17))
    stage.tick(2)
    assert stage.done(seq) == 3


@pytest.mark.parametrize(("codec", "asked", "step", "samples"), [
    ("opus", 20, 960, 160), ("opus", 30, 960, 160), ("opus", 60, 2880, 480), ("g722", 30, 240, 240), ("pcmu", 10, 80, 80),
])  # fmt: skip
def test_packet_times_and_timestamps(stage: Stage, codec: str, asked: int, step: int, samples: int) -> None:
    phone = CodecPhone(stage, 16, codec)
    attach(stage, 16, phone, ptime=asked)
    stage.each.append(lambda _block: phone.receive())
    stage.tick(60)
    assert phone.steps() == {step}
    assert {len(phone.decoder.decode(packet[12:])) // 2 for packet in phone.audio()} == {samples}


@pytest.mark.parametrize(("codec", "clock"), [("opus", 48000), ("opus", 8000), ("g722", 8000)])
def test_keys_have_the_clock_they_were_negotiated_with(stage: Stage, codec: str, clock: int) -> None:
    phone = CodecPhone(stage, 16, codec)
    attach(stage, 16, phone, clock=clock)
    stage.each.append(lambda _block: phone.receive())
    stage.tick(5)
    stage.do("dtmf", 16, abi.pack_dtmf(1, "5", 100, 60, -9.0))
    stage.tick(30)
    keys = [struct.unpack("!BBH", packet[12:16]) for packet in phone.packets if packet[1] & 0x7F == 101]
    assert keys[-1][0] == 5 and keys[-1][1] & 0x80 and keys[-1][2] == clock // 10
    assert sum(1 for key in keys if key[1] & 0x80) == 3
    stamps = {packet[4:8] for packet in phone.packets if packet[1] & 0x7F == 101}
    assert len(stamps) == 1
    stage.do("detect", 16, abi.pack_detect(True, 0, False, 0))
    stage.tick(2)
    for n in (1, 2, 3, 4, 5):
        phone.raw(101, struct.pack("!BBH", 7, 10, n * clock // 50))
    for _ in range(3):
        phone.raw(101, struct.pack("!BBH", 7, 0x8A, clock // 10))
    stage.tick(20)
    ((_, digit),) = stage.named("digit", 16)
    assert (digit[0], digit[1], digit[2]) == ("7", 100, "rfc4733")


def test_another_clock_begins_another_stream_and_the_same_clock_goes_on(stage: Stage) -> None:
    phone = CodecPhone(stage, 16, "pcma")
    attach(stage, 16, phone)
    stage.each.append(lambda _block: phone.receive())
    stage.tick(20)
    first = phone.streams()
    phone.codec, phone.number, phone.decoder = "g722", 9, VoiceCodec("g722")
    attach(stage, 16, phone, update=True)
    stage.tick(20)
    assert phone.streams() == first
    phone.codec, phone.number, phone.decoder = "opus", 96, VoiceCodec("opus")
    attach(stage, 16, phone, update=True)
    stage.tick(20)
    assert phone.streams() != first and len(phone.streams()) == 1 and phone.steps() == {960}


def test_a_phone_that_changes_its_codec_is_heard_on(stage: Stage) -> None:
    phone = CodecPhone(stage, 16, "pcma")
    stage.line(0)
    attach(stage, 16, phone)
    stage.join(0, 0, 16)
    speak(stage, phone, 620, -15)
    for codec in ("g722", "opus", "pcmu"):
        stage.tick(60)
        phone.codec, phone.number, phone.coder, phone.decoder = codec, NUMBERS[codec], VoiceCodec(codec), VoiceCodec(codec)
        attach(stage, 16, phone, update=True)
        stage.tick(140)
        heard = stage.heard(0, len(stage.played) - 60, 60)
        assert level(heard, 620) == pytest.approx(-15, abs=1.5), codec


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_a_relay_falls_back_to_mixing_and_returns(stage: Stage, codec: str) -> None:
    a, b = CodecPhone(stage, 16, codec), CodecPhone(stage, 17, codec, ssrc=0x9999)
    attach(stage, 16, a)
    attach(stage, 17, b)
    stage.do("relay", 16, abi.pack_relay(17))
    speak(stage, a, 620)
    speak(stage, b, 1004)
    stage.tick(60)
    stage.do("play", 17, abi.pack_play(1, [0], 0.3, False, False))  # half a second
    stage.tick(30)
    assert not stage.snapshot()[16]["relaying"]
    stage.tick(60)
    assert stage.snapshot()[16]["relaying"]
    stage.tick(60)
    for phone, freq in ((a, 1004), (b, 620)):
        heard = phone.heard()
        assert len(phone.streams()) == 1
        weak = [at for at in range(1600, len(heard) - 400, 400) if level(heard[at : at + 400], freq) < -16]
        assert len(weak) <= 6, weak  # 50 ms each: the jitter buffer fills once, and twice the tone goes on in another phase
        stamps = [struct.unpack("!I", packet[4:8])[0] for packet in phone.audio()]
        ahead = [((y - x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31) for x, y in zip(stamps, stamps[1:], strict=False)]
        most = (960 if codec == "opus" else 160) * 5
        assert min(ahead) > 0 and max(ahead) <= most


def test_comfort_noise_is_forwarded_to_who_understands_it(stage: Stage) -> None:
    for understands in (True, False):
        a, b = CodecPhone(stage, 16, "pcma"), CodecPhone(stage, 17, "pcma", ssrc=0x9999)
        attach(stage, 16, a, noise=True)
        attach(stage, 17, b, noise=understands)
        stage.do("relay", 16, abi.pack_relay(17))
        stage.tick(2)
        a.send(sine(620, -12, 160))
        stage.tick(2)
        a.raw(13, bytes([60]))
        stage.tick(5)
        b.receive()
        assert [packet[12:] for packet in b.packets if packet[1] & 0x7F == 13] == ([bytes([60])] if understands else [])
        stage.do("close", 16)
        stage.do("close", 17)
        stage.tick(2)


def test_unknown_codecs_and_clocks_are_refused(stage: Stage) -> None:
    with pytest.raises(ValueError, match="codec is 'gsm'"):
        abi.pack_rtp(None, "gsm", 3, None, 20, True, True, "x")
    with pytest.raises(ValueError, match="dtmf_clock is 16000"):
        abi.pack_rtp(None, "pcma", 8, 101, 20, True, True, "x", 16000)


def test_hostile_wide_band_packets_change_nothing_for_long(stage: Stage, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for port, codec in ((16, "opus"), (17, "g722")):
        phone = CodecPhone(stage, port, codec)
        slot = port - 16
        stage.line(slot)
        attach(stage, port, phone)
        stage.join(slot, slot, port)
        for _ in range(400):
            phone.raw(phone.number, rng.integers(0, 256, int(rng.integers(1, 481))).astype("u1").tobytes())
            phone.ts += int(rng.integers(0, 5000))
            if rng.random() < 0.2:
                stage.tick()
        phone.ts += 480_000
        speak(stage, phone, 620, -15)
        stage.tick(200)
        assert level(stage.heard(slot, len(stage.played) - 60, 60), 620) == pytest.approx(-15, abs=1.5), codec
