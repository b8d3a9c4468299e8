from typing import Literal, NamedTuple

from typing_extensions import Buffer

class CasEvent(NamedTuple):
    kind: Literal["call-waiting", "alert"]
    end_ms: int
    duration_ms: int
    level_dbm0: float
    twist_db: float

class CasDetector:
    def __init__(self, sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> list[CasEvent]: ...
    @property
    def present(self) -> bool: ...

class CasGenerator:
    def __init__(self, duration_ms: int = 80, level_dbm0: float = -15.0, sample_rate: int = 8000) -> None: ...
    def generate(self, samples: int) -> bytes: ...
    @property
    def running(self) -> bool: ...
