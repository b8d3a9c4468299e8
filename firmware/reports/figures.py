"""The metrics people read, made from a tally (L1, pure). Each has its definition in `reports/texts.py`, printed in the report."""

from __future__ import annotations

import msgspec

from firmware.call.erlang import rostered, seats
from firmware.reports.tally import Tally

VARIANTS = ("offered", "answered", "inside")


class Plan(msgspec.Struct, frozen=True):
    """What seats are computed with. `level`, `occupancy`, `shrinkage`: shares; `within_s`: of the service level."""

    level: float = 0.8
    within_s: float = 20.0
    occupancy: float = 0.85
    shrinkage: float = 0.3


class QueueFigures(msgspec.Struct, frozen=True):
    """One queue, or an hour of it. Shares 0..1, None where nothing is to be divided; times in seconds."""

    name: str
    offered: int
    answered: int
    abandoned: int
    short: int
    timed_out: int
    no_agent: int
    full: int
    by_key: int
    cut: int
    pickups: int
    service_level: float | None
    service_answered: float | None
    service_inside: float | None
    abandon_rate: float | None
    asa_s: float | None
    longest_s: float
    left_after_s: float | None
    talk_s: float | None
    aht_s: float | None


class AgentFigures(msgspec.Struct, frozen=True):
    """One agent. `dropped`: answered and gone before the caller could speak.

    `handling_s`: conversation and notes; `occupancy`: handling / (handling + ready).
    """

    agent: str
    offers: int
    answered: int
    missed: int
    dropped: int
    talk_s: float
    wrap_s: float
    ready_s: float
    paused_s: float
    pauses: int
    aht_s: float | None
    occupancy: float | None
    reasons: dict[str, float]


class LineFigures(msgspec.Struct, frozen=True):
    """One outside line or trunk, or a telephone whose speech was graded."""

    line: str
    calls: int
    inbound: int
    outbound: int
    talk_s: float
    faults: int
    failed_seizures: int
    grade: float | None
    worst_grade: float | None


class SpeechFigures(msgspec.Struct, frozen=True):
    """How people spoke in the conversations of one queue, or of one agent, that were measured. Levels in dBm0."""

    name: str
    measured: int
    first_s: float | None
    late: int
    interruptions: int
    dead: int
    dead_longest_s: float
    share: float | None
    agent_dbm0: float | None
    caller_dbm0: float | None


class RatingFigures(msgspec.Struct, frozen=True):
    """What callers keyed after calls of one queue, or of one agent. `score`: mean of 1 to 10 over `scores` answers."""

    name: str
    satisfied: int
    fair: int
    unsatisfied: int
    score: float | None
    scores: int
    solved: int
    unsolved: int


class CallbackFigures(msgspec.Struct, frozen=True):
    """Callbacks that callers of one queue asked for. `kept`, `late`: called by the promised time, or not."""

    name: str
    asked: int
    reached: int
    lost: int
    cancelled: int
    kept: int
    late: int


class CostFigures(msgspec.Struct, frozen=True):
    """Answered calls to outside of one telephone, account, line or day, and what they cost: `amounts` by currency, in millionths.

    `unknown`: calls whose cost nobody knows, in no amount; `estimated`: calls whose answer was not proved, in the amounts.
    """

    name: str
    calls: int
    talk_s: float
    estimated: int
    unknown: int
    amounts: dict[str, int]


class HourFigures(msgspec.Struct, frozen=True):
    """One hour of the day over all queues. `seats`: Erlang C for an hour as busy as these on average; `rostered` with shrinkage."""

    hour: str
    inbound: int
    offered: int
    answered: int
    abandoned: int
    service_level: float | None
    asa_s: float | None
    seats: int
    rostered: int


class BranchFigures(msgspec.Struct, frozen=True):
    """The branch as a whole."""

    contacts: int
    inbound: int
    outbound: int
    internal: int
    emergency: int
    picked_up: int
    gave_up_ringing: int
    talked: int
    in_time: float | None
    ring_s: float | None
    seat_in_time: float | None
    seat_ring_s: float | None


def share(part: int, whole: int) -> float | None:
    """part / whole; None where there is nothing to divide."""
    return part / whole if whole > 0 else None


def mean_s(ms: int, number: int) -> float | None:
    """Mean in seconds."""
    return ms / number / 1000 if number > 0 else None


def branch(tally: Tally) -> BranchFigures:
    """Figures over everything."""

    def of(name: str) -> int:
        return tally.get("all", name)

    kinds = {name[5:]: value for name, value in tally.sums.get("all", {}).items() if name.startswith("kind.")}
    return BranchFigures(
        sum(value for kind, value in kinds.items() if kind != "feature"), of("inbound"), kinds.get("outbound", 0), kinds.get("internal", 0),
        kinds.get("emergency", 0), of("picked_up"), of("gave_up_ringing"), of("talked"), share(of("picked_up_in_time"), of("picked_up")),
        mean_s(of("ring_ms"), of("picked_up")), share(of("seat_in_time"), of("seat_answers")),
        mean_s(of("seat_alert_ms"), of("seat_answers")),
    )  # fmt: skip


def queue(tally: Tally, group: str, name: str) -> QueueFigures:
    """Figures of the group of a queue."""

    def of(key: str) -> int:
        return tally.get(group, key)

    offered, answered, short = of("offered"), of("answered"), of("short")
    within, inside = of("answered_within"), of("abandoned_within")
    long = of("abandoned") - short
    return QueueFigures(
        name, offered, answered, of("abandoned"), short, of("timed-out"), of("no-agent"), of("full"), of("by-key"), of("cut"),
        of("pickups"),
        share(within, offered - short), share(within, answered), share(within + inside, answered + long),
        share(of("abandoned"), offered), mean_s(of("wait_answered_ms"), answered), tally.peaks.get(group, {}).get("wait_ms", 0) / 1000,
        mean_s(of("wait_abandoned_ms"), of("abandoned")), mean_s(of("talk_ms"), answered),
        mean_s(of("talk_ms") + of("wrap_ms"), answered),
    )  # fmt: skip


def queues(tally: Tally) -> list[QueueFigures]:
    """All queues by name."""
    return [queue(tally, f"queue/{name}", name) for name in tally.names("queue") if tally.get(f"queue/{name}", "offered")]


def total(tally: Tally) -> QueueFigures:
    """All queues together."""
    whole = Tally()
    for name in tally.names("queue"):
        for key, value in tally.sums.get(f"queue/{name}", {}).items():
            whole.add("queue", key, value)
        for key, value in tally.peaks.get(f"queue/{name}", {}).items():
            whole.peak("queue", key, value)
    return queue(whole, "queue", "")


def agents(tally: Tally) -> list[AgentFigures]:
    """All agents by number."""
    found = []
    for name in tally.names("agent"):
        group = f"agent/{name}"
        talk, wrap = tally.get(group, "talking_ms"), tally.get(group, "wrap-up_ms")
        ready = tally.get(group, "ready_ms") + tally.get(group, "offered_ms")
        answered = tally.get(group, "answered")
        found.append(AgentFigures(
            name, tally.get(group, "offers"), answered, tally.get(group, "missed"), tally.get(group, "dropped"),
            talk / 1000, wrap / 1000, ready / 1000,
            tally.get(group, "paused_ms") / 1000, tally.get(group, "pauses"), mean_s(talk + wrap, answered),
            share(talk + wrap, talk + wrap + ready),
            {reason: ms / 1000 for reason, ms in sorted(tally.sums.get(f"pause/{name}", {}).items())},
        ))  # fmt: skip
    return found


def lines(tally: Tally) -> list[LineFigures]:
    """Lines, trunks and telephones over IP by name."""
    found = []
    for name in tally.names("line"):
        group = f"line/{name}"
        graded = tally.get(group, "graded")
        worst = tally.peaks.get(group, {}).get("worst_grade")
        found.append(LineFigures(
            name, tally.get(group, "calls"), tally.get(group, "inbound"), tally.get(group, "outbound"), tally.get(group, "talk_ms") / 1000,
            tally.get(group, "faults"), tally.get(group, "failed_seizures"),
            tally.get(group, "grade_sum") / graded / 100 if graded else None, None if worst is None else -worst / 100,
        ))  # fmt: skip
    return found


def ratings(tally: Tally, kind: str) -> list[RatingFigures]:
    """All that were rated, by name; `kind`: "queue" or "agent"."""
    found = []
    for name in tally.names(f"rated/{kind}"):
        group = f"rated/{kind}/{name}"
        scores = {grade: tally.get(group, f"ten.{grade}") for grade in range(1, 11)}
        number = sum(scores.values())
        found.append(RatingFigures(
            name, tally.get(group, "three.1"), tally.get(group, "three.2"), tally.get(group, "three.3"),
            sum(grade * n for grade, n in scores.items()) / number if number else None, number,
            tally.get(group, "solved.1"), tally.get(group, "solved.2"),
        ))  # fmt: skip
    return found


def callbacks(tally: Tally) -> list[CallbackFigures]:
    """All queues whose callers asked to be called back."""
    return [
        CallbackFigures(name, *(tally.get(f"callbacks/{name}", key) for key in ("asked", "reached", "lost", "cancelled", "kept", "broken")))
        for name in tally.names("callbacks")
    ]


def speech(tally: Tally, kind: str) -> list[SpeechFigures]:
    """All that were measured, by name; `kind`: "queue" or "agent"."""
    found = []
    for name in tally.names(f"speech/{kind}"):
        group = f"speech/{kind}/{name}"

        def of(key: str, group: str = group) -> int:
            return tally.get(group, key)

        def level(side: str) -> float | None:
            number = of(f"{side}_levels")
            return of(f"{side}_level_sum") / number / 10 if number else None

        found.append(SpeechFigures(
            name, of("measured"), mean_s(of("first_ms"), of("spoke")), of("late"), of("interruptions"), of("dead"),
            tally.peaks.get(group, {}).get("dead_ms", 0) / 1000, share(of("agent_ms"), of("agent_ms") + of("caller_ms")),
            level("agent"), level("caller"),
        ))  # fmt: skip
    return found


def cost(tally: Tally, group: str, name: str) -> CostFigures:
    """What the calls of a group cost."""
    amounts = {key[7:]: value for key, value in sorted(tally.sums.get(group, {}).items()) if key.startswith("amount.")}
    return CostFigures(
        name, tally.get(group, "calls"), tally.get(group, "ms") / 1000, tally.get(group, "estimated"), tally.get(group, "unknown"), amounts
    )


def priced(tally: Tally) -> bool:
    """Whether the site had tariffs at any time of it: without any there is nothing to tell of costs."""
    return tally.get("costs", "told") > 0


def costs_of(tally: Tally, name: str) -> list[CostFigures]:
    """What all calls of a day or month cost, under its name; nothing where none was answered."""
    return [cost(tally, "costs", name)] if tally.get("costs", "calls") else []


def costs(tally: Tally, kind: str) -> list[CostFigures]:
    """By "extension", "account" or "way" (line, trunk), by name."""
    return [cost(tally, f"cost/{kind}/{name}", name) for name in tally.names(f"cost/{kind}")]


def hours(tally: Tally, days: int, plan: Plan) -> list[HourFigures]:
    """Each hour in which somebody called. `days`: over how many, for what an hour needs on average."""
    everything = total(tally)
    found = []
    for hour in (f"{number:02}" for number in range(24)):
        whole = Tally()
        for name in tally.names("hours"):
            if name.endswith(f"/{hour}"):
                for key, value in tally.sums[f"hours/{name}"].items():
                    whole.add("queue", key, value)
        one, inbound = queue(whole, "queue", hour), tally.get(f"hour/{hour}", "inbound")
        if not one.offered and not inbound:
            continue
        need = seats(
            one.offered / max(1, days), everything.aht_s or 0.0, level=plan.level, within_s=plan.within_s, occupancy=plan.occupancy
        )
        found.append(HourFigures(
            hour, inbound, one.offered, one.answered, one.abandoned, one.service_level, one.asa_s, need, rostered(need, plan.shrinkage)
        ))  # fmt: skip
    return found


def left_by_second(tally: Tally, queue_name: str = "") -> dict[int, int]:
    """How many gave up in each second of waiting."""
    found: dict[int, int] = {}
    for name in tally.names("left"):
        if queue_name in ("", name):
            for second, number in tally.sums[f"left/{name}"].items():
                found[int(second)] = found.get(int(second), 0) + number
    return dict(sorted(found.items()))


def first_to_leave(tally: Tally) -> list[tuple[str, str, int]]:
    """(who, evidence, how often) of conversations, the most frequent first."""
    rows = []
    for name, number in tally.sums.get("first", {}).items():
        who, _, evidence = name.partition("|")
        rows.append((who, evidence, number))
    return sorted(rows, key=lambda one: (-one[2], one[0], one[1]))
