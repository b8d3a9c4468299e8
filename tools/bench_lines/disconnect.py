"""The table that sells the box: false hang-ups in talk, missed hang-ups, and how fast, per country, beside what others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from firmware.line.profiles import PROFILES

from .judges import Counter, Judge, Ours, Spandsp
from .shared import Goal, Section, Table, peers
from .sounds import KINDS, RELEASE, chatter, hang_up
from .wire import by_wire

#: Minutes of each kind of sound: 150 in all, the same for each country.
MINUTES = {"speech": 40, "babble": 20, "music": 30, "conference": 25, "keys": 25, "beside": 10}
HANG_UPS = 200
QUICK = 10


@dataclass
class Tally:
    """What one judge made of one country."""

    minutes: dict[str, int] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)
    hang_ups: int = 0
    missed: int = 0
    early: int = 0
    cycles: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def per_100_h(self) -> float:
        return 6000.0 * sum(self.false.values()) / max(1, sum(self.minutes.values()))


def judges(country: str, company: str = "alone") -> dict[str, Judge]:
    """Everybody who decides, anew."""
    found: dict[str, Judge] = {"ours": Ours(country, "line" if company == "beside" else "alone")}
    if not peers.missing():
        found["spandsp"] = Spandsp(country)
    return {**found, "counter, 2": Counter(2), "counter, 4": Counter(4)}


def talk(minutes: dict[str, int], seed: int, countries: Sequence[str] = tuple(PROFILES)) -> dict[str, dict[str, Tally]]:
    """Everybody hears the minutes in which nobody hangs up; one call goes on from minute to minute."""
    tallies: dict[str, dict[str, Tally]] = {country: {} for country in countries}
    for kind in KINDS:
        heard = {country: judges(country, kind) for country in countries}
        for number in range(minutes.get(kind, 0)):
            for country in countries:
                sound = chatter(kind, country, seed % 1_000_000 + number)
                for name, judge in heard[country].items():
                    tally = tallies[country].setdefault(name, Tally())
                    tally.minutes[kind] = tally.minutes.get(kind, 0) + 1
                    tally.false[kind] = tally.false.get(kind, 0) + len(judge.run(sound))
    return tallies


def hang_ups(tallies: dict[str, dict[str, Tally]], count: int, seed: int) -> None:
    """And the calls that end."""
    for country, known in tallies.items():
        for number in range(count):
            one = hang_up(country, seed + 1000 * number)
            for name, judge in judges(country).items():
                tally = known.setdefault(name, Tally())
                tally.hang_ups += 1
                times = judge.run(one.sound)
                tally.early += any(at < one.began_ms for at in times)
                late = next((at - one.began_ms for at in times if at >= one.began_ms), None)
                if late is None:
                    tally.missed += 1
                else:
                    tally.cycles.append(late / one.cycle_ms)
                    tally.seconds.append(late / 1000.0)


def measure(quick: bool, seed: int) -> Section:
    """2.5 h of talk and 200 hang-ups per country; `quick` a tenth."""
    section = Section("disconnect", "Has the far end hung up?")
    minutes = {kind: max(1, n // QUICK) for kind, n in MINUTES.items()} if quick else MINUTES
    found = talk(minutes, seed)
    hang_ups(found, HANG_UPS // QUICK if quick else HANG_UPS, seed)
    hours = sum(minutes.values()) / 60.0
    rows: list[tuple[str | float, ...]] = []
    for country, tallies in found.items():
        for name, tally in tallies.items():
            cycles = np.array(tally.cycles or [np.nan])
            rows.append((f"{country}, {name}", tally.per_100_h(), float(tally.missed), 100.0 * tally.missed / max(1, tally.hang_ups),
                         float(np.median(cycles)), float(np.quantile(cycles, 0.95)), float(np.median(tally.seconds or [np.nan])),
                         float(tally.early)))
    count = HANG_UPS // QUICK if quick else HANG_UPS
    section.tables.append(Table(
        "Hang-ups by tone", ("country, judge", "false per 100 h", f"missed of {count}", "missed %", "cycles until released (median)",
                             "cycles (95 %)", "seconds (median)", "cut during the talk before"), rows,
        f"{hours:.1f} h of talk per country ({', '.join(f'{n} min {kind}' for kind, n in minutes.items())}) and {count} hang-ups per "
        "country by busy, congestion and unobtainable tone: -35 to -5 dBm0, a fifth of them at -35, +-25 Hz, each phase within +-15 %, "
        "noise 20 to 40 dB below the tone, through the country's law"))
    kinds: list[tuple[str | float, ...]] = []
    for kind in KINDS:
        total = len(found) * minutes.get(kind, 0)
        kinds.append((kind, float(total), *(6000.0 * sum(t[name].false.get(kind, 0) for t in found.values()) / max(1, total)
                                            for name in next(iter(found.values())))))
    section.tables.append(Table(
        "What sets them off: false hang-ups per 100 h by kind of sound", ("sound", "minutes, six countries", *next(iter(found.values()))),
        kinds, "`beside`: two outside lines talk through the box, the other one is hung up and its tone comes back in the echo"))
    ours = [tallies["ours"] for tallies in found.values()]
    worst = max(float(np.median(t.cycles)) if t.cycles else 99.0 for t in ours)
    slow = float(np.quantile([c for t in ours for c in t.cycles] or [99.0], 0.95))
    section.goals += [
        Goal("false hang-ups per 100 h, worst country", max(t.per_100_h() for t in ours), 0.0, "", False),
        Goal("missed hang-ups, six countries", float(sum(t.missed for t in ours)), 0.0, f"of {count * len(ours)}", False),
        Goal("release, median, worst country", worst, 3.0, "cycles", False),
        Goal("release, 95 % of the calls, six countries", slow, 3.0, "cycles", False),
    ]
    table, goals = by_wire(1 if quick else 4)
    section.tables.append(table)
    section.goals += goals
    section.tables.append(by_tone(HANG_UPS // 4 // (QUICK if quick else 1), seed + 1))
    return section


def by_tone(count: int, seed: int) -> Table:
    """Each release tone by its name at the bottom of the tolerance."""
    rows: list[tuple[str | float, ...]] = []
    for country, names in RELEASE.items():
        for name in names:
            cycles, missed = [], 0
            for number in range(max(2, count)):
                one = hang_up(country, seed + 77 * number, name)
                late = [at - one.began_ms for at in Ours(country).run(one.sound) if at >= one.began_ms]
                missed += not late
                cycles += [late[0] / one.cycle_ms] if late else []
            rows.append((f"{country} {name}", float(max(2, count)), float(missed), float(np.median(cycles or [np.nan])),
                         float(max(cycles, default=np.nan))))
    return Table("Each release tone, ours", ("tone", "hang-ups", "missed", "cycles (median)", "cycles (worst)"), rows)
