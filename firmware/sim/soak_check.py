"""Compares what a soak's people and exchange saw with what the appliance wrote down (pure).

Theory of operation. Each note (`soak_stage`) is one call. Its record is found by kind, line or extension and opening time. From the copper
follows who left first, when, and what the cause must be: nobody may be released who did not leave (or whose partner did not), and every
cause and every time must be right within what the signalling allows. A call is *excused* from that where a fault touched it
(`soak_excuses`); it must still end, with a cause. A record without a call is a difference too.
Invariant: every difference is one sentence that names the call and both values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from firmware.sim.soak_excuses import EXCUSED_SHARE, HOOK_MS, Trouble, excuses, free_lines, made_by_fault, struck_ports, trouble_of

Facts = Mapping[str, Any]

ANSWER_MS = 500
OUTSIDE_ANSWER_MS = 10_200      # one that only a voice tells: a turn cut short may be ringback, then two whole ones, each known at its end
TOLD_ANSWER_MS = 6500           # one that a reversal tells, which nobody announced: no ringback may follow it
SURE_END_MS = 1300              # loop drop and reversal
TONE_END_MS = 5000              # three cycles of busy tone, after the exchange began it
IDENTIFIED_MS = 7000            # a call given up in its first ring may leave no trace
CLOSING_MS = 60_000             # an excused call must be over by then
GLARE_MS = 400                  # answered so soon: the line was seized as it began to ring
UNSEEN_MS = 135                 # seized before the second half-wave of the ring (the exchange trips 100 ms later): nobody can tell
MISHEARD_MS = 720               # two cycles of the shortest busy tone: a sound that takes as long may be taken for it
CAUSE_OF = {"out-busy": "busy", "out-congestion": "congestion", "out-unobtainable": "unreachable"}


def judge(notes: Sequence[Facts], records: Sequence[Facts], wall_base: int) -> list[str]:
    """Every difference. `wall_base`: Unix ms of the world's zero."""
    left = {record["id"]: record for record in records}
    struck = struck_ports(notes)
    found: list[str] = []
    many = 0
    for note, record in _pairs(notes, records, wall_base):
        where = f"call {note['ident']} ({note['kind']}, stream {note['stream']}, at {note['started']} ms)"
        if record is not None:
            del left[record["id"]]
        if note.get("unfinished"):
            found.append(f"{where}: its people did not come to an end")
        if excuses(note, record, struck, wall_base):
            many += 1
            texts = _must_end(note, record, wall_base)
        elif note["kind"].startswith("in-"):
            texts = _inbound(note, record, wall_base, trouble_of(note, notes, struck))
        elif note["kind"] == "internal":
            texts = _internal(note, record, wall_base)
        else:
            texts = _outbound(note, record, wall_base, trouble_of(note, notes, struck))
        found += [f"{where}: {text}" for text in texts]
    if many > EXCUSED_SHARE * len(notes):
        found.append(f"{many} of {len(notes)} calls were excused by faults: too many for a judgement")
    found += [
        f"record {r['id']} at {r['opened_ms'] - wall_base} ms ({r['kind']}, {r['caller']!r} to {r['called']!r}, {r['line']}, {r['cause']}) "
        "belongs to no call" for r in left.values() if not made_by_fault(r, notes, struck, wall_base)
    ]  # fmt: skip
    return found


def excused(notes: Sequence[Facts], records: Sequence[Facts], wall_base: int) -> int:
    """Calls that faults excuse from all but an end with a cause."""
    struck = struck_ports(notes)
    return sum(excuses(note, record, struck, wall_base) for note, record in _pairs(notes, records, wall_base))


def _pairs(notes: Sequence[Facts], records: Sequence[Facts], wall_base: int) -> Iterator[tuple[Facts, Facts | None]]:
    """Each call in order of time, with its record."""
    left = {record["id"]: record for record in records}
    for note in sorted(notes, key=lambda n: int(n["started"])):
        record = _record_of(note, left, wall_base)
        if record is not None:
            del left[record["id"]]
        yield note, record


def _record_of(note: Facts, records: Mapping[str, Facts], wall_base: int) -> Facts | None:
    kind = {"in": "inbound", "out": "outbound"}.get(note["kind"].partition("-")[0], "internal")
    extension = f"10{note['stream']}"
    for record in records.values():
        if record["kind"] != kind or not note["started"] - 500 <= record["opened_ms"] - wall_base <= note["ended"] + HOOK_MS:
            continue
        if (record["line"] == f"line/{note['stream']}") if kind == "inbound" else record["extension"] == extension:
            return record
    return None


def _must_end(note: Facts, record: Facts | None, wall_base: int) -> Iterator[str]:
    if record is None:
        return
    if record["ended_ms"] is None:
        yield "is not closed"
    elif record["ended_ms"] - wall_base > note["ended"] + CLOSING_MS:
        yield f"ended only at {record['ended_ms'] - wall_base} ms, its people had left by {note['ended']}"
    if not record["cause"]:
        yield "has no cause"


def _near(what: str, record_ms: int | None, world_ms: int, wall_base: int, late: int, early: int = 150) -> Iterator[str]:
    if record_ms is None:
        yield f"{what} is missing in the record, the world has {world_ms}"
    elif not -early <= record_ms - wall_base - world_ms <= late:
        yield f"{what} is {record_ms - wall_base} in the record and {world_ms} in the world (ms)"


def _is(what: str, record_says: Any, wanted: Any) -> Iterator[str]:
    if record_says != wanted:
        yield f"{what} is {record_says!r} in the record, {wanted!r} in the world"


def _person(note: Facts, kind: str, number: str = "") -> Facts | None:
    return next((p for p in note["people"] if p["kind"] == kind and (not number or p["number"] == number)), None)


def _near_left(person: Facts | None, call: Facts | None) -> int:
    """When the telephone at the branch was put down by itself: who has listened and misheard a busy tone has left, too."""
    if person is None or person["ended"] < 0:
        return -1
    mistaken = call is not None and call["ended_by"] == "box" and person["ended"] <= call["ended"]
    mistaken = mistaken and person["ended"] - person["answered"] >= MISHEARD_MS
    return int(person["ended"]) if person["ended_by"] == "me" or mistaken else -1


def _end_of(note: Facts, far_left: int, near_left: int) -> tuple[str, int, int]:
    """(who left first: "far" or "near", when, how late that may be noticed)."""
    if far_left >= 0 and (near_left < 0 or far_left <= near_left):
        sure = "polarity" in note["release"] or "loop-drop" in note["release"]
        return "far", far_left, SURE_END_MS if sure else TONE_END_MS
    return "near", near_left, HOOK_MS


def _inbound(note: Facts, record: Facts | None, wall_base: int, trouble: Trouble) -> Iterator[str]:
    caller = _person(note, "caller")
    if caller is None or caller["outcome"] == "busy":  # the line was in use: the exchange gave busy tone
        return
    desk = _person(note, "phone", str(note["stream"]))
    if record is None:
        if unseen(note):
            return
        if caller["answered"] >= 0 or caller["ended"] - caller["started"] > IDENTIFIED_MS:
            yield "left no record"
        return
    if record["ended_ms"] is None:
        yield "is not closed"
        return
    if caller["answered"] < 0:
        if note["kind"] == "in-talk":
            yield f"nobody answered; the caller left after {caller['ended'] - caller['started']} ms"
        if record["answered_ms"] is None:
            if record["cause"] not in ("abandoned", "no-answer"):
                yield f"cause is {record['cause']!r} although the caller left before an answer"
        elif record["answered_ms"] - wall_base < caller["ended"]:
            yield "was answered in the record and not in the world"
        return
    call = note["calls"][0]
    # Who is at the desk answers later than the line; the caller id that came before the ring may have been cut.
    glare = 0 <= _after_ring(call) < GLARE_MS
    if not trouble.spoilt and not ((glare or trouble.unheard) and not record["caller"]):
        told = any(call["identified"] >= 0 for call in note["calls"])        # never, when the line was seized as it began to ring
        yield from _is("caller", record["caller"], note["number"] if told else "")
    if note["kind"] != "in-talk":
        # Nobody at the branch took it: an end that the appliance makes is its own business, but it must say so.
        if record["connected_ms"] is not None:
            yield "somebody was connected, and nobody was there"
        return
    answered = desk["answered"] if glare and desk is not None else caller["answered"]
    yield from _near("the answer", record["answered_ms"], answered, wall_base, ANSWER_MS, ANSWER_MS)
    far_left = call["ended"] if call["ended_by"] == "far" else -1
    near_left = _near_left(desk, call)
    yield from _conversation(note, record, wall_base, trouble, (far_left, near_left, desk), ("caller", "agent"))
    if call["ended_by"] == "box" and near_left < 0:
        yield f"the line was released at {call['ended']} although nobody had left"


def _outbound(note: Facts, record: Facts | None, wall_base: int, trouble: Trouble) -> Iterator[str]:
    phone = _person(note, "phone", f"9{note['number']}")
    if phone is None:
        yield "nobody dialled"
        return
    if record is None:
        if note["kind"] != "out-given-up":
            yield "left no record"
        return
    if record["ended_ms"] is None:
        yield "is not closed"
        return
    call = note["calls"][0] if note["calls"] else None
    near_left = _near_left(phone, call)
    if call is None:
        if record["cause"] == "congestion" and not record["line"]:
            if free := free_lines(note, record["opened_ms"] - wall_base, trouble.struck):
                yield f"found no line although {', '.join(free)} stood idle"
        elif record["cause"] == "congestion" and _glared(record, trouble, wall_base):
            if free := free_lines(note, record["ended_ms"] - wall_base, trouble.struck):
                yield f"gave up after glare although {', '.join(free)} stood idle"
        elif near_left < 0 and note["kind"] != "out-given-up":
            yield f"reached no exchange line, cause {record['cause']!r} ({record['evidence_detail']})"
        return
    yield from _is("number dialled", call["digits"], note["number"])
    if len(note["calls"]) > 1:
        yield f"{len(note['calls'])} exchange lines were asked for it"
    if call["answered"] < 0 and trouble.noisy and record["connected_ms"] is not None:
        yield from _is("cause", record["cause"], "normal")        # only the ear could have told, and it heard somebody
        return
    if call["answered"] < 0:
        wanted = CAUSE_OF.get(note["kind"], "cancelled")
        # Whoever has heard enough of a tone puts the handset down, perhaps before the appliance is sure of it; both count anew after a gap.
        enough = 2 * TONE_END_MS if trouble.noisy else TONE_END_MS
        if record["cause"] != "cancelled" or call["ended"] < 0 or phone["ended"] - call["ended"] > enough:
            yield from _is("cause", record["cause"], wanted)
        return
    late = TOLD_ANSWER_MS if "polarity" in note["release"] else OUTSIDE_ANSWER_MS
    if call["answered"] > (near_left if near_left >= 0 else call["answered"]) - late and record["connected_ms"] is None:
        return  # left before the answer could be told
    # Noise on the line may sound like somebody before anybody answers.
    early = call["answered"] - call["started"] if trouble.noisy else 1000
    yield from _near("the answer", record["connected_ms"], call["answered"], wall_base, late, early)
    far_left = call["ended"] if call["ended_by"] == "far" else -1
    yield from _conversation(note, record, wall_base, trouble, (far_left, near_left, phone), ("agent", "caller"))
    if call["ended_by"] == "box" and near_left < 0:
        yield f"the line was released at {call['ended']} although nobody had left"


def _glared(record: Facts, trouble: Trouble, wall_base: int) -> bool:
    """The last line that was tried began to ring as it was seized."""
    ended = record["ended_ms"] - wall_base
    return any(line == record["line"] and 0 <= ended - rang <= 2 * GLARE_MS for line, rang in trouble.rings)


def unseen(note: Facts) -> bool:
    """A caller who was answered by a seizure so early in the first ring that the line had shown half a wave of it at most."""
    return note["kind"].startswith("in-") and any(0 <= _after_ring(call) <= UNSEEN_MS for call in note["calls"])


def _after_ring(call: Facts) -> int:
    """From the beginning of the first ring (or of the call, before it) to the answer."""
    began = call["rang"] if call.get("rang", -1) >= 0 else call["started"]
    return int(call["answered"] - began)


def _internal(note: Facts, record: Facts | None, wall_base: int) -> Iterator[str]:
    caller, desk = _person(note, "phone", note["number"]), _person(note, "phone", str(int(note["number"]) - 100))
    if caller is None or record is None:
        yield "left no record" if caller is not None else "nobody dialled"
        return
    if record["ended_ms"] is None:
        yield "is not closed"
        return
    if desk is None or desk["outcome"] != "answered":
        yield f"the neighbour was not reached, cause {record['cause']!r}"
        return
    yield from _near("the answer", record["connected_ms"], desk["answered"], wall_base, ANSWER_MS, ANSWER_MS)
    far_left = desk["ended"] if desk["ended_by"] == "me" else -1
    near_left = caller["ended"] if caller["ended_by"] == "me" else -1
    if far_left < 0 and near_left < 0:
        yield "ended although nobody had left"
        return
    yield from _is("first to leave", record["first_to_leave"], "caller" if far_left < 0 or 0 <= near_left < far_left else "agent")
    yield from _is("cause", record["cause"], "normal")
    yield from _near("the end", record["ended_ms"], min(t for t in (far_left, near_left) if t >= 0), wall_base, HOOK_MS)


def _conversation(
    note: Facts, record: Facts, wall_base: int, trouble: Trouble, left: tuple[int, int, Facts | None], words: tuple[str, str]
) -> Iterator[str]:
    """`left`: when the far end left, when the near end did by itself, who is at the branch; `words`: what the record calls both parties."""
    far_left, near_left, person = left
    if far_left < 0 and near_left < 0:
        yield f"ended with {record['cause']!r} ({record['evidence']}) although nobody had left"
        return
    who, when, late = _end_of(note, far_left, near_left)
    if who == "far" and when < trouble.hum_until:
        late = max(late, trouble.hum_until + SURE_END_MS - when)
    yield from _is("cause", record["cause"], "normal")
    yield from _near("the end", record["ended_ms"], when, wall_base, late)
    # Within the time in which a hang-up is noticed both may have left: by themselves, or because they have heard enough of the tone.
    put_down = int(person["ended"]) if person is not None else -1
    both = far_left >= 0 and any(at >= 0 and abs(far_left - at) < late for at in (near_left, put_down))
    if not (both and record["evidence"] == "on-hook") and not (both and near_left >= 0):
        yield from _is("first to leave", record["first_to_leave"], words[0] if who == "far" else words[1])
