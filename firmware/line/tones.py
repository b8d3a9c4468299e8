"""What a signalling tone is: one description, used both to generate and to recognise it (L1, pure).

Theory of operation
-------------------
A tone is a set of simultaneous sine waves switched by a cadence (ITU-T E.180/Q.35). The same `ToneSpec` goes to the
engine's player (`Media.tone`), which repeats the cadence until stopped, and to its detector (`Media.detect`), which
reports `ToneHeard` after `cycles` equal cycles. Invariants: frequencies are within the telephone band, a cadence is a
sequence of (on, off) pairs starting with a sounding phase, and an empty cadence is a continuous tone.
"""

from __future__ import annotations

import msgspec

#: Most simultaneous frequencies of one tone, and most cadence phases: limits of the engine's generator and detector.
MAX_FREQUENCIES = 4
MAX_PHASES = 8


class ToneSpec(msgspec.Struct, frozen=True):
    """One signalling tone.

    `freqs_hz`: 1 to 4 simultaneous frequencies, 50-3900 Hz. `level_dbm0`: level of each frequency (dBm0, 0 dBm0 sine =
    peak 22 750). `cadence_ms`: (on, off, on, off, ...) up to 8 phases, () = continuous. `cycles`: equal cycles that
    make a detection; for a continuous tone, units of 100 ms. Raises ValueError for anything outside these limits.
    """

    name: str
    freqs_hz: tuple[float, ...]
    level_dbm0: float = -10.0
    cadence_ms: tuple[int, ...] = ()
    cycles: int = 3

    def __post_init__(self) -> None:
        if not 1 <= len(self.freqs_hz) <= MAX_FREQUENCIES:
            raise ValueError(f"tone {self.name!r}: {len(self.freqs_hz)} frequencies, give 1 to {MAX_FREQUENCIES}")
        if any(not 50.0 <= f <= 3900.0 for f in self.freqs_hz):
            raise ValueError(f"tone {self.name!r}: frequencies {self.freqs_hz} Hz, each must be 50 to 3900 Hz")
        if len(self.cadence_ms) > MAX_PHASES or len(self.cadence_ms) % 2:
            raise ValueError(f"tone {self.name!r}: cadence {self.cadence_ms} ms, give on/off pairs, at most {MAX_PHASES} phases")
        if any(phase < 10 for phase in self.cadence_ms):
            raise ValueError(f"tone {self.name!r}: cadence {self.cadence_ms} ms, each phase must last 10 ms or more")
        if not -60.0 <= self.level_dbm0 <= 3.0:
            raise ValueError(f"tone {self.name!r}: level {self.level_dbm0} dBm0, must be -60 to 3 dBm0")
        if self.cycles < 1:
            raise ValueError(f"tone {self.name!r}: {self.cycles} cycles, must be 1 or more")

    @property
    def period_ms(self) -> int:
        """Length of one cadence cycle in ms; 0 for a continuous tone."""
        return sum(self.cadence_ms)

    def detect_ms(self) -> int:
        """Time from the first sounding sample until a detection is possible, in ms."""
        return self.cycles * (self.period_ms or 100)
