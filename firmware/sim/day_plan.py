"""What happens on a simulated day: episodes drawn from a seed, the branch they happen in, and who the people are.

Theory of operation. A day is a list of `Episode`, one after another in the world's time. The first ones are the kinds that every day
has; what is left of the day is drawn with repetition, and all are shuffled, so that each kind meets others in every order. Callers have
numbers and tones of their own; agents' tones tell who spoke to whom. In an episode with `double` both sides sound all the time, else they
take turns. What a day must contain is `COVERAGE`; `covered` says what a plan contains, `day_check.coverage` what people saw. Keys of the
branch: language 1 zh, 2 en; then 1 sales (recorded, with rating), 2 slow (its agent is paused: time-out), 3 empty (nobody logs in),
4 small (one may wait), 0 the front desk.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

KINDS = (
    "talk-fxs", "talk-sip", "no-answer", "time-out", "no-agent", "full", "leaves", "rating", "outbound-fxs", "outbound-sip",
    "transfer", "emergency", "core-killed",
)  # fmt: skip
REPEATED = ("talk-fxs", "talk-sip", "leaves", "rating", "outbound-fxs", "outbound-sip", "no-answer", "time-out", "no-agent")
#: What every day contains, each at least once.
COVERAGE = (
    "caller-id-fsk", "caller-id-dtmf", "caller-id-none", "language-zh", "language-en", "barge-in", "overflow-time-out",
    "overflow-no-agent", "overflow-full", "agent-no-answer", "caller-leaves", "agent-fxs", "agent-sip", "outbound-fxs", "outbound-sip",
    "transfer", "emergency-lines-busy", "core-killed", "rating", "double-talk-fxs", "double-talk-sip", "log-in-fxs", "log-in-sip",
)  # fmt: skip
TALKERS = ("talk-fxs", "talk-sip", "no-answer", "rating", "outbound-fxs", "outbound-sip")
OUTGOING = ("outbound-fxs", "outbound-sip", "emergency")
CALLS_OF = {"full": 2, "emergency": 5}
FXS_AGENT, SIP_AGENT, SLOW_AGENT, SMALL_AGENT = "8001", "8002", "8003", "8004"
FXS_EXTENSION, SIP_EXTENSION, TRANSFER_EXTENSION, SPARE_EXTENSION, OTHER_SIP = "101", "201", "102", "103", "202"
PHONE_OF = {FXS_AGENT: "1", TRANSFER_EXTENSION: "2", SIP_AGENT: SIP_EXTENSION}  # analog jack or SIP extension
# Tones of people: away from the key tones (697..1633) and from the exchange's 450 Hz.
AGENT_HZ = {FXS_AGENT: 1050.0, SIP_AGENT: 1800.0, TRANSFER_EXTENSION: 2000.0}
OUTSIDE_HZ = 560.0
CALLER_HZ = 620.0
EMERGENCY_HZ = 800.0

SITE = """
schema = 1
board = "world"
emergency_callback_s = 60
[site]
name = "Simulated day"
country = "CN"
time_zone = "Asia/Shanghai"
languages = ["zh", "en"]
company_clip = "company.demo"
[sip]
port = 0
[ports.fxo.1]
number = "01055550001"
[ports.fxo.2]
number = "01055550002"
[ports.fxo.3]
number = "01055550003"
[ports.fxo.4]
number = "01055550004"
[ports.fxs.1]
[ports.fxs.2]
[ports.fxs.3]
[ports.fxs.4]
[extensions.101]
kind = "fxs"
jack = "1"
[extensions.102]
kind = "fxs"
jack = "2"
[extensions.103]
kind = "fxs"
jack = "3"
[extensions.104]
kind = "fxs"
jack = "4"
locked = true
[extensions.201]
kind = "sip"
[extensions.202]
kind = "sip"
[agents.8001]
queues = ["sales"]
[agents.8002]
queues = ["sales"]
[agents.8003]
queues = ["slow"]
[agents.8004]
queues = ["small"]
[queues.sales]
ring_s = 8
wrap_up_s = 2
record = true
auto_pause_after = 0
[queues.slow]
max_wait_s = 8
[queues.empty]
[queues.small]
max_waiting = 1
max_wait_s = 60
[menus.language]
prompt = "ivr.lang"
otherwise = "menu/main"
[menus.language.keys.1]
to = "menu/main"
language = "zh"
[menus.language.keys.2]
to = "menu/main"
language = "en"
[menus.main]
prompt = "ivr.main"
otherwise = "hangup"
[menus.main.keys.1]
to = "queue/sales"
[menus.main.keys.2]
to = "queue/slow"
[menus.main.keys.3]
to = "queue/empty"
[menus.main.keys.4]
to = "queue/small"
[menus.main.keys.0]
to = "extension/101"
[[inbound]]
to = "menu/language"
[[outbound]]
prefix = "9"
pattern = "."
permission = "local"
group = "pstn"
"""


@dataclass(frozen=True)
class Episode:
    """One thing that happens. `number` is the (first) caller's; `moment_s` when somebody leaves or core is killed."""

    kind: str
    line: int
    number: str
    caller_id: str = "fsk"
    language: str = "zh"
    barge_in: bool = False
    talk_s: float = 6.0
    moment_s: float = 0.0
    rating: int = 1
    double: bool = False
    others: tuple[str, ...] = field(default=())

    @property
    def calls(self) -> int:
        return CALLS_OF.get(self.kind, 1)


def plan(seed: int, calls: int) -> list[Episode]:
    """The day of a seed: every kind at least once, `calls` calls (or as many as the kinds need, if that is more)."""
    rng = random.Random(f"day/{seed}")
    kinds = list(KINDS)
    while sum(CALLS_OF.get(kind, 1) for kind in kinds) < calls:
        kinds.append(rng.choice(REPEATED))
    rng.shuffle(kinds)
    # Every scheme, language and manner of pressing occurs on the calls that reach a person, whatever the seed.
    schemes = ["fsk", "dtmf", "none"]
    rng.shuffle(schemes)
    languages, barges = ["zh", "en"], [True, False]
    rng.shuffle(languages)
    rng.shuffle(barges)
    episodes: list[Episode] = []
    talks = 0
    for at, kind in enumerate(kinds):
        inbound = kind not in OUTGOING
        others = tuple(_number(rng, 100 * (at + 1) + k) for k in range(4))
        # Callers who may leave before they are heard do not take a turn in the round of schemes, languages and manners.
        round_ = talks if kind != "leaves" else rng.randrange(12)
        scheme = schemes[round_ % 3] if inbound else "fsk"
        episode = Episode(kind, rng.randint(1, 4), _number(rng, at), scheme, languages[round_ % 2], barges[round_ // 2 % 2], others=others)
        first = kind in ("talk-fxs", "talk-sip") and kind not in (e.kind for e in episodes)
        double = rng.random() < 0.5 and kind in TALKERS
        episodes.append(
            replace(
                episode, talk_s=rng.uniform(4.0, 9.0), moment_s=rng.uniform(0.5, 30.0), rating=rng.randint(1, 3), double=first or double
            )
        )
        talks += 1 if inbound and kind != "leaves" else 0
    return episodes


def covered(episodes: Sequence[Episode]) -> dict[str, int]:
    """How often a plan contains each item of `COVERAGE`."""
    found = Counter(("log-in-fxs", "log-in-sip"))  # before the first call, every day
    for e in episodes:
        found += Counter(_items(e))
    return {item: found[item] for item in COVERAGE}


def _items(e: Episode) -> list[str]:
    items = {
        "time-out": ["overflow-time-out"], "no-agent": ["overflow-no-agent"], "full": ["overflow-full"], "no-answer": ["agent-no-answer"],
        "leaves": ["caller-leaves"], "talk-fxs": ["agent-fxs"], "talk-sip": ["agent-sip"], "emergency": ["emergency-lines-busy"],
    }.get(e.kind, [e.kind])  # fmt: skip
    if e.kind not in (*OUTGOING, "leaves"):
        items = [*items, f"caller-id-{e.caller_id}", f"language-{e.language}", *(["barge-in"] if e.barge_in else [])]
    if e.double and e.kind in ("talk-fxs", "talk-sip"):
        items = [*items, f"double-{e.kind}"]
    return items


def _number(rng: random.Random, salt: int) -> str:
    """An eleven-digit mobile number that no other person of the day has."""
    return f"13{rng.randint(0, 8)}{rng.randint(0, 9999):04d}{salt:04d}"
