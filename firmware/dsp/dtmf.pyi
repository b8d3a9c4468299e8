from typing import NamedTuple

from typing_extensions import Buffer

from firmware.dsp.dtmf_send import DtmfGenerator as DtmfGenerator
from firmware.dsp.dtmf_send import DtmfPlan as DtmfPlan

class DtmfEvent(NamedTuple):
    digit: str
    start_ms: int
    duration_ms: int
    level_dbm0: float
    twist_db: float

class DtmfDetector:
    def __init__(self, sample_rate: int = 8000, *, purity: float = ...) -> None: ...
    def feed(self, samples: Buffer) -> list[DtmfEvent]: ...
    def feed_edges(self, samples: Buffer) -> list[tuple[bool, DtmfEvent]]: ...
    @property
    def tentative(self) -> bool: ...
