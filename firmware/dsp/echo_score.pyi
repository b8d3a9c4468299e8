from typing import NamedTuple, TypedDict

from typing_extensions import Buffer

class EchoWord(NamedTuple):
    start_ms: int
    end_ms: int
    residual_db: float
    delay_ms: int
    masked: bool

class EchoFiguresHeard(TypedDict):
    words: int
    masked: int
    audible: int
    worst_db: float
    mean_db: float
    background_dbm0: float
    delay_ms: int

class EchoScore:
    def __init__(self, sample_rate: int = 8000, max_delay_ms: int = 300) -> None: ...
    def feed(self, reference: Buffer, returned: Buffer) -> list[EchoWord]: ...
    def finish(self) -> list[EchoWord]: ...
    def figures(self) -> EchoFiguresHeard: ...
