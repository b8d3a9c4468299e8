from typing import NamedTuple

from typing_extensions import Buffer

class TalkSegment(NamedTuple):
    direction: str
    start_ms: int
    end_ms: int
    level_dbm0: float
    overlap_ms: int

class ActivityMeter:
    def __init__(self, sample_rate: int = 8000) -> None: ...
    def feed(self, near: Buffer, far: Buffer) -> list[TalkSegment]: ...
    @property
    def talking(self) -> tuple[bool, bool]: ...
