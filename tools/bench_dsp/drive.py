"""Runs one block over a given number of samples and nothing else: what the instruction counters of `count.py` run.

    python -m tools.bench_dsp.drive BLOCK SAMPLES [FOLDER [marks]]      without arguments: names the blocks

Sound comes from files that `count.py` made (16 bits, 8 or 16 kHz), is read whole before the block starts and begins again at its end.
A block gets a second at a time where its interface takes any length, so that Python's calls vanish in the count; blocks that work on
packets get packets, and their counts include some ten instructions a sample of Python. No numpy, because this also runs on the
armhf Python, and few imports, because every run under callgrind pays for them. With `marks` it feeds 10 ms at a time and asks the system
for its parent's number before each, where the counter of `count.py` takes note. The end status is 3 when this tree has no such block.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Feed = Callable[[bytes, bytes], object]  # a second of (reference or only signal, captured)

TAILS = (16, 32, 64, 128)
EMPTY = 4  # calls without sound at the end of a marked run


class Block:
    """A way to make the block and the sound it is fed with."""

    def __init__(self, make: Callable[[], Feed], signal: str, second: str = "", rate: int = 8000) -> None:
        self.make, self.signal, self.second, self.rate = make, signal, second, rate


def packets(feed: Callable[[bytes], object], size: int) -> Feed:
    """Cuts a second into packets of `size` bytes."""
    def cut(sound: bytes, _: bytes) -> None:
        for at in range(0, len(sound) - size + 1, size):
            feed(sound[at : at + size])

    return cut


def dsp(name: str) -> Any:
    """A class of firmware.dsp, asked for late so that a tree without it can run the others."""
    home, _, what = name.rpartition(".")
    return getattr(import_module("firmware.dsp" + (f".{home}" if home else "")), what)


def echo(tail_ms: int, nlp: bool, rate: int = 8000) -> Callable[[], Feed]:
    return lambda: dsp("echo.EchoCanceller")(rate, tail_ms, nlp).process


def one(make: Callable[[], Callable[[bytes], object]]) -> Callable[[], Feed]:
    """For blocks that take one signal of any length."""
    def made() -> Feed:
        feed = make()
        return lambda sound, _: feed(sound)

    return made


def concealer(rate: int) -> Feed:
    """Every tenth packet of 20 ms is lost."""
    block, n, count = dsp("conceal.Concealer")(rate), rate // 50, [0]

    def feed(packet: bytes) -> None:
        count[0] += 1
        if count[0] % 10:
            block.received(packet)
        else:
            block.lost(n)

    return packets(feed, 2 * n)


def coder(kind: str, rate: int, decode: bool) -> Feed:
    """Packets of 20 ms; a decoder gets those that an encoder of the same run made, whose cost `count.py` takes off."""
    codec, again = dsp("codec.VoiceCodec")(kind, rate), dsp("codec.VoiceCodec")(kind, rate)

    def feed(packet: bytes) -> None:
        coded = codec.encode(packet)
        if decode:
            again.decode(coded)

    return packets(feed, rate // 50 * 2)


def jitter() -> Feed:
    """A packet of 20 ms each second tick, in order; includes the decoding of A-law."""
    block, count = dsp("jitter_buffer.JitterBuffer")(20, 200, "pcma"), [0]

    def feed(packet: bytes) -> None:
        tick = count[0]
        if tick % 2 == 0:
            block.put(tick, tick // 2 & 65535, tick * 80, packet, "pcma")
        block.get(tick)
        count[0] += 1

    return packets(feed, 160)


def companding(decode: bool) -> Feed:
    """A-law; the decoder takes the sound's bytes for codes."""
    from firmware.dsp import g711

    if decode:
        return lambda sound, _: g711.decode("alaw", sound[: len(sound) // 2])
    return lambda sound, _: g711.encode("alaw", sound)


def comfort() -> Feed:
    noise = dsp("comfort.ComfortNoise")()
    noise.set(bytes([60, 100, 140]))
    return lambda sound, _: noise.make(len(sound) // 2)


def activity(rate: int) -> Feed:
    block = dsp("activity.ActivityMeter")(rate)
    return lambda far, near: block.feed(near, far)


def peer_echo(kind: str, tail_ms: int, nlp: bool) -> Callable[[], Feed]:
    def made() -> Feed:
        from . import peers

        frame_ms = 20 if kind == "speex20" else 10
        canceller: Any = peers.SpandspEcho(tail_ms, nlp) if kind == "spandsp" else peers.SpeexEcho(tail_ms, nlp, frame_ms)
        feed: Feed = canceller.process
        return feed

    return made


def peer(make: Callable[[Any], Callable[[bytes], object]]) -> Callable[[], Feed]:
    def made() -> Feed:
        from . import peers

        feed = make(peers)
        return lambda sound, _: feed(sound)

    return made


def g722_peer(decode: bool) -> Callable[[], Feed]:
    def made() -> Feed:
        from . import peers

        codec = peers.SpandspG722()
        if not decode:
            return lambda sound, _: codec.encode(sound)
        return lambda sound, _: codec.decode(sound[: len(sound) // 4])

    return made


def plc_peer() -> Feed:
    from . import peers

    block, n, count = peers.SpandspPlc(), 160, [0]

    def feed(packet: bytes) -> None:
        count[0] += 1
        if count[0] % 10:
            block.rx(packet)
        else:
            block.fillin(n)

    return packets(feed, 2 * n)


def resampler_peer(pair: tuple[int, int]) -> Callable[[], Feed]:
    def made() -> Feed:
        from . import peers

        block = peers.SpeexResampler(*pair)
        return lambda sound, _: block.process(sound)

    return made


def own_blocks() -> dict[str, Block]:
    """Ours."""
    found = {f"echo-{tail}": Block(echo(tail, False), "far", "echo") for tail in TAILS}
    found |= {f"echo-{tail}-nlp": Block(echo(tail, True), "far", "echo") for tail in TAILS}
    found |= {f"echo-{tail}-idle": Block(echo(tail, True), "silence", "hiss") for tail in (32, 128)}
    found |= {f"echo-{tail}-16k": Block(echo(tail, True, 16000), "far16", "echo16", 16000) for tail in (32, 128)}
    found |= {f"echo-{tail}-call": Block(echo(tail, False), "callfar", "callnear") for tail in TAILS}
    found |= {
        "dtmf": Block(one(lambda: dsp("dtmf.DtmfDetector")(8000).feed), "dtmf"),
        "dtmf-speech": Block(one(lambda: dsp("dtmf.DtmfDetector")(8000).feed), "far"),
        "dtmf-16k": Block(one(lambda: dsp("dtmf.DtmfDetector")(16000).feed), "far16", rate=16000),
        "callerid-bell202": Block(one(lambda: dsp("fsk.CallerIdReceiver")("bell202", 8000).feed), "bell202"),
        "callerid-v23": Block(one(lambda: dsp("fsk.CallerIdReceiver")("v23", 8000).feed), "v23"),
        "callerid-speech": Block(one(lambda: dsp("fsk.CallerIdReceiver")("bell202", 8000).feed), "far"),
        "tone": Block(one(lambda: dsp("tone.ToneDetector")((425.0,), (350, 350)).feed), "busy"),
        "tones-six": Block(one(lambda: bank(6)), "busy"),
        "tones-six-speech": Block(one(lambda: bank(6)), "far"),
        "tones-six-16k": Block(one(lambda: bank(6, 16000)), "far16", rate=16000),
        "tone-generator": Block(one(generator), "busy"),
        "pcma-encode": Block(lambda: companding(False), "far"),
        "pcma-decode": Block(lambda: companding(True), "far"),
        "answer-tone": Block(one(lambda: dsp("answer_tone.AnswerToneDetector")(8000).feed), "far"),
        "alerting-tone": Block(one(lambda: dsp("cas.CasDetector")(8000).feed), "far"),
        "tone-learner": Block(one(lambda: dsp("learner.ToneLearner")(8000).feed), "busy"),
        "dtmf-mute": Block(one(lambda: dsp("dtmf_mute.DtmfMuter")(8000).process), "far"),
        "vad": Block(one(lambda: dsp("vad.VoiceActivity")(8000).feed), "far"),
        "echo-score": Block(lambda: dsp("echo_score.EchoScore")(8000).feed, "far", "echo"),
        "jitter": Block(jitter, "far"),
        "highpass": Block(one(lambda: dsp("highpass.HighPassFilter")(8000).process), "far"),
        "meter": Block(one(lambda: dsp("meter.LevelMeter")(8000).feed), "far"),
        "agc": Block(one(lambda: dsp("agc.GainControl")(8000).process), "far"),
        "activity": Block(lambda: activity(8000), "far", "echo"),
        "comfort-noise": Block(comfort, "far"),
        "concealer": Block(lambda: concealer(8000), "far"),
        "resample-8-16": Block(one(lambda: dsp("resample.Resampler")(8000, 16000).process), "far"),
        "resample-16-8": Block(one(lambda: dsp("resample.Resampler")(16000, 8000).process), "far16", rate=16000),
    }
    for kind, rate in (("g722", 16000), ("opus", 8000), ("opus", 16000)):
        name, sound = (f"{kind}-{rate // 1000}k" if kind == "opus" else kind), "far16" if rate == 16000 else "far"
        found[f"{name}-encode"] = Block(lambda kind=kind, rate=rate: coder(kind, rate, False), sound, rate=rate)  # type: ignore[misc]
        found[f"{name}-both"] = Block(lambda kind=kind, rate=rate: coder(kind, rate, True), sound, rate=rate)  # type: ignore[misc]
    return found


class Plan:
    """What `ToneSpec` says, without its imports."""

    def __init__(self, name: str, freqs_hz: tuple[float, ...], cadence_ms: tuple[int, ...]) -> None:
        self.name, self.freqs_hz, self.cadence_ms, self.cycles, self.level_dbm0 = name, freqs_hz, cadence_ms, 3, -10.0
        self.phase_freqs_hz = self.phase_levels_db = ()


def bank(count: int, rate: int = 8000) -> Callable[[bytes], object]:
    """A line's tones, followed at once."""
    plans = [Plan("busy", (425.0,), (480, 480)), Plan("congestion", (425.0,), (240, 240)), Plan("ringback", (425.0,), (1000, 4000)),
             Plan("dial", (425.0,), ()), Plan("other", (425.0,), (350, 350)), Plan("two", (480.0, 620.0), (500, 500))]
    feed: Callable[[bytes], object] = dsp("progress.ProgressDetector")(plans[:count], rate).feed
    return feed


def generator() -> Callable[[bytes], object]:
    made = dsp("tone.ToneGenerator")((425.0,), -10.0)
    return lambda sound: made.generate(len(sound) // 2)


def peer_blocks() -> dict[str, Block]:
    """Theirs."""
    found = {}
    for kind in ("spandsp", "speex", "speex20"):
        for tail in TAILS:
            found[f"{kind}-echo-{tail}"] = Block(peer_echo(kind, tail, False), "far", "echo")
            found[f"{kind}-echo-{tail}-nlp"] = Block(peer_echo(kind, tail, True), "far", "echo")
    return found | {
        "spandsp-dtmf": Block(peer(lambda p: p.SpandspDtmf().feed), "dtmf"),
        "spandsp-dtmf-filter": Block(peer(lambda p: p.SpandspDtmf(True).feed), "dtmf"),
        "spandsp-callerid-bell202": Block(peer(lambda p: p.SpandspFsk("bell202").feed), "bell202"),
        "spandsp-callerid-v23": Block(peer(lambda p: p.SpandspFsk("v23").feed), "v23"),
        "spandsp-tone": Block(peer(lambda p: p.SpandspTones([(425, 0, 250, 450), (0, 0, 250, 450)]).feed), "busy"),
        "spandsp-ced": Block(peer(lambda p: p.SpandspModemTone(p.ANS_PR).feed), "far"),
        "spandsp-plc": Block(plc_peer, "far"),
        "spandsp-pcma-encode": Block(peer(lambda p: lambda sound: p.spandsp_g711_encode(8, sound)), "far"),
        "spandsp-pcma-decode": Block(peer(lambda p: lambda sound: p.spandsp_g711_decode(8, sound[: len(sound) // 2])), "far"),
        "spandsp-g722-encode": Block(g722_peer(False), "far16", rate=16000),
        "spandsp-g722-decode": Block(g722_peer(True), "far16", rate=16000),
        "speex-resample-8-16": Block(resampler_peer((8000, 16000)), "far"),
        "speex-resample-16-8": Block(resampler_peer((16000, 8000)), "far16", rate=16000),
        "speex-vad": Block(peer(lambda p: p.SpeexVoice(False, True).process), "far"),
        "speex-agc": Block(peer(lambda p: p.SpeexVoice(True, False).process), "far"),
    }


def read(folder: str, name: str) -> bytes:
    with open(f"{folder}/{name}.raw", "rb") as file:  # noqa: PTH123  (pathlib costs more than most blocks)
        return file.read()


def drive(block: Block, samples: int, folder: str) -> None:
    """Feeds the sound."""
    feed = block.make()
    sound = read(folder, block.signal)
    other = read(folder, block.second) if block.second else b""
    step, at = 2 * block.rate, 0
    if len(sound) % step or (other and len(other) != len(sound)):
        raise ValueError(f"{block.signal} is not whole seconds, or {block.second} has another length")
    for _ in range(samples // block.rate):
        feed(sound[at : at + step], other[at : at + step])
        at = (at + step) % len(sound)


def drive_marked(block: Block, samples: int, folder: str) -> None:
    """The same, 10 ms at a time with a mark before each and after the last; then nothing at all between two marks, what Python costs."""
    feed = block.make()
    size = block.rate // 50
    sound, other = ([data[at : at + size] for at in range(0, len(data), size)] for data in (read(folder, block.signal),
                                                                                          read(folder, block.second)))
    mark = os.getppid
    for far, near in zip(sound[: 2 * samples // size], other, strict=False):
        mark()
        feed(far, near)
    for _ in range(EMPTY):
        mark()
        feed(b"", b"")
    mark()


def main(words: list[str]) -> int:
    """Run what the arguments say."""
    blocks = {**own_blocks(), **peer_blocks()}
    if not words:
        print("\n".join(blocks))
        return 0
    if words[0] not in blocks or len(words) < 2:
        print("usage: drive BLOCK SAMPLES [FOLDER]; without arguments it names the blocks", file=sys.stderr)
        return 2
    try:
        folder = words[2] if len(words) > 2 else "build/bench/signals"
        (drive_marked if "marks" in words[3:] else drive)(blocks[words[0]], int(words[1]), folder)
    except (ModuleNotFoundError, AttributeError) as error:
        print(f"drive: {words[0]}: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
