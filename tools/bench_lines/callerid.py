"""Who calls? Caller id by scheme, level, noise and length of the line, from the sound on the wire to the number that is offered.

A message is made by a plain modulator (`tests/dsp/cid_signals.py`) or a plain key generator, put where the scheme has it (before the first
ring, or between the first and the second), with the alerting tone where there is one and the transient that ringing leaves, and sent
over an unloaded pair of 0.5 mm (168 ohm/km, 50 nF/km: attenuation in dB = 8.686 sqrt(w R C / 2) km, so the highs fall). What arrives goes
through the product's receivers (both FSK standards at once, alerting tones, keys) and their findings through the FXO machine, set to
"auto"; it counts when exactly the number that was sent is offered. Ringing itself is told to the machine; how it is found is the section
`ring`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware.call.model import Party
from firmware.config.schema.ports import FxoLine
from firmware.dsp import DtmfDetector
from firmware.dsp.cid import CallerIdListener
from firmware.line import callerid
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES

from .shared import Goal, Section, Table, peers

cid_signals: Any = import_module("tests.dsp.cid_signals")
signals: Any = import_module("tests.dsp.signals")
Sound = NDArray[np.float64]

LENGTHS_KM: Final = (0.0, 2.0, 4.0, 6.0, 8.0)
NOISES: Final = (-65.0, -45.0, -36.0, -30.0)
LEVELS: Final = (-5.0, -13.5, -22.0, -30.0, -38.0)
RATIOS: Final = (20.0, 13.0, 10.0, 7.0)
SURE_DB: Final = 13.0                    # goal: nothing is lost where the weaker tone arrives this far above the noise
SURE_DBM0: Final = -40.0                 # and is not weaker than this
DRAWS: Final = 40


class Scheme(NamedTuple):
    """How an exchange sends the number."""

    name: str
    country: str
    kind: Literal["bell202", "v23", "dtmf"]
    place: Literal["before", "after"]
    form: str = "mdmf"
    reversal: bool = False
    alert: bool = False


SCHEMES: Final = (
    Scheme("Bell 202 MDMF after ring 1 (US)", "US", "bell202", "after"),
    Scheme("Bell 202 SDMF after ring 1 (CN)", "CN", "bell202", "after", "sdmf"),
    Scheme("V.23 MDMF after ring 1 (DE)", "DE", "v23", "after"),
    Scheme("V.23 MDMF before ring 1, reversal, alerting tone (UK)", "UK", "v23", "before", "mdmf", True, True),
    Scheme("DTMF before ring 1, reversal, D..C (CN)", "CN", "dtmf", "before", "D..C", True),
    Scheme("DTMF before ring 1, A..# (CN)", "CN", "dtmf", "before", "A..#"),
)


class Line(NamedTuple):
    """`level`: of FSK, or of each DTMF tone, as sent (dBm0); `noise`: where it arrives, 300 to 3400 Hz."""

    level: float = -13.5
    noise: float = -65.0
    km: float = 0.0


def loss_db(freq: float, km: float) -> float:
    """Attenuation of the pair."""
    return float(8.686 * np.sqrt(2.0 * np.pi * freq * 168.0 * 50e-9 / 2.0) * km)


def over_the_pair(x: Sound, km: float) -> Sound:
    """The sound at the other end, without phase."""
    if km <= 0.0:
        return x
    size = 1 << (len(x) - 1).bit_length()
    freq = np.fft.rfftfreq(size, 1.0 / 8000.0)
    gain = 10.0 ** (-8.686 * np.sqrt(2.0 * np.pi * freq * 168.0 * 50e-9 / 2.0) * km / 20.0)
    y: Sound = np.fft.irfft(np.fft.rfft(x, size) * gain, size)[:len(x)]
    return y


def message(rng: np.random.Generator, scheme: Scheme, number: str, level: float) -> tuple[Sound, bytes]:
    """The signal as sent, and its bytes."""
    if scheme.kind == "dtmf":
        keys = callerid.build_dtmf(Party(number), scheme.form)  # type: ignore[arg-type]
        deviation = (float(rng.uniform(-0.012, 0.012)), float(rng.uniform(-0.012, 0.012)))
        twist, on, off = float(rng.uniform(-3.0, 3.0)), float(rng.uniform(60.0, 90.0)), float(rng.uniform(60.0, 90.0))
        return np.concatenate([np.concatenate([signals.digit(rng, key, on, level, twist, deviation), signals.silence(off)])
                               for key in keys]), b""
    when = f"{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}{rng.integers(0, 24):02d}{rng.integers(0, 60):02d}"
    payload = callerid.build_sdmf(Party(number), when) if scheme.form == "sdmf" else callerid.build_mdmf(
        Party(number, "ANNA SMITH" if rng.random() < 0.5 else ""), when, PROFILES[scheme.country].caller_id.charset)
    bits = cid_signals.bits_of(payload, 300, 180 if scheme.kind == "bell202" else 80)
    return cid_signals.modulated(bits, scheme.kind, level, clock=float(rng.uniform(-0.008, 0.008)), twist=float(rng.uniform(-3.0, 3.0)),
                                 shift=(float(rng.uniform(-0.008, 0.008)), float(rng.uniform(-0.008, 0.008))),
                                 phase=float(rng.uniform(0.0, 6.28))), payload


def offered(rng: np.random.Generator, scheme: Scheme, line: Line) -> tuple[str, str, bytes, bytes]:
    """(number sent, number offered, the message's bytes, the sound around it) of one call."""
    number = "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(7, 13))))
    sent, payload = message(rng, scheme, number, line.level)
    profile = PROFILES[scheme.country]
    facts: list[s.Fact] = []
    parts: list[Sound] = []
    ms = 0.0

    def add(x: Sound) -> None:
        nonlocal ms
        parts.append(x)
        ms += len(x) / 8.0

    def ring() -> None:
        for index, length in enumerate(profile.ring_cadence_ms[:-1]):
            facts.append(s.RingBurst(round(ms), index % 2 == 0))
            add(signals.silence(length))                 # the receiver is short-circuited by the ringing; only its end is heard
        facts.append(s.RingBurst(round(ms), False))
        t = np.arange(4000) / 8000.0
        add(9000.0 * np.exp(-t / 0.08) * np.cos(2.0 * np.pi * profile.ring_hz * t + rng.uniform(0.0, 6.28)))

    add(signals.silence(200.0))
    if scheme.place == "after":
        ring()
        add(signals.silence(float(rng.uniform(50.0, 300.0))))
    elif scheme.reversal:
        facts.append(s.Polarity(round(ms), True))
        add(signals.silence(float(rng.uniform(250.0, 450.0))))
    if scheme.alert:
        a, b = rng.uniform(0.0, 6.28, 2)
        add(signals.sine(2130.0, 100.0, line.level - 3.0, 8000, a) + signals.sine(2750.0, 100.0, line.level - 3.0, 8000, b))
        add(signals.silence(60.0))
    add(sent)
    add(signals.silence(300.0 if scheme.place == "before" else max(300.0, profile.ring_gap_ms() - ms + profile.ring_burst_ms())))
    while sum(isinstance(fact, s.RingBurst) and fact.on for fact in facts) < 3 * len(profile.ring_cadence_ms) // 2:
        ring()
        add(signals.silence(profile.ring_gap_ms()))
    x = over_the_pair(np.concatenate(parts), line.km)
    x = x + cid_signals.band_noise(rng, len(x), line.noise)
    sound = np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes()
    return number, hear(scheme, facts, sound), payload, sound


def hear(scheme: Scheme, facts: list[s.Fact], sound: bytes) -> str:
    """What the product makes of it: the number offered, "" for none."""
    base = 100_000
    machine = Fxo(FxoLine(answer_after_rings=2), PROFILES[scheme.country])
    machine.start(base - 2000)
    machine.receive(s.Battery(base - 1900, True, 48.0))
    fsk, keys = CallerIdListener(), DtmfDetector()
    waiting = list(facts)
    asked = s.Detect()
    for at in range(0, len(sound), 160):
        now = base + at // 16
        while waiting and base + waiting[0].at <= now:
            machine.receive(type(waiting[0])(now, *[getattr(waiting[0], f) for f in waiting[0].__struct_fields__[1:]]))
            waiting.pop(0)
        for action in machine.actions():
            if isinstance(action, s.Detect):
                asked = action                           # nothing is heard that the machine did not ask for
        block = sound[at:at + 160]
        for one in fsk.feed(block):
            if one.kind == "message" and asked.fsk in ("auto", one.standard):
                machine.receive(s.FskMessage(now + 10, one.payload))
        for key in keys.feed(block):
            if asked.digits:
                machine.receive(s.Digit(now + 10, key.digit))
        machine.expire(now + 10)
        for event in machine.events():
            if isinstance(event, s.Offered):
                return event.caller.number
    return ""


class Count:
    """Calls of one kind of signal: where nothing may be lost, and everywhere."""

    def __init__(self) -> None:
        self.sure = self.lost = self.sure_wrong = self.sent = self.wrong = 0

    def add(self, cell: Cell, sure: bool) -> None:
        self.sent += cell.sent
        self.wrong += cell.wrong
        if sure:
            self.sure += cell.sent
            self.lost += cell.sent - cell.right
            self.sure_wrong += cell.wrong


class Cell:
    """Draws of one condition."""

    def __init__(self) -> None:
        self.sent = self.right = self.wrong = self.peer = self.peer_sent = 0

    def add(self, number: str, found: str, scheme: Scheme, payload: bytes, sound: bytes) -> None:
        self.sent += 1
        self.right += found == number
        self.wrong += found not in (number, "")
        if scheme.kind != "dtmf":
            self.peer_sent += 1
            self.peer += payload in peers.SpandspFsk(scheme.kind).feed(sound + bytes(1600))

    def text(self) -> str:
        own = f"{100.0 * self.right / self.sent:.0f}"
        return own if not self.peer_sent else f"{own} ({100.0 * self.peer / self.peer_sent:.0f})"


def ratio(scheme: Scheme, line: Line) -> tuple[float, float]:
    """Level of the weaker tone where it arrives, and its distance from the noise, dB."""
    highest = {"bell202": 2200.0, "v23": 2100.0, "dtmf": 1633.0}[scheme.kind]
    twist = 1.5                                          # each tone of up to 3 dB twist
    arrives = line.level - loss_db(highest, line.km) - twist
    return arrives, arrives - line.noise


def grid(rng: np.random.Generator, draws: int, section: Section, title: str, note: str, columns: list[str],
         rows: list[tuple[str, list[Line]]], counts: dict[str, Count]) -> None:
    """One table."""
    out: list[list[str | float | int]] = []
    for scheme in SCHEMES:
        for name, lines in rows:
            row: list[str | float | int] = [f"{scheme.name}, {name}"]
            for line in lines:
                cell = Cell()
                for _ in range(draws):
                    number, found, payload, sound = offered(rng, scheme, line)
                    cell.add(number, found, scheme, payload, sound)
                arrives, above = ratio(scheme, line)
                counts["DTMF" if scheme.kind == "dtmf" else "FSK"].add(cell, above >= SURE_DB and arrives >= SURE_DBM0)
                row.append(cell.text())
            out.append(row)
    section.tables.append(Table(title, ("scheme", *columns), out, note))


def measure(quick: bool, seed: int) -> Section:
    """40 calls for each cell; `quick` a tenth."""
    rng = np.random.default_rng([seed, 11])
    section = Section("callerid", "Who calls?")
    draws = DRAWS // 10 if quick else DRAWS
    beside = "in brackets spandsp's receiver of the right standard on the same sound, whose message was among what it gave"
    counts = {"FSK": Count(), "DTMF": Count()}
    grid(rng, draws, section, "Numbers offered, % of calls, by length of the line and noise",
         "Sent at -13.5 dBm0 (DTMF: each tone) over an unloaded 0.5 mm pair; noise of 300 to 3400 Hz where it arrives; "
         f"{draws} calls each; {beside}", [f"noise {noise:g} dBm0" for noise in NOISES],
         [(f"{km:g} km", [Line(-13.5, noise, km) for noise in NOISES]) for km in LENGTHS_KM], counts)
    grid(rng, draws, section, "Numbers offered, % of calls, by level and ratio of signal to noise",
         f"Short line; level as it arrives (DTMF: each tone); {draws} calls each; {beside}", [f"{one:g} dB" for one in RATIOS],
         [(f"{level:g} dBm0", [Line(level, level - one) for one in RATIOS]) for level in LEVELS], counts)
    section.tables.append(Table(
        "Wrong numbers", ("signal", "calls", "wrong numbers", "calls where nothing may be lost", "wrong there"),
        [(kind, float(n.sent), float(n.wrong), float(n.sure), float(n.sure_wrong)) for kind, n in counts.items()],
        "Over both tables above. A data message carries a checksum; keys carry none, so a key that drowns in noise leaves a hole that "
        "nothing shows"))
    where = f"where every tone arrives above {SURE_DBM0:g} dBm0 and {SURE_DB:g} dB above the noise"
    section.goals += [
        Goal(f"numbers lost {where}, of {sum(n.sure for n in counts.values())}", float(sum(n.lost for n in counts.values())), 0.0, "calls",
             False),
        Goal("wrong numbers offered, FSK on any line", float(counts["FSK"].wrong), 0.0, "calls", False),
        Goal(f"wrong numbers offered, DTMF {where}", float(counts["DTMF"].sure_wrong), 0.0, "calls", False),
    ]
    return section


