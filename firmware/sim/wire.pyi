from collections.abc import Sequence

from firmware.sim.hearing import Ear
from firmware.sim.signal import Mouth

HOOK: int
RING_EDGE: int
FEED: int
HEARD: int
PROGRAM_END: int
CALLER_ID: int
FEEDS: dict[int, str]

class Wire:
    mouth: Mouth
    ear: Ear
    slot: int
    flags: int
    noise: Mouth
    hum_volts: float
    def __init__(self, slot: int) -> None: ...
    def hybrid(
        self, *, erl_db: float = 18.0, delay_ms: float = 1.0, taps: int = 8, seed: int = 1, coefficients: Sequence[float] | None = None
    ) -> None: ...
    def hiss(self, level_dbm0: float, seed: int = 1) -> None: ...

class TrunkWire(Wire):
    feed_volts: float
    resistance: float
    ring_volts: float
    ring_hz: float
    reversed: bool
    opened: bool
    cut: bool
    stuck: bool
    parallel: bool
    stray_ms: int
    @property
    def off_hook(self) -> bool: ...
    @property
    def milliamps(self) -> float: ...
    @property
    def volts(self) -> float: ...
    @property
    def ringing(self) -> bool: ...
    @property
    def ring_burst(self) -> bool: ...
    @property
    def bursts(self) -> int: ...
    def ring(self, cadence_ms: Sequence[int]) -> None: ...
    def stop_ring(self) -> None: ...
    def take_hooks(self) -> list[tuple[int, bool]]: ...

class PhoneWire(Wire):
    resistance: float
    ren: float
    leak_ohms: float
    caller_id_ear: Ear
    cut: bool
    stuck: bool
    shorted: bool
    earthed: bool
    reversed: bool
    @property
    def lifted(self) -> bool: ...
    @property
    def feed(self) -> int: ...
    @property
    def milliamps(self) -> float: ...
    @property
    def volts(self) -> float: ...
    @property
    def moving(self) -> bool: ...
    def hook(self, program: Sequence[tuple[bool, int]]) -> None: ...
