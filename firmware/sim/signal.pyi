from collections.abc import Iterable, Sequence
from os import PathLike

RATE: int
PEAK_0_DBM0: float
KEY_ROWS: tuple[float, ...]
KEY_COLUMNS: tuple[float, ...]
KEYS: str
FSK_TONES: dict[str, tuple[float, float]]

def peak_of(level_dbm0: float) -> float: ...

class Source:
    @property
    def done(self) -> bool: ...

class ToneSource(Source):
    def __init__(self, phases: Sequence[tuple[Sequence[float], float | Sequence[float], float]], cycles: int = 0) -> None: ...

class FskSource(Source):
    def __init__(
        self,
        payload: bytes,
        standard: str = "bell202",
        level_dbm0: float = -13.5,
        seizure: int = 300,
        marks: int = 180,
        rate: float = 1200.0,
    ) -> None: ...

class ClipSource(Source):
    def __init__(self, samples: bytes, loop: bool = False, gain_db: float = 0.0) -> None: ...

class NoiseSource(Source):
    def __init__(self, level_dbm0: float, seed: int = 1) -> None: ...

class Mouth:
    @property
    def active(self) -> bool: ...
    def play(self, source: Source) -> Source: ...
    def stop(self) -> None: ...
    def block(self) -> bytes: ...

def dtmf(
    digits: Iterable[str],
    *,
    on_ms: float = 100.0,
    off_ms: float = 100.0,
    low_dbm0: float = -9.0,
    high_dbm0: float = -7.0,
    lead_ms: float = 0.0,
) -> ToneSource: ...
def babble(seconds: float, seed: int = 1, level_dbm0: float = -18.0) -> bytes: ...
def read_wav(path: str | PathLike[str]) -> bytes: ...
def sound(text: str, seed: int = 1) -> Source: ...
def g711_encode(samples: bytes, alaw: bool) -> bytes: ...
def g711_decode(codes: bytes, alaw: bool) -> bytes: ...
