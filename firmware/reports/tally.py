"""What happened in a span of time as numbers that can be added: a month is the sum of its days (L1, pure).

Theory of operation
-------------------
`count` reads the records of contacts that began in a span and the states of agents in it, and gives a `Tally`: named groups of whole
numbers. Two tallies add by adding every number (`sums`) and by taking the larger (`peaks`), so the tally of a day that is over is kept,
and a month costs thirty additions. Nothing is divided here: `reports/figures.py` makes the metrics that people read.

One caller is one contact, whatever the rings, legs and transfers. A *visit* is a contact's stay in one queue, from ENTERQUEUE of the
queue log to what ended it; a caller who overflows into another queue makes two visits of one contact. An answer counts when both could
talk: an agent who is gone before (AGENTDUMP) gives the caller back to his place, and the visit goes on; a caller who is gone before gave
up. `undone` finds the CONNECTs that are taken back so. A visit that a fault ended (line pulled, media
lost, power cut, a line freed for an emergency call) is `cut`: neither answered nor given up by the caller.
Times are ms. Groups: "all", "queue/NAME", "hour/HH", "hours/NAME/HH", "agent/N", "pause/N", "line/E", "cause", "first", "rings",
"missed-ring", "left/NAME", "speech/queue/NAME", "speech/agent/N",
"rated/queue/NAME", "rated/agent/N", "callbacks/NAME", "costs", "cost/extension/N", "cost/account/NAME", "cost/way/E" (money: millionths).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from firmware.call.money import millionths

#: Causes of a contact's end that are owed to nobody in the conversation.
FAULTS = frozenset({"media-lost", "rtp-lost", "line-fault", "preempted", "system"})
#: What ends a visit, by event of the queue log. Other events that begin with EXIT are a way out that the caller chose.
OUTCOMES = {
    "CONNECT": "answered", "ABANDON": "abandoned", "EXITWITHTIMEOUT": "timed-out", "EXITEMPTY": "no-agent", "EXITFULL": "full",
}  # fmt: skip
LATE_MS = 2000                  # a first word after that is late: the greeting should begin at once (ANS-05, Part C)
OUTSIDE_KINDS = ("fxo", "trunk")
#: What ends the conversation of a CONNECT, or shows that there was one.
TALKED = frozenset({"COMPLETECALLER", "COMPLETEAGENT", "TRANSFER", "ENTERQUEUE"})
MISSED = frozenset({"no-answer", "rejected", "timeout", "unreachable"})


class Row(Protocol):
    """A record by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class Limits(msgspec.Struct, frozen=True):
    """What the counting depends on; a kept tally counted with others is counted again. Times in ms.

    `ring_ms`: one cycle of the country's ringing; `burst_ms`: its sounding part, up to the end of the last burst of a cycle.
    """

    within_ms: int = 20_000
    short_ms: int = 5_000
    rings: int = 3
    ring_ms: int = 5_000
    burst_ms: int = 1_000


class Tally(msgspec.Struct):
    """See the module docstring."""

    sums: dict[str, dict[str, int]] = {}
    peaks: dict[str, dict[str, int]] = {}

    def add(self, group: str, name: str, value: int = 1) -> None:
        """Add to a number."""
        found = self.sums.setdefault(group, {})
        found[name] = found.get(name, 0) + value

    def peak(self, group: str, name: str, value: int) -> None:
        """Keep the largest."""
        found = self.peaks.setdefault(group, {})
        found[name] = max(found.get(name, value), value)

    def merge(self, other: Tally) -> None:
        """Add all of another one."""
        for group, numbers in other.sums.items():
            for name, value in numbers.items():
                self.add(group, name, value)
        for group, numbers in other.peaks.items():
            for name, value in numbers.items():
                self.peak(group, name, value)

    def get(self, group: str, name: str) -> int:
        """A number; 0 where nothing was counted."""
        return self.sums.get(group, {}).get(name, 0)

    def names(self, kind: str) -> list[str]:
        """Names of the groups of a kind: "queue" gives the queues."""
        groups = {*self.sums, *self.peaks}
        return sorted(group[len(kind) + 1 :] for group in groups if group.startswith(kind + "/"))


class Span(msgspec.Struct, frozen=True):
    """Records of a span [since, until) of Unix ms. `log` and `legs` belong to `contacts`; `states` are those of agents, one before
    `since` for each agent included, in order; `told`: lines of history
    that are counted: how people spoke (`call/speaking_state.py`), ratings, callbacks, what calls cost (`call/cost.py`)."""

    since: int
    until: int
    contacts: list[Any]
    legs: list[Any]
    log: list[Any]
    states: list[Any]
    told: list[Any] = []


class Visit(msgspec.Struct):
    """A contact's stay in a queue, Unix ms. `pickup`: answered by a colleague from another telephone."""

    contact: str
    queue: str
    entered: int
    left: int = -1
    outcome: str = "cut"
    agent: str = ""
    pickup: bool = False

    @property
    def wait_ms(self) -> int:
        """How long the caller waited, ringing included; 0 where nobody knows."""
        return max(0, self.left - self.entered) if self.left >= 0 else 0


def undone(log: Iterable[Row], unmet: Collection[str]) -> set[int]:
    """Answers that came to nothing: seq of their CONNECT. `unmet`: contacts that are over and had no conversation. Lines of one contact
    are in order."""
    found: set[int] = set()
    answers: dict[str, int] = {}
    for row in log:
        contact, event = str(row["contact"]), str(row["event"])
        if event == "CONNECT":
            answers[contact] = int(row["seq"])
        elif event in ("AGENTDUMP", "ABANDON") and contact in answers:
            found.add(answers.pop(contact))
        elif event in TALKED:
            answers.pop(contact, None)
    return found | {seq for contact, seq in answers.items() if contact in unmet}


def unmet(contacts: Iterable[Row]) -> set[str]:
    """Contacts that are over without a conversation."""
    return {str(row["id"]) for row in contacts if row["ended_ms"] is not None and row["connected_ms"] is None}


def visits(log: Iterable[Row], causes: Mapping[str, str], ends: Mapping[str, int]) -> list[Visit]:
    """The visits that a queue log tells of. `causes`, `ends`: of each contact. Lines of one contact are in order."""
    found: list[Visit] = []
    current: dict[str, Visit] = {}
    for row in log:
        contact, event = str(row["contact"]), str(row["event"])
        if event == "ENTERQUEUE":
            current[contact] = Visit(contact, str(row["queue"]), int(row["at_ms"]))
            found.append(current[contact])
            continue
        visit = current.get(contact)
        outcome = OUTCOMES.get(event, "by-key" if event.startswith("EXIT") else "")
        if visit is None or not outcome or row["queue"] != visit.queue:
            continue
        visit.outcome, visit.left = outcome, int(row["at_ms"])
        visit.pickup = event == "CONNECT" and row["agent"] == "NONE"
        visit.agent = str(row["agent"]) if event == "CONNECT" and not visit.pickup else ""
        if outcome == "abandoned" and causes.get(contact) in FAULTS:
            visit.outcome = "cut"
    for visit in found:
        if visit.left < 0 and ends.get(visit.contact, -1) >= visit.entered:
            visit.left = ends[visit.contact]
    return found


def count(span: Span, hour_of: Callable[[int], int], limits: Limits) -> Tally:
    """The tally of a span; `hour_of` is the local hour of an instant."""
    tally = Tally()
    contacts = {str(row["id"]): row for row in span.contacts}
    # An agent who leaves first is proved by his own leg; the contact goes on with the rating.
    left = {str(leg["contact"]): str(leg["evidence"]) for leg in span.legs if leg["role"] != "caller" and leg["by_far"]}
    for row in span.contacts:
        _contact(tally, row, hour_of, limits, left.get(str(row["id"]), ""))
    causes = {name: str(row["cause"]) for name, row in contacts.items()}
    ends = {name: int(row["ended_ms"]) for name, row in contacts.items() if row["ended_ms"] is not None}
    last: dict[str, Visit] = {}
    taken_back = undone(span.log, unmet(span.contacts))
    kept = [row for row in span.log if row["seq"] not in taken_back]
    for row in kept:
        if row["event"] == "AGENTDUMP" and str(row["data"]).partition("|")[0] not in FAULTS:
            tally.add(f"agent/{row['agent']}", "dropped")
    for visit in visits(kept, causes, ends):
        _visit(tally, visit, hour_of, limits)
        if visit.outcome == "answered":
            last[visit.contact] = visit
    for contact, visit in last.items():
        _service(tally, visit, contacts[contact], hour_of)
    talks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in kept:
        if row["event"] == "CONNECT":
            talks[str(row["contact"]), str(row["agent"])].append(int(row["at_ms"]))
    for row in span.legs:
        _leg(tally, row, talks)
    asked: set[str] = set()
    costs: dict[str, Mapping[str, Any]] = {}
    for row in span.told:
        found = msgspec.json.decode(row["data"])
        if row["kind"] == "cost":
            costs[str(row["leg"])] = found
            continue
        queue = str(contacts[str(row["contact"])]["queue"]) if str(row["contact"]) in contacts else ""
        if row["kind"] == "speech":
            _speech(tally, found)
        elif row["kind"] == "rating":
            for group in (f"rated/queue/{queue}", f"rated/agent/{found['agent']}"):
                tally.add(group, f"{found['question']}.{found['rating']}")
        else:
            _callback(tally, f"callbacks/{queue}", str(row["kind"]), found, asked)
    _costs(tally, span, contacts, costs)
    _states(tally, span)
    return tally


def _contact(tally: Tally, row: Row, hour_of: Callable[[int], int], limits: Limits, agents_proof: str) -> None:
    kind = str(row["kind"])
    tally.add("all", f"kind.{kind}")
    if kind == "feature":
        return
    tally.add("cause", str(row["cause"]) or "open")
    if row["line"]:
        tally.add(f"line/{row['line']}", kind)
        tally.add(f"line/{row['line']}", "talk_ms", int(row["talk_ms"]))
    if kind != "inbound":
        return
    tally.add("all", "inbound")
    tally.add(f"hour/{hour_of(row['opened_ms']):02}", "inbound")
    answered = row["answered_ms"] is not None
    heard = rings_heard(int(row["ring_ms"]), int(row["rings"]), limits)
    if answered:
        tally.add("all", "picked_up")
        tally.add("all", "ring_ms", int(row["ring_ms"]))
        tally.add("rings", str(heard))
        if int(row["ring_ms"]) <= end_of_ring(limits.rings, limits):
            tally.add("all", "picked_up_in_time")
    elif row["cause"] not in FAULTS and row["ended_ms"] is not None:
        tally.add("all", "gave_up_ringing")
        tally.add("missed-ring", str(max(1, heard)))
    if row["connected_ms"] is not None:
        tally.add("all", "talked")
        if int(row["seat_alert_ms"]) > 0:
            tally.add("all", "seat_answers")
            tally.add("all", "seat_alert_ms", int(row["seat_alert_ms"]))
            tally.add("all", "seat_in_time", int(int(row["seat_alert_ms"]) <= end_of_ring(limits.rings, limits)))
        who = str(row["first_to_leave"]) or "unknown"
        tally.add("first", f"{who}|{agents_proof if who == 'agent' and agents_proof else row['evidence']}")


def end_of_ring(number: int, limits: Limits) -> int:
    """From the first burst to the end of the last burst of ring `number`: the third ends after 11 s in China, 7 s in Britain."""
    return (number - 1) * limits.ring_ms + limits.burst_ms


def rings_heard(ring_ms: int, bursts: int, limits: Limits) -> int:
    """Rings that had begun when it was answered; `bursts` as the line counted them where the time is not known."""
    return ring_ms // limits.ring_ms + 1 if ring_ms > 0 else bursts


def _visit(tally: Tally, visit: Visit, hour_of: Callable[[int], int], limits: Limits) -> None:
    for group in (f"queue/{visit.queue}", f"hours/{visit.queue}/{hour_of(visit.entered):02}"):
        tally.add(group, "offered")
        tally.add(group, visit.outcome)
        if visit.outcome == "answered":
            tally.add(group, "wait_answered_ms", visit.wait_ms)
            tally.add(group, "answered_within", int(visit.wait_ms <= limits.within_ms))
            tally.add(group, "pickups", int(visit.pickup))
        elif visit.outcome == "abandoned":
            short = visit.wait_ms < limits.short_ms
            tally.add(group, "wait_abandoned_ms", visit.wait_ms)
            tally.add(group, "short", int(short))
            tally.add(group, "abandoned_within", int(visit.wait_ms <= limits.within_ms and not short))
    tally.peak(f"queue/{visit.queue}", "wait_ms", visit.wait_ms)
    if visit.outcome == "abandoned":
        tally.add(f"left/{visit.queue}", str(visit.wait_ms // 1000))


def _service(tally: Tally, visit: Visit, row: Row, hour_of: Callable[[int], int]) -> None:
    for group in (f"queue/{visit.queue}", f"hours/{visit.queue}/{hour_of(visit.entered):02}"):
        tally.add(group, "talk_ms", int(row["talk_ms"]))


def _leg(tally: Tally, row: Row, talks: Mapping[tuple[str, str], Sequence[int]]) -> None:
    """`talks`: when each agent's conversations with each contact were answered. A power cut may leave one without its leg."""
    agent, cause = str(row["agent"]), str(row["cause"])
    if agent and row["role"] == "agent" and (row["ringing_ms"] is not None or row["answered_ms"] is not None):
        tally.add(f"agent/{agent}", "offers")
        if row["answered_ms"] is not None:
            until = math.inf if row["ended_ms"] is None else row["ended_ms"]
            answers = talks.get((str(row["contact"]), agent), ())
            tally.add(f"agent/{agent}", "answered", int(any(row["started_ms"] <= at <= until for at in answers)))
        elif cause in MISSED:
            tally.add(f"agent/{agent}", "missed")
    if row["kind"] in OUTSIDE_KINDS:
        line = f"line/{row['endpoint']}"
        tally.add(line, "calls")
        if not row["incoming"]:
            tally.add(line, "seized")
            tally.add(line, "failed_seizures", int(cause in ("no-dial-tone", "line-fault")))
        tally.add(line, "faults", int(cause in ("line-fault", "media-lost", "rtp-lost")))
    if row["mos"] is not None:
        group = f"line/{row['endpoint']}"
        tally.add(group, "graded")
        tally.add(group, "grade_sum", round(100 * float(row["mos"])))
        tally.peak(group, "worst_grade", -round(100 * float(row["mos"])))


def _speech(tally: Tally, found: Mapping[str, Any]) -> None:
    """One conversation whose speaking was measured."""
    for group in (f"speech/queue/{found['queue']}", f"speech/agent/{found['agent']}"):
        tally.add(group, "measured")
        for name in ("interruptions", "dead", "agent_ms", "caller_ms"):
            tally.add(group, name, int(found[name]))
        if found["first_ms"] >= 0:
            tally.add(group, "spoke")
            tally.add(group, "first_ms", int(found["first_ms"]))
            tally.add(group, "late", int(found["first_ms"] > LATE_MS))
        for side in ("agent", "caller"):
            if found[f"{side}_dbm0"] is not None:
                tally.add(group, f"{side}_levels")
                tally.add(group, f"{side}_level_sum", round(10 * found[f"{side}_dbm0"]))
        tally.peak(group, "dead_ms", int(found["dead_ms"]))


def _callback(tally: Tally, group: str, kind: str, found: Mapping[str, Any], asked: set[str]) -> None:
    """A callback that was asked for, once however often the caller asks, or that is over."""
    request = str(found["request"])
    if kind == "callback":
        tally.add(group, "asked", int(request not in asked))
        asked.add(request)
        return
    tally.add(group, found["why"] if found["why"] in ("reached", "cancelled") else "lost")
    if found["promise"]:
        tally.add(group, str(found["promise"]))


def _costs(tally: Tally, span: Span, contacts: Mapping[str, Row], told: Mapping[str, Mapping[str, Any]]) -> None:
    """Answered calls to outside, by leg. One of which nothing was written (before there were tariffs, power cut) is not known."""
    seen: set[str] = set()
    for leg in span.legs:
        if leg["kind"] not in OUTSIDE_KINDS or leg["incoming"] or leg["answered_ms"] is None:
            continue
        seen.add(str(leg["contact"]))
        row, found = contacts.get(str(leg["contact"])), told.get(str(leg["id"]))
        if found is not None:
            tally.add("costs", "told")
            _cost(tally, str(leg["endpoint"]), found)
        elif row is not None and row["kind"] != "emergency":
            ms = int(leg["ended_ms"]) - int(leg["answered_ms"])
            _cost(tally, str(leg["endpoint"]), {"by": row["extension"] or row["line"], "ms": ms, "amount": "unknown"})
    for row in span.contacts:
        cut_off = row["kind"] == "outbound" and row["evidence"] == "adoption" and row["connected_ms"] is not None
        if cut_off and str(row["id"]) not in seen:
            _cost(tally, str(row["line"]), {"by": row["extension"], "ms": row["talk_ms"], "amount": "unknown"})


def _cost(tally: Tally, way: str, found: Mapping[str, Any]) -> None:
    amount = str(found["amount"])
    if amount == "emergency":
        return
    named = (("extension", str(found["by"])), ("account", str(found.get("account", ""))), ("way", way))
    for group in ("costs", *(f"cost/{kind}/{name}" for kind, name in named if name)):
        tally.add(group, "calls")
        tally.add(group, "ms", int(found["ms"]))
        if amount == "unknown":
            tally.add(group, "unknown")
        else:
            tally.add(group, f"amount.{found['currency']}", millionths(amount))
            tally.add(group, "estimated", int(found["estimated"]))


def _states(tally: Tally, span: Span) -> None:
    """Time of each agent in each state within the span; what a queue's calls took in notes."""
    last: dict[str, Row] = {}
    for row in [*span.states, None]:
        ended = list(last.values()) if row is None else [last[row["agent"]]] if row["agent"] in last else []
        until = span.until if row is None else max(span.since, min(span.until, int(row["at_ms"])))
        for one in ended:
            _state(tally, one, max(0, until - max(span.since, int(one["at_ms"]))), since=span.since)
        if row is not None:
            last[str(row["agent"])] = row


def _state(tally: Tally, row: Row, ms: int, *, since: int) -> None:
    agent, status = str(row["agent"]), str(row["status"])
    if status == "logged-out":
        return
    tally.add(f"agent/{agent}", f"{status}_ms", ms)
    if status == "wrap-up" and row["queue"]:
        tally.add(f"queue/{row['queue']}", "wrap_ms", ms)
    if status == "paused":
        tally.add(f"pause/{agent}", str(row["reason"]) or "0", ms)
        tally.add(f"agent/{agent}", "pauses", int(int(row["at_ms"]) >= since))
