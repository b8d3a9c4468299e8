from typing import Literal

from typing_extensions import Buffer

Standard = Literal["bell202", "v23"]

class CallerIdReceiver:
    errors: int
    def __init__(self, standard: Literal["bell202", "v23", "auto"] = "bell202", sample_rate: int = 8000) -> None: ...
    def feed(self, samples: Buffer) -> list[bytes]: ...
    @property
    def carrier(self) -> bool: ...
    @property
    def standard(self) -> Literal["bell202", "v23", "auto"]: ...

class FskTransmitter:
    def __init__(
        self,
        payload: Buffer,
        standard: Standard = "bell202",
        level_dbm0: float = -13.5,
        sample_rate: int = 8000,
        seizure_bits: int = 300,
        mark_bits: int = 180,
    ) -> None: ...
    def generate(self, samples: int) -> bytes: ...
    @property
    def running(self) -> bool: ...
    @property
    def samples(self) -> int: ...
