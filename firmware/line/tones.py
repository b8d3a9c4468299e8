"""What a signalling tone is: one description, used both to generate and to recognise it (L1, pure).

Theory of operation
-------------------
A tone is a set of simultaneous sine waves switched by a cadence (ITU-T E.180/Q.35). The same `ToneSpec` goes to the
engine's player (`Media.tone`), which repeats the cadence until stopped, and to its detector (`Media.detect`), which
reports `ToneHeard` after `cycles` equal cycles. Invariants: frequencies are within the telephone band, a cadence is a
sequence of (on, off) pairs starting with a sounding phase, and an empty cadence is a continuous tone. Where the frequency
or the level changes from phase to phase (special information tone, Australian congestion) `phase_freqs_hz` and `phase_levels_db`
say so; then sounding phases may follow each other without a pause.
"""

from __future__ import annotations

import msgspec

#: Most simultaneous frequencies of one tone, and most cadence phases: limits of the engine's generator and detector.
MAX_FREQUENCIES = 4
MAX_PHASES = 8


class ToneSpec(msgspec.Struct, frozen=True):
    """One signalling tone.

    `freqs_hz`: 1 to 4 frequencies, 50-3900 Hz. `level_dbm0`: level of each frequency (dBm0, 0 dBm0 sine =
    peak 22 750). `cadence_ms`: (on, off, on, off, ...) up to 8 phases, () = continuous. `cycles`: equal cycles that
    make a detection; for a continuous tone, units of 100 ms. `phase_freqs_hz`: for each phase those of `freqs_hz` that sound
    in it, () in a pause; empty = all of them and none by turns. `phase_levels_db`: for each phase its level against `level_dbm0`;
    empty = 0 dB. A cycle of three frequencies one after the other is complete without its last pause (E.180 special information
    tone: an announcement may follow at once). Raises ValueError for anything outside these limits.
    """

    name: str
    freqs_hz: tuple[float, ...]
    level_dbm0: float = -10.0
    cadence_ms: tuple[int, ...] = ()
    cycles: int = 3
    phase_freqs_hz: tuple[tuple[float, ...], ...] = ()
    phase_levels_db: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.freqs_hz) <= MAX_FREQUENCIES:
            raise ValueError(f"tone {self.name!r}: {len(self.freqs_hz)} frequencies, give 1 to {MAX_FREQUENCIES}")
        if any(not 50.0 <= f <= 3900.0 for f in self.freqs_hz):
            raise ValueError(f"tone {self.name!r}: frequencies {self.freqs_hz} Hz, each must be 50 to 3900 Hz")
        if len(self.cadence_ms) > MAX_PHASES or (len(self.cadence_ms) % 2 and not self.phase_freqs_hz):
            raise ValueError(f"tone {self.name!r}: cadence {self.cadence_ms} ms, give on/off pairs, at most {MAX_PHASES} phases")
        if any(phase < 10 for phase in self.cadence_ms):
            raise ValueError(f"tone {self.name!r}: cadence {self.cadence_ms} ms, each phase must last 10 ms or more")
        if not -60.0 <= self.level_dbm0 <= 3.0:
            raise ValueError(f"tone {self.name!r}: level {self.level_dbm0} dBm0, must be -60 to 3 dBm0")
        if self.cycles < 1:
            raise ValueError(f"tone {self.name!r}: {self.cycles} cycles, must be 1 or more")
        self._check_phases()

    def _check_phases(self) -> None:
        count = len(self.cadence_ms)
        if self.phase_freqs_hz:
            if len(self.phase_freqs_hz) != count:
                raise ValueError(f"tone {self.name!r}: frequencies of {len(self.phase_freqs_hz)} phases, the cadence has {count}")
            if any(f not in self.freqs_hz for sounding in self.phase_freqs_hz for f in sounding):
                raise ValueError(f"tone {self.name!r}: a phase sounds at a frequency that is none of {self.freqs_hz} Hz")
            if not self.phase_freqs_hz[0]:
                raise ValueError(f"tone {self.name!r}: the first phase is a pause, it must sound")
        if self.phase_levels_db and len(self.phase_levels_db) != count:
            raise ValueError(f"tone {self.name!r}: levels of {len(self.phase_levels_db)} phases, the cadence has {count}")
        if any(not -40.0 <= level <= 20.0 or self.level_dbm0 + level > 3.0 for level in self.phase_levels_db):
            raise ValueError(f"tone {self.name!r}: levels {self.phase_levels_db} dB, each must be -40 to 20 dB and the sum at most 3 dBm0")

    def phase_masks(self) -> tuple[int, ...]:
        """`phase_freqs_hz` as bits: bit k of a phase = `freqs_hz[k]` sounds in it; empty where that is empty."""
        return tuple(sum(1 << self.freqs_hz.index(f) for f in set(sounding)) for sounding in self.phase_freqs_hz)

    def decided_ms(self) -> int:
        """From the first sound of a cycle to its being known; 100 ms units of a continuous tone count as one."""
        if not self.cadence_ms:
            return self.cycles * 100
        last_pause = self.phase_freqs_hz and not self.phase_freqs_hz[-1]
        return self.period_ms - (self.cadence_ms[-1] if last_pause else 0)

    @property
    def period_ms(self) -> int:
        """Length of one cadence cycle in ms; 0 for a continuous tone."""
        return sum(self.cadence_ms)

    def detect_ms(self) -> int:
        """Time from the first sounding sample until a detection is possible, in ms."""
        return self.cycles * (self.period_ms or 100)
