"""One caller's visit told in order: legs, what happened, how it ended (L1, pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from firmware.reports.columns import COLUMNS, fold, pad, printable, table, width
from firmware.reports.page import span
from firmware.reports.tally import Row
from firmware.reports.texts import cause, text

ROLES = ("caller", "agent", "called")


def journey(
    contact: Row, legs: Sequence[Row], events: Sequence[Row], clock: Callable[[int], str], language: str,
    continued_by: Sequence[str] = (),
) -> list[str]:
    """`clock` gives the local time of day of an instant in Unix ms; `continued_by`: contacts that go on with this one."""

    def say(name: str, **values: object) -> str:
        return text(name, language, **values)

    title = say("section.journey", contact=contact["id"])
    lines = [title, "=" * min(COLUMNS, width(title))]
    ended = "" if contact["ended_ms"] is None else clock(contact["ended_ms"])
    who = {"caller": "who.caller", "agent": "who.agent", "system": "who.system"}.get(contact["first_to_leave"], "who.unknown")
    proof = f"{contact['evidence'] or '-'} ({contact['confidence']:.2f})" + (
        f": {contact['evidence_detail']}" if contact["evidence_detail"] else ""
    )
    facts = [
        (say("col.started"), clock(contact["opened_ms"])),
        (say("col.ended"), ended),
        (say("col.line"), contact["line"] or contact["extension"]),
        (say("role.caller"), contact["caller"] or contact["caller_reason"]),
        (say("col.rings"), f"{contact['rings']} ({span(contact['ring_ms'] / 1000)})"),
        (say("col.queue"), contact["queue"]),
        (say("col.agent"), contact["agents"]),
        (say("col.waiting"), span(contact["wait_ms"] / 1000)),
        (say("col.talk"), span(contact["talk_ms"] / 1000)),
        (say("col.cause"), cause(contact["cause"] or "open", language)),
        (say("section.first"), say(who)),
        (say("col.evidence"), proof),
    ]
    if contact["linked"]:
        facts.insert(0, (say("col.continues"), contact["linked"]))
    if continued_by:
        facts.append((say("col.continued_by"), " ".join(continued_by)))
    size = max(width(name) for name, _ in facts)
    lines += [f"{pad(name, size)}  {printable(str(value))}".rstrip() for name, value in facts]
    rows = [
        [leg["endpoint"], say(f"role.{leg['role']}") if leg["role"] in ROLES else leg["role"], leg["agent"], clock(leg["started_ms"]),
         "" if leg["answered_ms"] is None else clock(leg["answered_ms"]), clock(leg["ended_ms"]), cause(leg["cause"], language)]
        for leg in legs
    ]  # fmt: skip
    names = ("endpoint", "role", "agent", "started", "answered", "ended", "cause")
    if rows:
        lines += ["", say("section.legs"), *table([say(f"col.{name}") for name in names], rows, left=len(names))]
    if events:
        lines += ["", say("section.events")]
        for event in events:
            if event["kind"] == "phase":
                continue                     # the machine's own step; what it does follows
            data = json.loads(event["data"])
            facts_of = " ".join(f"{name}={value}" for name, value in data.items())
            head = f"{clock(event['at_ms'])}  {pad(event['kind'], 16)}  "
            for at, row in enumerate(fold(printable(facts_of), COLUMNS - width(head))):
                lines.append(f"{head if at == 0 else ' ' * width(head)}{row}".rstrip())
    return lines
