"""Signal processing and the media engine (L2): Cython modules whose C functions run in the media tick.

The names below are thin wrappers over the same C structs that the tick runs; they are loaded when first asked for, so that a
process which needs none of them (the parent) loads no extension.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware.dsp.activity import ActivityMeter
    from firmware.dsp.agc import GainControl
    from firmware.dsp.answer_tone import AnswerToneDetector, AnswerToneEvent
    from firmware.dsp.cas import CasDetector, CasEvent, CasGenerator
    from firmware.dsp.cid import CallerIdListener, LineSignal
    from firmware.dsp.codec import VoiceCodec
    from firmware.dsp.comfort import ComfortNoise
    from firmware.dsp.conceal import Concealer
    from firmware.dsp.dtmf import DtmfDetector, DtmfEvent, DtmfGenerator
    from firmware.dsp.echo import EchoCanceller
    from firmware.dsp.echo_score import EchoScore
    from firmware.dsp.fsk import CallerIdReceiver, FskTransmitter
    from firmware.dsp.highpass import HighPassFilter
    from firmware.dsp.jitter_buffer import JitterBuffer
    from firmware.dsp.learner import LearnedTone, ToneLearner
    from firmware.dsp.meter import LevelMeter
    from firmware.dsp.progress import ProgressDetector, ProgressEvent
    from firmware.dsp.resample import Resampler
    from firmware.dsp.stretch import TimeScaler
    from firmware.dsp.tone import ToneDetector, ToneGenerator
    from firmware.dsp.vad import VoiceActivity

_HOME = {
    "ActivityMeter": "activity",
    "AnswerToneDetector": "answer_tone",
    "AnswerToneEvent": "answer_tone",
    "CallerIdListener": "cid",
    "CallerIdReceiver": "fsk",
    "CasDetector": "cas",
    "CasEvent": "cas",
    "CasGenerator": "cas",
    "ComfortNoise": "comfort",
    "Concealer": "conceal",
    "DtmfDetector": "dtmf",
    "DtmfEvent": "dtmf",
    "DtmfGenerator": "dtmf",
    "EchoCanceller": "echo",
    "EchoScore": "echo_score",
    "FskTransmitter": "fsk",
    "GainControl": "agc",
    "HighPassFilter": "highpass",
    "JitterBuffer": "jitter_buffer",
    "LearnedTone": "learner",
    "LevelMeter": "meter",
    "LineSignal": "cid",
    "ProgressDetector": "progress",
    "ProgressEvent": "progress",
    "Resampler": "resample",
    "TimeScaler": "stretch",
    "ToneDetector": "tone",
    "ToneGenerator": "tone",
    "ToneLearner": "learner",
    "VoiceActivity": "vad",
    "VoiceCodec": "codec",
}

__all__ = [
    "ActivityMeter",
    "AnswerToneDetector",
    "AnswerToneEvent",
    "CallerIdListener",
    "CallerIdReceiver",
    "CasDetector",
    "CasEvent",
    "CasGenerator",
    "ComfortNoise",
    "Concealer",
    "DtmfDetector",
    "DtmfEvent",
    "DtmfGenerator",
    "EchoCanceller",
    "EchoScore",
    "FskTransmitter",
    "GainControl",
    "HighPassFilter",
    "JitterBuffer",
    "LearnedTone",
    "LevelMeter",
    "LineSignal",
    "ProgressDetector",
    "ProgressEvent",
    "Resampler",
    "TimeScaler",
    "ToneDetector",
    "ToneGenerator",
    "ToneLearner",
    "VoiceActivity",
    "VoiceCodec",
]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
