from typing import NamedTuple

class DtmfPlan(NamedTuple):
    low_dbm0: float
    high_dbm0: float
    on_ms: int
    off_ms: int

DTMF_PLANS: dict[str, DtmfPlan]

class DtmfGenerator:
    def __init__(
        self,
        digits: str,
        on_ms: int = 100,
        off_ms: int = 100,
        level_dbm0: float = -9.0,
        sample_rate: int = 8000,
        high_dbm0: float | None = None,
    ) -> None: ...
    @classmethod
    def for_country(cls, digits: str, country: str, sample_rate: int = 8000) -> DtmfGenerator: ...
    def generate(self, samples: int) -> bytes: ...
    @property
    def running(self) -> bool: ...
