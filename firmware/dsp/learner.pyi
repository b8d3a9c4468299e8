from typing_extensions import Buffer

class LearnedTone:
    freqs_hz: tuple[float, ...]
    cadence_ms: tuple[int, ...]
    level_dbm0: float
    phase_levels_db: tuple[float, ...]
    repetitions: int
    confidence: float
    purity: float
    jitter: float
    start_ms_ago: int

class ToneLearner:
    reason: str
    def __init__(self, sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> None: ...
    def learn(self) -> LearnedTone | None: ...
    def clear(self) -> None: ...
