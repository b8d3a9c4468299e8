from typing import Literal, NamedTuple

from typing_extensions import Buffer

class LineSignal(NamedTuple):
    kind: Literal["message", "damaged", "call-waiting", "alert"]
    standard: Literal["", "bell202", "v23"]
    payload: bytes

class CallerIdListener:
    def __init__(self, sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> list[LineSignal]: ...
