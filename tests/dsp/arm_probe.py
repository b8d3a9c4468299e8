"""Runs signal blocks on sounds from a folder; on this machine and, unchanged, on the armhf Python under emulation (so no numpy).

    arm_probe.py GROUP FOLDER       writes FOLDER/answer.json

An answer has three parts: `decisions`, which must be the same everywhere; `sounds` (hexadecimal bytes), which must agree within 1 LSB
or 80 dB; and `figures`, floats that must agree within a hundredth.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Answer = dict[str, dict[str, Any]]


def empty() -> Answer:
    return {"decisions": {}, "sounds": {}, "figures": {}}


def blocks(sound: bytes, samples: int = 80) -> list[bytes]:
    return [sound[at : at + 2 * samples] for at in range(0, len(sound) - 2 * samples + 1, 2 * samples)]


def block_class(name: str) -> Any:
    module, _, what = name.partition(".")
    return getattr(import_module(f"firmware.dsp.{module}"), what)


def split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Exact ones and floats of a block's own figures."""
    return ({k: v for k, v in values.items() if not isinstance(v, float)}, {k: v for k, v in values.items() if isinstance(v, float)})


def echo(read: Callable[[str], bytes]) -> Answer:
    """The canceller at 8 kHz without and with residual control, and at 16 kHz; the disabler's tone is in its sound."""
    answer = empty()
    for name, rate, tail, nlp in (("linear", 8000, 64, False), ("nlp", 8000, 32, True), ("wide", 16000, 32, True)):
        canceller = block_class("echo.EchoCanceller")(rate, tail, nlp)
        far, near = read(f"far{rate}"), read(f"near{rate}")
        out = b""
        trace = []
        for reference, captured in zip(blocks(far, rate // 100), blocks(near, rate // 100), strict=True):
            out += canceller.process(reference, captured)
            trace.append({k: v for k, v in canceller.stats().items() if isinstance(v, bool)})
        answer["sounds"][name] = out.hex()
        exact, floats = split(canceller.stats())
        answer["decisions"][name] = [exact, trace]
        answer["figures"][name] = floats
    return answer


def detectors(read: Callable[[str], bytes]) -> Answer:
    """DTMF, call progress tones and the learner, fax and modem tones, alerting tones, caller id."""
    answer = empty()
    for rate in (8000, 16000):
        dtmf = block_class("dtmf.DtmfDetector")(rate)
        events = [event for block in blocks(read(f"dtmf{rate}"), rate // 100) for event in dtmf.feed(block)]
        answer["decisions"][f"dtmf{rate}"] = [[e.digit, e.start_ms, e.duration_ms] for e in events]
        answer["figures"][f"dtmf{rate} level"] = {str(number): event.level_dbm0 for number, event in enumerate(events)}
        answer["figures"][f"dtmf{rate} twist"] = {str(number): event.twist_db for number, event in enumerate(events)}
    tone = block_class("tone.ToneDetector")((425.0,), (350, 350))
    cycles = []
    for block in blocks(read("busy")):
        tone.feed(block)
        cycles.append([tone.cycles, tone.heard])
    answer["decisions"]["tone"] = cycles
    answers = block_class("answer_tone.AnswerToneDetector")(8000)
    found = [event for block in blocks(read("answer")) for event in answers.feed(block)]
    answer["decisions"]["answer"] = [[event.kind, event.start_ms_ago, event.duration_ms] for event in found]
    alert = block_class("cas.CasDetector")(8000)
    answer["decisions"]["alert"] = [[e.kind, e.end_ms, e.duration_ms] for block in blocks(read("alert")) for e in alert.feed(block)]
    learner = block_class("learner.ToneLearner")(8000)
    learner.feed(read("busy"))
    learned = learner.learn()
    answer["decisions"]["learned"] = [learner.reason] if learned is None else [list(learned.cadence_ms), learned.repetitions]
    answer["figures"]["learned"] = {} if learned is None else {str(k): freq for k, freq in enumerate(learned.freqs_hz)}
    for standard in ("bell202", "v23"):
        receiver = block_class("fsk.CallerIdReceiver")(standard, 8000)
        heard = [[message.hex() for message in receiver.feed(block)] + [receiver.carrier] for block in blocks(read(standard))]
        answer["decisions"][standard] = [heard, receiver.errors]
    return answer


def voice(read: Callable[[str], bytes]) -> Answer:
    """Codecs, resampling, concealment, filters, meters."""
    answer = empty()
    sound, wide = read("far8000"), read("far16000")
    for kind, rate in (("pcma", 8000), ("pcmu", 8000), ("g722", 16000)):
        codec = block_class("codec.VoiceCodec")(kind, rate)
        coded = [codec.encode(block) for block in blocks(wide if rate == 16000 else sound, rate // 50)]
        answer["decisions"][kind] = b"".join(coded).hex()
        answer["sounds"][kind] = b"".join(codec.decode(packet) for packet in coded).hex()
    for name, made in (("highpass", block_class("highpass.HighPassFilter")(8000)), ("agc", block_class("agc.GainControl")(8000)),
                       ("up", block_class("resample.Resampler")(8000, 16000))):
        answer["sounds"][name] = b"".join(made.process(block) for block in blocks(sound)).hex()
    answer["sounds"]["down"] = b"".join(map(block_class("resample.Resampler")(16000, 8000).process, blocks(wide, 160))).hex()
    concealer, out = block_class("conceal.Concealer")(8000), b""
    for number, block in enumerate(blocks(sound, 160)):
        out += concealer.lost(160) if number % 11 in (4, 5) else concealer.received(block)
    answer["sounds"]["concealer"] = out.hex()
    noise = block_class("comfort.ComfortNoise")()
    noise.learn(sound)
    answer["decisions"]["comfort noise"] = noise.encode().hex()
    answer["sounds"]["comfort noise"] = noise.make(4000).hex()
    activity = block_class("vad.VoiceActivity")(8000)
    answer["decisions"]["voice activity"] = [activity.feed(block) for block in blocks(sound)]
    buffer, tick, given = block_class("jitter_buffer.JitterBuffer")(20, 200, "pcma"), 0, b""
    kinds = []
    for number, packet in enumerate(blocks(sound, 80)):  # its bytes taken for A-law: 20 ms a packet, each seventh lost
        if number % 7 != 3:
            buffer.put(tick, number, 160 * number, packet)
        for _ in range(2):
            kind, out = buffer.get(tick)
            kinds.append(kind)
            given += out
            tick += 1
    answer["decisions"]["jitter buffer"] = kinds
    answer["sounds"]["jitter buffer"] = given.hex()
    meter = block_class("activity.ActivityMeter")(8000)
    segments = [segment for far, near in zip(blocks(sound), blocks(read("near8000")), strict=True) for segment in meter.feed(near, far)]
    answer["decisions"]["activity"] = [[s.direction, s.start_ms, s.end_ms, s.overlap_ms] for s in segments]
    return answer


def senders(_: Callable[[str], bytes]) -> Answer:
    """What makes sound: keys, tones, caller id."""
    answer = empty()
    message, sender = bytes([4, 2, 49, 50, 151]), block_class("fsk.FskTransmitter")
    for name, made in (("dtmf", block_class("dtmf.DtmfGenerator")("159D*0#", 60, 50)), ("bell202", sender(message, "bell202")),
                       ("tone", block_class("tone.ToneGenerator")((350.0, 440.0))), ("v23", sender(message, "v23"))):
        answer["sounds"][name] = b"".join(made.generate(80) for _ in range(90)).hex()
    return answer


GROUPS = {"echo": echo, "detectors": detectors, "voice": voice, "senders": senders}


def main() -> None:
    """One group on the sounds of a folder."""
    group, folder = sys.argv[1], Path(sys.argv[2])
    answer = GROUPS[group](lambda name: (folder / f"{name}.raw").read_bytes())
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
