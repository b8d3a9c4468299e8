from typing_extensions import Buffer

class AnswerToneEvent:
    kind: str
    start_ms_ago: int
    duration_ms: int
    level_dbm0: float
    confidence: float

class AnswerToneDetector:
    def __init__(self, sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> list[AnswerToneEvent]: ...
