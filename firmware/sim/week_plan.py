"""A call-centre week as a plan: the branch, when people call and what they want, when agents come and go, what breaks (pure).

Arrivals are a Poisson process whose rate follows the hour and the weekday (thinning); patience and the pauses of people are
exponential, conversations log-normal around two minutes, as call centres measure them. Everything is drawn from the seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from firmware.config.schema.calls import InboundRoute, Menu, MenuKey, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, FxsPhone, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config

ZONE = "Asia/Shanghai"
BEGINS = datetime(2026, 3, 2, tzinfo=ZoneInfo(ZONE))             # a Monday
DAY_MS = 86_400_000
LINES, QUEUES, AGENTS = 10, ("sales", "service", "complaints"), ("8001", "8002", "8003", "8004", "8005")
SERVES = {"8001": ["sales", "service"], "8002": ["sales", "service"], "8003": ["sales"], "8004": ["service", "complaints"],
          "8005": ["sales", "service", "complaints"]}  # fmt: skip
PHONE = {agent: str(201 + at) for at, agent in enumerate(AGENTS)}
BACK_OFFICE = "101"
KEY_OF = {"sales": "1", "service": "2", "complaints": "3"}
SHARE = {"sales": 0.5, "service": 0.35, "complaints": 0.15}
#: Relative rate of each hour, as a Chinese service line has it: peaks at ten and three, lunch between, a little after hours.
HOURS = (0, 0, 0, 0, 0, 0, 0, 1, 6, 11, 13, 10, 6, 8, 11, 12, 10, 7, 2, 1, 1, 0, 0, 0)
WEEKDAYS = (1.2, 1.05, 1.0, 0.95, 0.95, 0.35, 0.15)


def config() -> Config:
    """The branch of the week."""
    return Config(
        site=Site(name="Simulated week", time_zone=ZONE, languages=["zh", "en"]),
        ports=Ports(fxo={str(n): FxoLine() for n in range(1, LINES + 1)}, fxs={"1": FxsPhone()}),
        extensions={BACK_OFFICE: Extension(kind="fxs", jack="1")} | {PHONE[agent]: Extension(kind="sip") for agent in AGENTS},
        agents={agent: Agent(pin="4711", queues=SERVES[agent], trainee=agent == "8003") for agent in AGENTS},
        queues={
            "sales": Queue(ring_s=12, wrap_up_s=15, max_wait_s=240, max_waiting=6, on_timeout="queue/service"),
            "service": Queue(ring_s=12, wrap_up_s=20, max_wait_s=180, max_waiting=6, strategy="round-robin"),
            "complaints": Queue(ring_s=15, wrap_up_s=30, max_wait_s=300, max_waiting=3, rating=True),
        },
        menus={
            "main": Menu(prompt="ivr.main", otherwise="queue/service", keys={key: MenuKey(to=f"queue/{q}") for q, key in KEY_OF.items()})
        },
        inbound=[InboundRoute(to="menu/main")],
    )  # fmt: skip


@dataclass(frozen=True)
class Call:
    """What a caller intends. Times in ms; `patience_ms` from entering the queue; `rings_ms`: gives up so long after the first ring,
    -1 for never."""

    at: int
    number: str
    queue: str
    patience_ms: int
    talk_ms: int
    rings_ms: int = -1
    menu_ms: int = 3000
    barge: bool = False
    agent_ends: bool = False
    rating: str = ""
    transfer: bool = False


@dataclass(frozen=True)
class Shift:
    """An agent's day: comes, goes, and pauses (begin, length, reason)."""

    agent: str
    begins: int
    ends: int
    pauses: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Fault:
    """Something that breaks: "core", "media", "line", "power". `ms`: for so long."""

    kind: str
    at: int
    ms: int
    line: str = ""


class Plan(msgspec.Struct, frozen=True):
    """A whole week."""

    seed: int
    days: int
    calls: list[Call]
    shifts: list[Shift]
    faults: list[Fault]


def plan(seed: int, calls: int, days: int) -> Plan:
    """The week of a seed: about `calls` calls in `days` days, a Monday first."""
    rng = random.Random(f"week/{seed}")
    weight = sum(HOURS) * sum(WEEKDAYS[day % 7] for day in range(days))
    arrivals: list[int] = []
    for day in range(days):
        for hour, rate in enumerate(HOURS):
            mean = calls * rate * WEEKDAYS[day % 7] / weight
            at = 0.0
            while mean > 0 and (at := at + rng.expovariate(mean)) < 1.0:
                arrivals.append(day * DAY_MS + hour * 3_600_000 + int(at * 3_600_000))
    return Plan(seed, days, [_call(rng, at, n) for n, at in enumerate(sorted(arrivals))], _shifts(rng, days), _faults(rng, days))


def _call(rng: random.Random, at: int, n: int) -> Call:
    queue = rng.choices(QUEUES, [SHARE[name] for name in QUEUES])[0]
    ends = rng.random() < 0.2
    return Call(
        at, f"139{n:08}", queue, round(1000 * rng.expovariate(1 / 150)), max(3000, round(1000 * rng.lognormvariate(4.5, 0.7))),
        rings_ms=rng.randint(500, 5400) if rng.random() < 0.03 else -1, menu_ms=rng.randint(500, 8000), barge=rng.random() < 0.5,
        agent_ends=ends, rating=rng.choice(("", "1", "1", "1", "2", "3", "7")) if ends else "", transfer=not ends and rng.random() < 0.06,
    )  # fmt: skip


def _shifts(rng: random.Random, days: int) -> list[Shift]:
    found = []
    for day in range(days):
        present = AGENTS if day % 7 < 5 else AGENTS[:2] if day % 7 == 5 else AGENTS[4:]
        for agent in present:
            begin = day * DAY_MS + round((8 + rng.uniform(-0.1, 0.3)) * 3_600_000)
            end = day * DAY_MS + round((18 + rng.uniform(-0.2, 0.5)) * 3_600_000)
            lunch = day * DAY_MS + round((11.5 + rng.uniform(0, 1.5)) * 3_600_000)
            short = [(begin + round(rng.uniform(0.5, 9) * 3_600_000), rng.randint(120_000, 900_000), rng.choice("1345")) for _ in range(3)]
            pauses = sorted([(lunch, rng.randint(1_500_000, 2_400_000), "2"), *short])
            kept: list[tuple[int, int, str]] = []
            for one in pauses:
                if not kept or one[0] > kept[-1][0] + kept[-1][1] + 60_000:
                    kept.append(one)
            found.append(Shift(agent, begin, end, tuple(kept)))
    return found


def _faults(rng: random.Random, days: int) -> list[Fault]:
    found = []
    for day in range(days):
        def busy(day: int = day) -> int:
            return day * DAY_MS + round(rng.uniform(9, 17) * 3_600_000)

        found.append(Fault("core", busy(), rng.randint(400, 2500)))
        found.append(Fault("core", busy(), rng.randint(400, 2500)))
        found.append(Fault("media", busy(), 0))
        found.append(Fault("line", busy(), rng.randint(60_000, 1_800_000), f"line/{rng.randint(1, LINES)}"))
        if day % 7 == 2 or days == 1:
            found.append(Fault("power", busy(), 45_000))
    return sorted(found, key=lambda one: one.at)


def day_of(at: int) -> str:
    """Local date of an instant of the plan."""
    return (BEGINS + timedelta(milliseconds=at)).date().isoformat()
