from collections.abc import Sequence

from typing_extensions import Buffer

from firmware.line.tones import ToneSpec

class ProgressEvent:
    name: str
    heard: bool
    cycles: int
    start_ms_ago: int
    confidence: float
    level_dbm0: float
    freq_hz: float
    purity: float
    deviation: float
    unrest: float

class ProgressDetector:
    def __init__(self, tones: Sequence[ToneSpec], sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> list[ProgressEvent]: ...
