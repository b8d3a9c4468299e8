"""Compares what the people of a simulated week noted with the records, the queue log, the exports and the reports (pure).

Theory of operation. Every caller has a number of his own. Caller by caller: one contact, no more and no fewer; its instants, queue,
agent, wait, talk, rating and who left first are those of the notes, to the millisecond. Then the same is counted twice: by `expected`
from the notes, in code that shares nothing with the product, and by the reports; every number must be equal. While core was killed
people's doings are heard late: a note within such a gap may differ by the length of the gap (`settle` takes over the recorded instant
then, so that sums can be compared exactly); at a power cut the record says when the last sign was, which is not after the cut.
Invariant: every difference is one sentence that names the caller, the field, both values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from firmware.sim.week_people import CallerNote, Crowd
from firmware.sim.week_plan import day_of

WITHIN_MS, SHORT_MS = 20_000, 5_000
FAULTS = ("media-lost", "line-fault", "system")
Row = Mapping[str, Any]


def compare(crowd: Crowd, base: int, contacts: Sequence[Any], legs: Sequence[Any], log: Sequence[Any]) -> list[str]:
    """Caller by caller. `base`: Unix ms of instant 0 of the plan."""
    found: list[str] = []
    by_number: dict[str, list[Any]] = defaultdict(list)
    for row in contacts:
        if row["kind"] == "inbound":
            by_number[str(row["caller"])].append(row)
    lines: dict[str, list[Any]] = defaultdict(list)
    for row in log:
        lines[str(row["contact"])].append(row)
    ends = {str(leg["contact"]): int(leg["ended_ms"]) for leg in legs if leg["role"] == "caller"}
    for note in crowd.notes:
        rows = by_number.pop(note.call.number, [])
        if len(rows) != (0 if note.blocked else 1):
            found.append(f"{note.call.number}: {len(rows)} contacts for one caller (blocked {note.blocked})")
            continue
        if rows:
            row = rows[0]
            end = ends.get(row["id"], row["ended_ms"])
            found += [f"{note.call.number} {row['id']}: {text}" for text in _judge(crowd, note, row, end, lines[row["id"]], base)]
    found += [f"contact of {number!r} belongs to nobody" for number in by_number]
    features = sum(row["kind"] == "feature" for row in contacts)
    if features != crowd.codes:
        found.append(f"{features} contacts of feature codes, {crowd.codes} were dialled")
    found += [f"{row['id']} is still open" for row in contacts if row["ended_ms"] is None]
    return found


def _judge(crowd: Crowd, note: CallerNote, row: Row, end: int, log: Sequence[Row], base: int) -> list[str]:
    found: list[str] = []

    def same(what: str, said: object, noted: object) -> None:
        if said != noted:
            found.append(f"{what} is {said!r}, was {noted!r}")

    def instant(what: str, said: int | None, noted: int) -> int:
        """The settled instant: as noted, or as recorded where core was away."""
        said = -1 if said is None else said - base
        if said != noted and (slack := _slack(crowd, noted)) and 0 <= said - noted <= slack:
            return said
        same(what, said, noted)
        return noted

    cut = any(note.rang <= at <= note.ended for at in crowd.cuts)
    instant("opened", row["opened_ms"], note.rang)
    same("line", row["line"], note.line)
    if cut:
        same("cause", row["cause"], "system")
        same("picked up", -1 if row["answered_ms"] is None else row["answered_ms"] - base, note.picked_up)
        same("began to talk", -1 if row["connected_ms"] is None else row["connected_ms"] - base, note.met)
        same("agent", row["agent"], note.agent)
        if row["ended_ms"] - base > note.ended:
            found.append(f"ended is {row['ended_ms'] - base}, after the power was cut at {note.ended}")
        _settle_cut(note, log, base)
        return found
    note.picked_up = instant("picked up", row["answered_ms"], note.picked_up)
    note.ended = instant("caller's end", end, note.ended)
    if row["ended_ms"] < end:
        found.append(f"the contact ended at {row['ended_ms'] - base}, before the caller at {note.ended}")
    entered = next((line for line in log if line["event"] == "ENTERQUEUE"), None)
    noted = note.entered
    if noted >= 0 and entered is not None:
        note.entered = instant("entered the queue", entered["at_ms"], noted)
        note.queues[0] = (note.queues[0][0], note.entered)
        same("queue entered", entered["queue"], note.queues[0][0])
    elif entered is not None:
        # Who does not choose is led on by the box itself.
        note.entered = entered["at_ms"] - base
        note.queues.append((entered["queue"], note.entered))
        same("queue entered by itself", entered["queue"], "service")
    elif noted >= 0:
        if row["cause"] in FAULTS or _slack(crowd, noted):
            note.entered, note.queues = -1, []
        else:
            found.append(f"entered the queue at {noted}, the log knows nothing of it")
    for line in log:
        if line["event"] == "ENTERQUEUE" and line is not entered:
            note.queues.append((line["queue"], line["at_ms"] - base))
            before = log[[*log].index(line) - 1]
            same("event before the second queue", before["event"] in ("EXITWITHTIMEOUT", "EXITEMPTY", "EXITFULL"), True)
    connects = [line for line in log if line["event"] == "CONNECT"]
    drops = sum(line["event"] == "AGENTDUMP" and str(line["data"]).partition("|")[0] not in FAULTS for line in log)
    noted_drops = len(note.dropped)
    if any(_slack(crowd, at) for at in note.dropped):
        noted_drops = drops                        # core was away: the telephone may have ended before its answer was heard of
    same("agents who were gone at once", drops, noted_drops)
    same("connected", len(connects) > drops, note.agent_at >= 0)
    if connects and note.agent_at >= 0:
        noted = note.agent_at
        note.agent_at = instant("agent answered", connects[-1]["at_ms"], noted)
        same("agent", connects[-1]["agent"], note.agent)
        # A fault that ends both calls while the number is said ends the wait at the answer or with the caller, whichever is heard of first.
        until = note.agent_at if note.met >= 0 else note.ended
        if note.met < 0 and note.cause in FAULTS and row["wait_ms"] == note.agent_at - note.entered:
            until = note.agent_at
        wait = until - note.entered
        if row["wait_ms"] != wait and abs(row["wait_ms"] - wait) > _slack(crowd, noted) + _slack(crowd, note.call.at, note.ended):
            found.append(f"wait is {row['wait_ms']} ms, was {wait} ms")
    note.met = instant("began to talk", row["connected_ms"], note.met)
    same("rating", row["rating"], note.rated)
    ends = {line["event"] for line in log}
    if note.met >= 0 and not note.transferred and note.cause not in FAULTS:
        side = "agent" if note.agent_left_first or note.call.agent_ends else "caller"
        same("who left first", row["first_to_leave"], side)
        same("end in the log", [name for name in ("COMPLETEAGENT", "COMPLETECALLER") if name in ends], [f"COMPLETE{side.upper()}"])
    if note.met < 0 and note.by_self and note.entered >= 0:
        same("cause", row["cause"], "abandoned")
        same("end in the log", "ABANDON" in ends, True)
        left = [line["at_ms"] for line in log if line["event"] == "ABANDON"]
        if left and note.ended >= 0:
            note.ended = instant("left the queue", left[-1], note.ended)       # heard late where core was away
    if note.cause in FAULTS:
        same("cause", row["cause"], note.cause)
    return found


def _slack(crowd: Crowd, *between: int) -> int:
    """Length of the gap that an instant, or a span, falls into; 0 outside."""
    first, last = between[0], between[-1]
    return sum(end - begin + 1 for begin, end in crowd.gaps if first <= end and last >= begin and first >= 0)


def _settle_cut(note: CallerNote, log: Sequence[Row], base: int) -> None:
    """Of a call that the power ended, what the log knows is taken over; the callers' notes go no further."""
    entered = [line for line in log if line["event"] == "ENTERQUEUE"]
    note.queues = [(str(line["queue"]), int(line["at_ms"]) - base) for line in entered]
    note.entered = note.queues[0][1] if entered else -1
    note.cause = "system"


def expected(crowd: Crowd) -> dict[str, Counter[str]]:
    """Figures of each day from the notes, by day, then "queue.figure" or "agent.figure"."""
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for note in crowd.notes:
        if note.blocked:
            continue
        day = days[day_of(note.rang)]
        day["inbound"] += 1
        day["picked up"] += note.picked_up >= 0
        day["gave up ringing"] += note.picked_up < 0 and note.by_self
        day["talked"] += note.met >= 0
        if note.rated and note.queues:
            day[f"{note.queues[-1][0]}.rated {note.rated}"] += 1
        last = len(note.queues) - 1
        for at, (queue, entered) in enumerate(note.queues):
            day[f"{queue}.offered"] += 1
            if at < last:
                continue
            wait = note.agent_at - entered
            if note.met >= 0:
                day[f"{queue}.answered"] += 1
                day[f"{queue}.answered within"] += wait <= WITHIN_MS
                day[f"{queue}.wait"] += wait
            elif note.by_self and not {"q.full", "night.msg"} & set(note.heard):
                left = note.ended - entered
                day[f"{queue}.abandoned"] += 1
                day[f"{queue}.short"] += left < SHORT_MS
                day[f"{queue}.wait abandoned"] += left
            elif note.cause in FAULTS:
                day[f"{queue}.cut"] += 1
    for ring in crowd.rings_noted:
        if any(ring.rang <= at <= ring.ended for at in crowd.cuts):
            continue                     # the power took what nobody had written yet: telephones that rang
        day = days[day_of(ring.rang)]
        day[f"{ring.agent}.rung"] += 1
        day[f"{ring.agent}.answered"] += ring.met
        day[f"{ring.agent}.gone at once"] += ring.picked_up >= 0 and ring.by_self and not ring.met
    return {name: Counter({key: value for key, value in day.items() if value}) for name, day in days.items()}


def reported(tally: Any, queues: Sequence[str], agents: Sequence[str]) -> Counter[str]:
    """The same figures as the reports have them."""
    found: Counter[str] = Counter()
    for name, key in (("inbound", "inbound"), ("picked up", "picked_up"), ("gave up ringing", "gave_up_ringing"), ("talked", "talked")):
        found[name] = tally.get("all", key)
    names = {"offered": "offered", "answered": "answered", "answered within": "answered_within", "wait": "wait_answered_ms",
             "abandoned": "abandoned", "short": "short", "wait abandoned": "wait_abandoned_ms", "cut": "cut"}  # fmt: skip
    for queue in queues:
        for name, key in names.items():
            found[f"{queue}.{name}"] = tally.get(f"queue/{queue}", key)
        for grade in (1, 2, 3):
            found[f"{queue}.rated {grade}"] = tally.get(f"rated/queue/{queue}", f"three.{grade}")
    for agent in agents:
        found[f"{agent}.rung"] = tally.get(f"agent/{agent}", "offers")
        found[f"{agent}.answered"] = tally.get(f"agent/{agent}", "answered")
        found[f"{agent}.gone at once"] = tally.get(f"agent/{agent}", "dropped")
    return Counter({key: value for key, value in found.items() if value})


def pauses(crowd: Crowd, base: int, states: Sequence[Any]) -> list[str]:
    """Every pause that an agent heard confirmed is in the records with its reason and length, and there are no others."""
    kept: dict[tuple[str, str], list[int]] = defaultdict(list)
    since: dict[str, tuple[str, int]] = {}
    for row in states:
        agent = str(row["agent"])
        if agent in since:
            reason, began = since.pop(agent)
            kept[(agent, reason)].append(int(row["at_ms"]) - began)
        if row["status"] == "paused":
            since[agent] = str(row["reason"]), int(row["at_ms"])
    noted: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in crowd.pauses:
        if any(one.begins <= end and one.ends >= begin for begin, end in crowd.gaps):
            # Core was away in between: a pause is begun anew by the next one, and not looked at.
            kept.pop((one.agent, one.reason), None)
            noted.pop((one.agent, one.reason), None)
            continue
        noted[(one.agent, one.reason)].append(one.ends - one.begins)
    touched = {(one.agent, one.reason) for one in crowd.pauses if any(one.begins <= end and one.ends >= begin for begin, end in crowd.gaps)}
    return [
        f"pauses of {agent} for {reason}: {sorted(kept[agent, reason])} ms, were {sorted(noted[agent, reason])} ms"
        for agent, reason in sorted({*kept, *noted} - touched) if sorted(kept[agent, reason]) != sorted(noted[agent, reason])
    ]  # fmt: skip


def exported(day: str, noted: Mapping[str, int], lines: Sequence[str], calls: Sequence[Sequence[str]]) -> list[str]:
    """The exports as a reader of Asterisk's formats counts them. Who found a queue full never joined it there."""
    last: dict[str, list[str]] = {}
    counted: Counter[str] = Counter()
    found: list[str] = []
    for line in lines:
        parts = line.split("|")
        if len(parts) < 5 or not parts[0].isdigit():
            found.append(f"queue_log of {day}: {line!r} is no line of a queue_log")
            continue
        _, call, queue, _, event, *data = parts
        if event == "ENTERQUEUE":
            last[call] = [queue, event]
        elif event in ("CONNECT", "ABANDON") and call in last:
            if last[call][1] == "CONNECT":
                found.append(f"queue_log of {day}: {call} has a {event} behind its CONNECT")
            last[call] = [queue, event, data[0] if event == "CONNECT" else data[2]]
        elif event.startswith("EXIT") and call in last:
            last[call] = [queue, event]
        if event in ("PAUSEALL",) and not data[0]:
            found.append(f"queue_log of {day}: a pause without reason: {line!r}")
    for queue, event, *_ in last.values():
        counted[f"{queue}.answered"] += event == "CONNECT"
    found += [
        f"queue_log of {day}: {name} is {counted[name]}, the notes say {noted.get(name, 0)}"
        for name in sorted({*counted, *(key for key in noted if key.endswith(".answered") and not key[0].isdigit())})
        if counted[name] != noted.get(name, 0)
    ]
    if any(len(row) != 18 for row in calls):
        found.append(f"Master.csv of {day}: a line has not 18 fields")
        return found
    if len(calls) != noted.get("inbound", 0):
        found.append(f"Master.csv of {day}: {len(calls)} calls, the notes say {noted.get('inbound', 0)}")
    answered = sum(row[14] == "ANSWERED" for row in calls if row[7] == "Queue")
    if answered != noted.get("talked", 0):
        found.append(f"Master.csv of {day}: {answered} answered, the notes say {noted.get('talked', 0)} talked")
    return found


def differences(day: str, noted: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    """Each figure that is not the same."""
    return [
        f"report of {day}: {name} is {counted.get(name, 0)}, the notes say {noted.get(name, 0)}"
        for name in sorted({*noted, *counted}) if noted.get(name, 0) != counted.get(name, 0)
    ]  # fmt: skip
