from typing import TypedDict

from typing_extensions import Buffer

class EchoFigures(TypedDict):
    erl_db: float
    erle_db: float
    noise_dbm0: float
    delay_ms: int

class EchoCanceller:
    def __init__(self, sample_rate: int = 8000, tail_ms: int = 128, nlp: bool = True) -> None: ...
    def process(self, reference: Buffer, captured: Buffer) -> bytes: ...
    def stats(self) -> EchoFigures: ...
    def reset(self) -> None: ...
