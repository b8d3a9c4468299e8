"""Compares what the people of a simulated day saw with what the appliance wrote down (pure).

Theory of operation. Each caller or dialler has an `Expectation`: who called, by which scheme, what was pressed, who should be met. A
record belongs to it when its line (or extension) and its opening agree with the world's own log. Then field by field: numbers, rings,
times, queue, language, who talked (by the tone that was heard), who left first, rating. Times are compared on the world's clock with the
tolerance that the signalling allows: a busy-tone release needs several cycles, an answer needs the loop current to settle.
Invariant: every difference is one sentence that names the person, the field, both values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.sim.day_plan import AGENT_HZ, EMERGENCY_HZ, OUTSIDE_HZ, TRANSFER_EXTENSION
from firmware.sim.hearing import measure
from firmware.sim.signal import read_wav

ANSWER_MS = 400
END_MS = 800
BUSY_END_MS = 5500
MEET_MS = 6000  # turns of talking, and the agent's number first
LEVEL_DBM0, LEVEL_DB = -16.0, 1.0
GAP_MS = 60
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
    agent: str = ""
    misses: int = 0
    rating: int = 0
    transferred: bool = False
    preemptible: bool = False
    killed_at: int = -1
    tape: Path | None = None
    extension: str = ""
    line: int = 0


def compare(
    expected: Sequence[Expectation], people: Sequence[Facts], outside: Sequence[Facts], records: Sequence[Facts], wall_base: int
) -> list[str]:
    """Every difference, as sentences."""
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
            if not (wish.kind == "inbound" and person["answered"] < 0 and person["rings"] <= 1):
                found.append(f"{wish.episode}: no {wish.kind} record for {wish.person} ({wish.number})")
            continue
        left.remove(record)
        where = f"{wish.episode} {wish.person} record {record['id']}"
        found += [f"{where}: {text}" for text in _judge(wish, person, record, outside, wall_base)]
    found += [
        f"record {r['id']} ({r['kind']}, caller {r['caller']!r}, called {r['called']!r}) belongs to nobody"
        for r in left
        if r["kind"] != "feature"
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
        _judge_inbound(wish, person, record, check, near)
        if wish.killed_at >= 0 and wish.tape is not None:
            found += _gaps(wish, person)
    else:
        _judge_outgoing(wish, person, record, outside, check, near, found)
    return found


def _judge_inbound(wish: Expectation, person: Facts, record: Facts, check: Any, near: Any) -> None:
    check("caller", record["caller"], "" if wish.caller_id == "none" or (person["rings"] < 1) else wish.number)
    if person["answered"] >= 0:
        check("rings", record["rings"], person["rings"])
        near("the answer", record["answered_ms"], person["answered"], ANSWER_MS, ANSWER_MS)
    else:
        check("the answer", record["answered_ms"], None)
    strong = person["line"] <= 3
    if person["ended_by"] == "me":
        near("the end", record["ended_ms"], person["ended"], (2 * END_MS if strong else BUSY_END_MS) if person["answered"] >= 0 else 9000)
        if strong and person["answered"] >= 0:
            check("first to leave", record["first_to_leave"], "caller")
    elif not wish.preemptible:
        near("the end", record["ended_ms"], person["ended"], END_MS, 2 * END_MS)
    pressed = "".join(keys for keys, _ in person["pressed"])
    if pressed and not (person["ended_by"] == "me" and person["ended"] - person["pressed"][0][1] < 600):
        check("language", record["language"], LANGUAGE_OF[pressed[0]])
    if len(pressed) >= 2 and person["ended"] - person["pressed"][1][1] > 600:
        check("queue", record["queue"], QUEUE_OF[pressed[1]])
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
        check("talk", record["talk_ms"] > 1500, False)
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
    check("line", f"line/{call['line']}" in [leg["endpoint"] for leg in record["legs"]], True)
    wanted = EMERGENCY_HZ if wish.kind == "emergency" else OUTSIDE_HZ
    check("tone of the other party", f"{wanted:g}" in person["partners"], True)
    for hz, level in person["partners"].items():
        if abs(level - LEVEL_DBM0) > LEVEL_DB:
            check(f"level of {hz} Hz", LEVEL_DBM0, level)
    if call["answered"] >= 0:
        near("the conversation", record["connected_ms"], call["answered"], 6000, 1000)
    near("the end", record["ended_ms"], person["ended"], 2500, 2500)
    check("emergency", call["emergency"], wish.kind == "emergency")


def _gaps(wish: Expectation, person: Facts) -> list[str]:
    """Silences of the agent's tone around the moment when core was killed."""
    assert wish.tape is not None
    try:
        tape = read_wav(wish.tape)
    except (OSError, ValueError) as error:
        return [f"the caller's tape cannot be read ({error})"]
    first = (wish.killed_at - person["tape_start"]) / 1000 - 1.0
    quiet = longest = 0
    for step in range(700):
        at = first + step / 100
        quiet = quiet + 10 if measure(tape, AGENT_HZ[wish.agent], at, at + 0.02) < -30 else 0
        longest = max(longest, quiet)
    return [f"the caller heard nothing of the agent for {longest} ms while core was killed"] if longest > GAP_MS else []
