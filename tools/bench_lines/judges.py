"""Who decides that the far end hung up: ours, spandsp's supervisory tones, and a plain counter of cadences. Same sound, same run.

Each judge gets the sound of a call in blocks of 10 ms and says at which ms it would hang up; after a hang-up it begins anew, as the
next call would. Ours is what runs in the box: the engine's tone trackers and key detector in front of the FXO machine in conversation, set
up by the machine's own wish (`Detect`), so hints, vetoes and company count. The plain counter is written after the published description
of Asterisk's `busydetect` (also the UCM's "busy tone count"): sound and silence by mean magnitude in blocks of 20 ms; the last N
sounds and the last N silences must each lie within 10 % of their mean, and between 75 ms and 3.1 s. It knows no frequency.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import numpy as np

from firmware.config.schema.ports import FxoLine
from firmware.dsp import DtmfDetector, ProgressDetector
from firmware.line import signals as s
from firmware.line.disconnect import Company
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES

from .shared import peers
from .sounds import RELEASE

BLOCK_MS: Final = 10                     # as the engine's tick
BLOCK: Final = 160                       # bytes
FRAME_MS: Final = 20                     # of the plain counter
MAGNITUDE: Final = 256.0                # mean of |x| of 16 bit that is sound: the value in the configuration as shipped
START_MS: Final = 100_000


class Judge(Protocol):
    """Hears calls of one line."""

    def run(self, sound: bytes) -> list[float]:
        """The ms after the beginning at which it hung up."""
        ...


class Ours:
    """Trackers, key detector and FXO machine of one country. `hints` counts half signs."""

    def __init__(self, country: str, company: Company = "alone", cycles: int = 3) -> None:
        self._country, self._company = country, company
        self._config = FxoLine(busy_cycles=cycles)
        self.hints = 0
        self.evidence: list[s.Ended] = []
        self._now = START_MS
        self._begin()

    def _begin(self) -> None:
        """The next call: rings, is answered, talks."""
        machine = Fxo(self._config, PROFILES[self._country])
        machine.start(self._now - 20_000)
        machine.receive(s.Battery(self._now - 19_000, True, 48.0))
        at = self._now - 15_000
        for _ in range(2):
            for index, ms in enumerate(PROFILES[self._country].ring_cadence_ms):
                machine.receive(s.RingBurst(at, index % 2 == 0))
                at += ms
        machine.send(s.Answer(at))
        machine.receive(s.LoopCurrent(at + 30, True, 25.0))
        machine.expire(at + 1000)
        if machine.state.state != "TALKING":
            raise RuntimeError(f"the machine of {self._country} is {machine.state.state}, not in conversation")
        if self._company != "alone":
            machine.send(s.Company(at + 1000, self._company))
        wish = next(action for action in reversed(machine.actions()) if isinstance(action, s.Detect))
        machine.events()
        self._now = max(self._now, at + 1000)
        self._machine = machine
        self._tones = ProgressDetector(wish.tones)
        self._keys = DtmfDetector()

    def run(self, sound: bytes) -> list[float]:
        found: list[float] = []
        for at in range(0, len(sound), BLOCK):
            block = sound[at:at + BLOCK]
            self._now += BLOCK_MS
            now = self._now
            facts: list[s.Fact] = [s.Digit(now, key.digit) for key in self._keys.feed(block)]
            for event in self._tones.feed(block):
                start = now - event.start_ms_ago
                self.hints += event.heard and event.name.endswith("?")
                facts.append(s.ToneHeard(now, event.name, event.cycles, start, event.confidence) if event.heard
                             else s.ToneStopped(now, event.name))
            for fact in facts:
                self._machine.receive(fact)
            due = self._machine.state.timers.get("tone")
            if due is not None and due <= now:
                self._machine.expire(now)
            if facts or due is not None:
                over = [event for event in self._machine.events() if isinstance(event, s.Ended)]
                if over:
                    self.evidence += over
                    found.append(at / 16.0 + BLOCK_MS)
                    self._begin()
        return found


class Spandsp:
    """spandsp's call progress detector with every release tone of the country, lengths +-15 %, three cycles."""

    def __init__(self, country: str) -> None:
        self._country = country
        self._begin()

    def _begin(self) -> None:
        tones = []
        for name in RELEASE[self._country]:
            spec = PROFILES[self._country].tones[name]
            if spec.phase_levels_db:
                continue                                 # it tells no levels apart: this one sounds like busy to it
            parts = [(round(f[0]), round(f[1]) if len(f) > 1 else 0, int(0.85 * ms), int(1.15 * ms))
                     for i, ms in enumerate(spec.cadence_ms) for f in [spec.freqs_hz if i % 2 == 0 else (0.0,)]]
            tones.append(parts * 3)
        self._detector = peers.SpandspTones(*tones)

    def run(self, sound: bytes) -> list[float]:
        found = []
        for at in range(0, len(sound), BLOCK):
            if any(code >= 0 for code in self._detector.feed(sound[at:at + BLOCK])):
                found.append(at / 16.0 + BLOCK_MS)
                self._begin()
        return found


class Counter:
    """The plain cadence counter; `count` as in `busycount`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._begin()

    def _begin(self) -> None:
        self._sounds: deque[float] = deque(maxlen=self._count)
        self._silences: deque[float] = deque(maxlen=self._count)
        self._sounding, self._length = False, 0.0

    def run(self, sound: bytes) -> list[float]:
        x = np.abs(np.frombuffer(sound, "<i2").astype(np.float32))
        blocks = x[:len(x) // 160 * 160].reshape(-1, 160).mean(axis=1) > MAGNITUDE
        found = []
        for index, loud in enumerate(blocks.tolist()):
            if loud == self._sounding:
                self._length += FRAME_MS
                continue
            (self._sounds if self._sounding else self._silences).append(self._length)
            self._sounding, self._length = loud, float(FRAME_MS)
            if loud and self._equal(self._sounds) and self._equal(self._silences):
                found.append((index + 1) * float(FRAME_MS))
                self._begin()
        return found

    def _equal(self, lengths: deque[float]) -> bool:
        if len(lengths) < self._count:
            return False
        mean = sum(lengths) / len(lengths)
        return 75.0 <= mean <= 3100.0 and all(abs(one - mean) <= 0.1 * mean for one in lengths)
