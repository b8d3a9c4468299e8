from typing import TypedDict

from typing_extensions import Buffer

class JitterFigures(TypedDict):
    received: int
    missing: int
    bursts: int
    longest: int
    duplicate: int
    refused: int
    recovered: int
    concealed: int
    pause: int
    removed: int
    added: int
    restarts: int
    jitter_ms: float
    delay_ms: float
    target_ms: float
    lost: int
    late: int
    inserted: int
    dropped: int

class JitterBuffer:
    def __init__(self, least_ms: int = 20, most_ms: int = 200, codec: str = "pcma") -> None: ...
    def put(self, tick: int, seq: int, timestamp: int, payload: Buffer, kind: str | None = None, marker: bool = False,
            ssrc: int = 1) -> None: ...
    def get(self, tick: int) -> tuple[int, bytes]: ...
    def restart(self) -> None: ...
    def figures(self) -> JitterFigures: ...
    @property
    def size(self) -> int: ...
    def check(self) -> bool: ...
