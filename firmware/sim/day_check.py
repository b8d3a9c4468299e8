"""Compares what the people of a simulated day saw with what the appliance wrote down (pure).

Theory of operation. Each caller or dialler has an `Expectation`: who called, by which scheme, what was pressed, who should be met. A
record belongs to it when its line (or extension) and its opening agree with the world's own log. Then field by field: numbers, rings,
times, queue, language, who talked (by the tone that was heard), who left first, rating. Times are compared on the world's clock with the
tolerance that the signalling allows: a busy-tone release needs several cycles, an answer needs the loop current to settle. Where both
sides sounded all the time, what each heard (its tape) must be the other's tone at its level, without a gap, and nothing of its own.
`coverage` says which of the things that a day must contain people saw happen.
Invariant: every difference is one sentence that names the person, the field, both values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.sim.day_plan import (
    AGENT_HZ,
    CALLER_HZ,
    COVERAGE,
    EMERGENCY_HZ,
    FXS_AGENT,
    OUTSIDE_HZ,
    PHONE_OF,
    SIP_AGENT,
    TRANSFER_EXTENSION,
)
from firmware.sim.hearing import measure
from firmware.sim.signal import read_wav
from firmware.sim.soak_check import OUTSIDE_ANSWER_MS as TURNS_ANSWER_MS

ANSWER_MS = 400
END_MS = 800
SURE_END_MS, SETTLED_MS = 500, 1500
BUSY_END_MS = 4000
UNMET_MS = 3500
OPENING_MS = 12_000  # greeting and recording notice are over
IDENTIFIED_MS = 3500  # caller id is complete so long after the first ring begins, or after its own beginning
MEET_MS = 6000  # turns of talking, and the agent's number first
LEVEL_DBM0, LEVEL_DB = -16.0, 1.0
GAP_MS = 60
OWN_DBM0 = -40.0  # 24 dB below it, nothing of one's own voice: steady tones of both sides leave a canceller little to learn from
OWN_OUTSIDE_DBM0 = -36.0  # nor above this in a call outwards, where the caller's steady tone began before there was anything to learn from
BEGIN_S, END_S = 1.0, 0.4  # a conversation's first second is the cancellers', its last moments are the hang-up's
CODE_END_MS = 4000  # a telephone hears busy tone for a while before its owner is sure
OUTSIDE_ANSWER_MS = 4000  # a voice that does not pause is an answer once it is longer than ringback; turns take TURNS_ANSWER_MS
QUEUE_OF = {"1": "sales", "2": "slow", "3": "empty", "4": "small"}
LANGUAGE_OF = {"1": "zh", "2": "en"}

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Expectation:
    """What one person of the day intended."""

    episode: str
    kind: str  # of the record: inbound, outbound, emergency
    person: str
    number: str
    caller_id: str = "fsk"
    language: str = ""
    choice: str = ""
    barge_in: bool = False
    agent: str = ""
    misses: int = 0
    rating: int = 0
    transferred: bool = False
    preemptible: bool = False
    killed_at: int = -1
    extension: str = ""
    double: bool = False


def compare(
    expected: Sequence[Expectation],
    people: Sequence[Facts],
    outside: Sequence[Facts],
    records: Sequence[Facts],
    wall_base: int,
    tapes: Path,
) -> list[str]:
    """Every difference, as sentences. `tapes`: folder of what people heard, `<person>.wav`."""
    by_ident = {person["ident"]: person for person in people}
    left = list(records)
    found: list[str] = []
    for wish in expected:
        person = by_ident.get(wish.person)
        if person is None:
            found.append(f"{wish.episode}: {wish.person} is not in the world's results")
            continue
        record = _record_of(wish, person, left, wall_base)
        if record is None:
            # Who gives up during the caller id before the first ring, or in that ring, may leave no trace.
            heard = person["rings"] > (1 if wish.caller_id == "dtmf" else 0)
            if wish.kind != "inbound" or person["answered"] >= 0 or heard:
                found.append(f"{wish.episode}: no {wish.kind} record for {wish.person} ({wish.number})")
            continue
        left.remove(record)
        where = f"{wish.episode} {wish.person} record {record['id']}"
        found += [f"{where}: {text}" for text in _judge(wish, person, record, outside, wall_base)]
        if wish.double or wish.killed_at >= 0:
            found += [f"{where}: {text}" for text in _heard(wish, person, people, tapes)]
    found += [
        f"record {r['id']} ({r['kind']}, caller {r['caller']!r}, called {r['called']!r}) belongs to nobody" for r in left
    ]
    return found


def _record_of(wish: Expectation, person: Facts, records: Sequence[Facts], wall_base: int) -> Facts | None:
    begin = wall_base + person["started"] - 500
    end = wall_base + (person["ended"] if person["ended"] >= 0 else person["started"]) + 1000
    for record in records:
        if record["kind"] != wish.kind or not begin <= record["opened_ms"] <= end:
            continue
        if wish.kind == "inbound" and record["line"] != f"line/{person['line']}":
            continue
        if wish.kind != "inbound" and record["extension"] != wish.extension:
            continue
        return record
    return None


def _judge(wish: Expectation, person: Facts, record: Facts, outside: Sequence[Facts], wall_base: int) -> list[str]:
    found: list[str] = []

    def check(what: str, record_says: Any, person_saw: Any) -> None:
        if record_says != person_saw:
            found.append(f"{what} is {record_says!r} in the record, {person_saw!r} in the world")

    def near(what: str, record_ms: int | None, world_ms: int, tolerance: int, early: int = 60) -> None:
        if record_ms is None:
            found.append(f"{what} is missing in the record, the world has {world_ms}")
        elif not -early <= record_ms - wall_base - world_ms <= tolerance:
            found.append(f"{what} is {record_ms - wall_base} in the record and {world_ms} in the world (ms), more than {tolerance} apart")

    if record["ended_ms"] is None:
        return ["is not closed"]
    if not record["cause"]:
        found.append("has no cause")
    if wish.kind == "inbound":
        _judge_inbound(wish, person, record, check, near, wall_base)
    elif wish.kind == "feature":
        check("called", record["called"], wish.number)
        check("sound", person["first_sound"] >= 0, True)
        near("the end", record["ended_ms"], person["ended"], END_MS, CODE_END_MS)
    else:
        _judge_outgoing(wish, person, record, outside, check, near, found)
    return found


def _judge_inbound(wish: Expectation, person: Facts, record: Facts, check: Any, near: Any, wall_base: int) -> None:
    early = person["answered"] < 0 and person["ended"] - person["started"] < IDENTIFIED_MS
    if not early or record["caller"]:  # the identity may still have been on its way
        check("caller", record["caller"], "" if wish.caller_id == "none" else wish.number)
    if person["answered"] >= 0:
        check("rings", record["rings"], person["rings"])
        near("the answer", record["answered_ms"], person["answered"], ANSWER_MS, ANSWER_MS)
    elif record["answered_ms"] is not None:
        # Between two rings nothing tells that the caller has left: the line is answered, and the exchange's dial tone tells it then.
        check("the answer after the caller left", record["answered_ms"] - wall_base >= person["ended"], True)
        check("evidence", record["evidence"], "dial-tone")
    strong = person["line"] <= 3
    if person["ended_by"] == "me":
        # In its first moments the transients of the answer hide a release.
        sure = SURE_END_MS if person["ended"] - person["answered"] > SETTLED_MS else 2 * END_MS
        near("the end", record["ended_ms"], person["ended"], (sure if strong else BUSY_END_MS) if person["answered"] >= 0 else 9000)
        if strong and person["answered"] >= 0:
            check("first to leave", record["first_to_leave"], "caller")
    elif not wish.preemptible:
        near("the end", record["ended_ms"], person["ended"], END_MS, 2 * END_MS)
    pressed = "".join(keys for keys, _ in person["pressed"])
    # Keys pressed into the greeting are kept for the menus behind it, and count when these are reached.
    reached = not wish.barge_in or person["ended"] - person["answered"] > OPENING_MS
    for at, (what, wanted) in enumerate((("language", LANGUAGE_OF), ("queue", QUEUE_OF))):
        if len(pressed) > at and person["ended"] - person["pressed"][at][1] > 600 and (reached or record["queue"]):
            check(what, record[what], wanted[pressed[at]])
    met = [agent for agent, hz in AGENT_HZ.items() if f"{hz:g}" in person["partners"]]
    if wish.transferred:
        check("people met", sorted(met), sorted((wish.agent, TRANSFER_EXTENSION)))
        check("first agent", str(record["agents"]).split()[:1], [wish.agent])
    elif met:
        check("agent", [record["agent"]], met)
        check("agent met", met, [wish.agent])
        near("the conversation", record["connected_ms"], person["met"], 300, MEET_MS)
    elif wish.episode in ("talk-fxs", "talk-sip", "no-answer", "rating", "core-killed"):
        check("people met", [wish.agent], met)
    if not met:
        # Nobody was recognised by tone: at most one pause of a turn was shared with an agent, and then the release was noticed.
        late = max(0, record["ended_ms"] - wall_base - person["ended"])
        check("talk", record["talk_ms"] > (UNMET_MS + late if wish.agent else 0), False)
    for hz, level in person["partners"].items():
        if abs(level - LEVEL_DBM0) > LEVEL_DB:
            check(f"level of {hz} Hz", LEVEL_DBM0, level)
    if wish.misses:
        check("offers missed", record["misses"] >= wish.misses, True)
    rated = int(pressed[2]) if len(pressed) > 2 else 0
    check("rating", record["rating"], rated)
    if wish.rating:
        check("key of the rating", rated, wish.rating)


def _judge_outgoing(
    wish: Expectation, person: Facts, record: Facts, outside: Sequence[Facts], check: Any, near: Any, found: list[str]
) -> None:
    call = next(
        (c for c in outside if c["direction"] == "out" and c["number"] == wish.number and c["started"] >= person["started"] - 100), None
    )
    if call is None:
        found.append(f"no exchange line was asked for {wish.number}")
        return
    check("called", str(record["called"])[-len(wish.number) :], wish.number)  # with or without the access code
    check("line", record["line"], f"line/{call['line']}")
    check("line of a leg", record["line"] in [leg["endpoint"] for leg in record["legs"]], True)
    wanted = EMERGENCY_HZ if wish.kind == "emergency" else OUTSIDE_HZ
    check("tone of the other party", f"{wanted:g}" in person["partners"], True)
    for hz, level in person["partners"].items():
        if abs(level - LEVEL_DBM0) > LEVEL_DB:
            check(f"level of {hz} Hz", LEVEL_DBM0, level)
    if call["answered"] >= 0:
        late = TURNS_ANSWER_MS if wish.kind == "emergency" else OUTSIDE_ANSWER_MS
        near("the conversation", record["connected_ms"], call["answered"], late, 1000)
    near("the end", record["ended_ms"], person["ended"], 2500, 2500)
    check("emergency", call["emergency"], wish.kind == "emergency")


def _heard(wish: Expectation, person: Facts, people: Sequence[Facts], tapes: Path) -> list[str]:
    """Both sides of a conversation sounded all the time: what each of them heard."""
    outbound = wish.kind == "outbound"
    if outbound:
        tones = (OUTSIDE_HZ, AGENT_HZ[FXS_AGENT if person["kind"] == "phone" else SIP_AGENT])
        candidates = [p for p in people if p["kind"] == "callee" and p["number"] == wish.number]
    else:
        tones = (AGENT_HZ[wish.agent], CALLER_HZ)
        candidates = [p for p in people if p["kind"] in ("phone", "softphone") and p["number"] == PHONE_OF[wish.agent]]
    other = next((p for p in candidates if person["started"] <= p["answered"] <= person["ended"]), None)
    alone = wish.killed_at >= 0  # the caller of that call is silent, so that he hears nothing but the agent
    if person["met"] < 0 or (not alone and (other is None or other["met"] < 0)):
        return ["the two sides did not hear each other"]
    most = OWN_OUTSIDE_DBM0 if outbound else OWN_DBM0
    found = _side("the caller", person, other, tones[0], tones[1], most, tapes)
    if other is not None and not alone:
        found += _side("the other side", other, person, tones[1], tones[0], most, tapes)
    return found


def _side(who: str, person: Facts, other: Facts | None, hz: float, own_hz: float, most: float, tapes: Path) -> list[str]:
    path = tapes / f"{person['ident']}.wav"
    try:
        tape = read_wav(path)
    except (OSError, ValueError) as error:
        return [f"the tape of {who} cannot be read ({error})"]
    first = (max(person["met"], other["met"] if other is not None else -1) - person["tape_start"]) / 1000 + BEGIN_S
    last = (min(person["ended"], other["ended"] if other is not None else person["ended"]) - person["tape_start"]) / 1000 - END_S
    if last - first < 1.0:
        return [f"the tape of {who} holds only {last - first:.1f} s of the conversation"]
    quiet = longest = 0
    for step in range(int((last - first) * 100)):
        at = first + step / 100
        quiet = quiet + 10 if measure(tape, hz, at, at + 0.02) < LEVEL_DBM0 - 12 else 0
        longest = max(longest, quiet)
    level, own = measure(tape, hz, first, last), measure(tape, own_hz, first, last)
    found = [f"{who} heard nothing of the other for {longest} ms"] if longest > GAP_MS else []
    if abs(level - LEVEL_DBM0) > LEVEL_DB:
        found.append(f"{who} heard the other at {level:.1f} dBm0, not at {LEVEL_DBM0:g}")
    if own > most:
        found.append(f"{who} heard itself at {own:.1f} dBm0")
    return found


def coverage(expected: Sequence[Expectation], people: Sequence[Facts], outside: Sequence[Facts]) -> dict[str, list[str]]:
    """Who saw each item of `day_plan.COVERAGE` happen (idents of people)."""
    by_ident = {person["ident"]: person for person in people}
    found: dict[str, list[str]] = {item: [] for item in COVERAGE}
    states: list[str] = []
    for wish in expected:
        person = by_ident.get(wish.person)
        if person is None:
            continue
        items = _items(wish, person, outside)
        for item in items:
            found[item].append(wish.person)
        if wish.episode == "leaves":
            states.append(_left_in(person))
    return found | {f"caller-leaves-in-{state}": [state] for state in sorted(set(states))}


def _left_in(person: Facts) -> str:
    if person["answered"] < 0:
        return "ringing"
    if person["met"] >= 0:
        return "conversation"
    return "queue" if len(person["pressed"]) > 1 else "menu"


def _items(wish: Expectation, person: Facts, outside: Sequence[Facts]) -> list[str]:
    met = set(person["partners"])
    agents = {agent for agent, hz in AGENT_HZ.items() if f"{hz:g}" in met}
    if wish.kind == "feature":
        return [f"log-in-{'fxs' if person['kind'] == 'phone' else 'sip'}"] if wish.episode == "log-in" else []
    if wish.kind == "emergency":
        lines = {c["line"] for c in outside if c["direction"] == "in" and c["started"] < person["started"] < c["ended"]}
        return ["emergency-lines-busy"] if f"{EMERGENCY_HZ:g}" in met and len(lines) == 4 else []
    if wish.kind == "outbound":
        return [wish.episode] if met else []
    items = []
    if person["answered"] >= 0 and person["pressed"]:
        items += [f"caller-id-{wish.caller_id}", f"language-{LANGUAGE_OF[person['pressed'][0][0][0]]}"]
        items += ["barge-in"] if wish.barge_in else []
    if wish.episode in ("time-out", "no-agent") and person["ended_by"] == "far" and not met:
        items.append(f"overflow-{wish.episode}")
    if wish.episode == "full" and person["ended_by"] == "far" and not met:
        items.append("overflow-full")
    if wish.episode == "leaves" and person["ended_by"] == "me":
        items.append("caller-leaves")
    if wish.misses and met:
        items.append("agent-no-answer")
    items += [f"agent-{'fxs' if agent == FXS_AGENT else 'sip'}" for agent in agents if agent in (FXS_AGENT, SIP_AGENT)]
    if wish.transferred and len(agents) == 2:
        items.append("transfer")
    if wish.killed_at >= 0 and met:
        items.append("core-killed")
    if wish.rating and len(person["pressed"]) > 2:
        items.append("rating")
    if wish.double and agents and wish.episode in ("talk-fxs", "talk-sip"):
        items.append(f"double-{wish.episode}")
    return items
