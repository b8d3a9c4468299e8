"""What a fault excuses in a soak, and what it does not (pure).

Theory of operation. A fault excuses a call only where it can have touched it: by its port and by its time. Four rules, from wide to narrow.
*Struck*: a fault that harms conversations stood on a port of the call, or was mended less than `RECOVERY_MS` before. *Out*: a chip or a
feed that failed is brought up again after growing pauses (`hal/health.Limits`, 60 s at most); a call excuses itself by that only when its
telephone or line gave no sign of life. *Shaken*: flipped bits and lost bytes on a serial chain may write what nobody wanted to be written;
the copper tells (a lifted telephone lost its feed, a line's loop opened or closed), and only the call in which it does is excused. *Deaf*:
while the sound device stands still, keys that are dialled are no number. Which lines were free when a call found none is known to the stage
(`free` of a note), so that "all lines are in use" is judged and not excused.
Invariant: an excused call must still end, with a cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from firmware.sim.soak_plan import HARMLESS

Facts = Mapping[str, Any]

HOOK_MS = 1300                  # a telephone that is put down may still be a flash
RECOVERY_MS = 8000              # after a fault of a wire, or a chip that is there again
OUT_MS = 62_000                 # until a chip or feed that failed is tried again
EXCUSED_SHARE = 0.4
STALLED_MS = 500
KEYS_MS = 500                   # the last key
DIALLING_MS = 4500              # from the seizure of a line to the last digit on it
CALLER_ID_MS = 3500             # from the first sound of a caller id to its last, or to the first ring
FREE_BEFORE_MS = 11_000         # a line whose caller gave up seems to ring until the next ring is missed
FREE_AFTER_MS = 500
MISSED_MS = 2000                # a ring that is not seen by now was missed
#: Faults of the line whose sound, voltage or stray pulses spoil a caller id.
SOUNDS = frozenset((("line", "noise"), ("line", "hum")))
STALLS = frozenset((("board", "stall"), ("board", "xrun")))
GARBLING = SOUNDS | STALLS | {("line", "false-ring")}
CHAIN_NOISE = frozenset((("chain", "slip"), ("chain", "flip")))
#: After these a chip or a feed is brought up again, with pauses between the attempts.
BROUGHT_UP = frozenset(
    (("fxo", "reset"), ("fxo", "silent"), ("fxo", "link"), ("fxo", "hook-open"), ("fxs", "reset"), ("fxs", "silent"), ("fxs", "alarm"),
     ("fxs", "short"), ("fxs", "earth"), ("fxs", "leak"), ("fxs", "hook-stuck"), ("chain", "all-ff"), ("chain", "all-00"))
)  # fmt: skip


class Struck(NamedTuple):
    """A port that something harmed: calls are harmed until `until`, and the port may be out of service until `out`."""

    port: str
    since: int
    until: int
    out: int


class Trouble(NamedTuple):
    """What was wrong around a call that is judged all the same."""

    spoilt: bool                 # its caller id may have been garbled
    unheard: bool                # the line may have been out of service as its caller id was sent
    noisy: bool                  # noise, hum or a gap in the sound of the line it went out by: the ear may take it for an answer
    hum_until: int               # hum on its line hides the sense of the battery until then; -1: none
    struck: Sequence[Struck]
    rings: Sequence[tuple[str, int]]     # (line, first ring) of all callers


def trouble_of(note: Facts, notes: Sequence[Facts], struck: Sequence[Struck]) -> Trouble:
    """See `Trouble`."""
    rings = [(f"line/{call['line']}", call["rang"]) for other in notes for call in other["calls"] if call.get("rang", -1) >= 0]
    hum = max((fault["to"] for fault in _sounds_on(note, notes, "hum")), default=-1)
    port = f"fxo/{note['stream']}"
    sent = [call["identified"] for call in note["calls"] if call["identified"] >= 0]
    unheard = any(each.port == port and each.since < at < each.out for each in struck for at in sent)
    return Trouble(_garbled(note, notes), unheard, bool(_sounds_on(note, notes, "noise", "hum", "stall", "xrun")), hum, struck, rings)


def kind_of(fault: Facts) -> tuple[str, str]:
    """(place, name)."""
    return fault["place"], fault["kind"]


def faults_of(notes: Sequence[Facts]) -> list[Facts]:
    """All faults of a soak."""
    return [note["fault"] for note in notes if "fault" in note]


def struck_ports(notes: Sequence[Facts]) -> list[Struck]:
    """Everything that harms conversations."""
    return [*_by_faults(notes), *_by_shocks(notes), *_by_deafness(notes)]


def _by_faults(notes: Sequence[Facts]) -> Iterator[Struck]:
    for fault in faults_of(notes):
        if kind_of(fault) not in HARMLESS:
            until = fault["to"] + RECOVERY_MS
            out = fault["to"] + OUT_MS if kind_of(fault) in BROUGHT_UP else until
            for port in fault["ports"]:
                yield Struck(port, fault["from"], until, out)


def _by_shocks(notes: Sequence[Facts]) -> Iterator[Struck]:
    for note in notes:
        for port, at in note.get("shaken", ()):
            yield Struck(port, at, at, at + OUT_MS)                      # one brought up again too often rests for a while


def _by_deafness(notes: Sequence[Facts]) -> Iterator[Struck]:
    faults = faults_of(notes)
    for note in notes:
        port = f"fxs/{note['stream']}"
        harm = STALLS | CHAIN_NOISE if note["pulse"] else STALLS         # breaks of the loop are read over the chain
        stalls = [fault for fault in faults if kind_of(fault) in harm and port in fault["ports"]]
        if any(stall["from"] < until and since < stall["to"] for since, until in _dialling(note) for stall in stalls):
            yield Struck(port, note["started"], note["ended"] + HOOK_MS, note["ended"] + HOOK_MS)


def _dialling(note: Facts) -> Iterator[tuple[int, int]]:
    """(from, until) of keys on the telephone that calls, and of digits on the line it has got."""
    if note["kind"].startswith("in-"):
        return
    for person in note["people"]:
        if person["kind"] == "phone" and person["started"] <= note["started"] + STALLED_MS:
            yield person["started"], (person["answered"] if person["answered"] >= 0 else person["ended"]) + KEYS_MS
    for call in note["calls"]:
        yield call["started"], call["started"] + DIALLING_MS


def excuses(note: Facts, record: Facts | None, struck: Sequence[Struck], wall_base: int) -> bool:
    """A fault touched this call: it must only end, with a cause."""
    phones, lines = _ports(note, record)
    end = note["ended"] + HOOK_MS
    harmed = {each.port for each in struck if each.since < end and note["started"] < each.until}
    if harmed & (phones | lines):
        return True
    out = {each.port for each in struck if each.since < end and note["started"] < each.out}
    return bool(out & (phones | lines)) and _lifeless(note, record, out & phones, wall_base)


def _ports(note: Facts, record: Facts | None) -> tuple[set[str], set[str]]:
    """Telephones and lines that a call used."""
    phones = {f"fxs/{note['stream']}"}
    lines = {f"fxo/{call['line']}" for call in note["calls"]}
    if record is not None and record["line"]:
        lines.add(f"fxo/{record['line'].removeprefix('line/')}")
    if note["kind"] == "internal":
        phones.add(f"fxs/{int(note['number']) - 100}")
    elif note["kind"].startswith("in-"):
        lines.add(f"fxo/{note['stream']}")
    return phones, lines


def _lifeless(note: Facts, record: Facts | None, phones: set[str], wall_base: int) -> bool:
    """A port that may be out of service gave no sign of life: nothing was recorded, a ring was missed, a telephone was not reached."""
    if record is None:
        return True
    if note["kind"].startswith("in-") and note["calls"]:
        rang = note["calls"][0].get("rang", -1)
        if rang >= 0 and record["opened_ms"] - wall_base > rang + MISSED_MS:
            return True
    return bool(phones) and (note["kind"] == "internal" or note["kind"].startswith("in-")) and record["connected_ms"] is None


def free_lines(note: Facts, opened: int, struck: Sequence[Struck]) -> list[str]:
    """Lines that stood idle and sound when a call was opened at `opened`: one of them should have been taken."""
    found = []
    since, until = opened - FREE_BEFORE_MS, opened + FREE_AFTER_MS
    for line, begun, ended in note["free"]:
        out = any(each.port == f"fxo/{line}" and each.since < until and since < each.out for each in struck)
        if begun <= since and until <= ended and not out:
            found.append(f"line/{line}")
    return found


def _garbled(note: Facts, notes: Sequence[Facts]) -> bool:
    """Something garbled the sound of the line while its caller id was sent: a message that is spoilt is none."""
    port = f"fxo/{note['stream']}"
    sent = [call["identified"] for call in note["calls"] if call["identified"] >= 0] or [note["started"]]
    for fault in faults_of(notes):
        if kind_of(fault) not in GARBLING or port not in fault["ports"]:
            continue
        stray = kind_of(fault) == ("line", "false-ring")         # before the ring it makes another beginning of the ringing
        spans = [(note["started"], note["ended"])] if stray else [(at, at + CALLER_ID_MS) for at in sent]
        if any(fault["from"] - STALLED_MS < until and since < fault["to"] + STALLED_MS for since, until in spans):
            return True
    return False


def _sounds_on(note: Facts, notes: Sequence[Facts], *kinds: str) -> list[Facts]:
    """Faults of these kinds in the sound of a call's line: sound without a tone, as of somebody who answers, or a tone cut short."""
    return [
        fault for call in note["calls"] for fault in faults_of(notes)
        if kind_of(fault) in SOUNDS | STALLS and fault["kind"] in kinds
        and f"fxo/{call['line']}" in fault["ports"] and fault["from"] < note["ended"] and call["started"] < fault["to"]
    ]  # fmt: skip


def made_by_fault(record: Facts, notes: Sequence[Facts], struck: Sequence[Struck], wall_base: int) -> bool:
    """A record that a fault makes by itself: a line or telephone that seemed to be used, or a ringing that a chip saw anew."""
    begin, end = record["opened_ms"] - wall_base, (record["ended_ms"] or record["opened_ms"]) - wall_base
    line, extension = record["line"].removeprefix("line/"), record["extension"]
    ports = {f"fxo/{line}"} if line else set()
    if extension:
        ports.add(f"fxs/{int(extension) - 100}")
    rings = any(str(call["line"]) == line and call["started"] < begin < call["ended"] for note in notes for call in note["calls"])
    return any(
        each.port in ports and each.since <= end and (begin <= each.until or (rings and each.port == f"fxo/{line}" and begin <= each.out))
        for each in struck
    )  # fmt: skip
