"""The queue log and the calls in the formats of Asterisk, for the report tools that read those (L1, pure).

Theory of operation
-------------------
`queue_log`: `EPOCH|CALLID|QUEUE|AGENT|EVENT|DATA...`, seconds, data as Asterisk documents each event: ENTERQUEUE url|caller|position;
CONNECT hold|channel id|ring; ABANDON and EXIT* position|first position|wait, EXITWITHKEY with the key before them; COMPLETE*
hold|talk|first position; RINGNOANSWER and RINGCANCELED in ms; BLINDTRANSFER extension|context|hold|talk|first position;
ATTENDEDTRANSFER method|bridge|hold|talk|first position, and no COMPLETE after either; PAUSE with its reason. Compared with what a real
app_queue wrote (`tests/vectors/asterisk-acd`). CONNECT stands there only for those who talked: an agent who is gone while his number is
said is an AGENTDUMP and the caller waits on; a caller who is gone then is an ABANDON.
Positions are found again by following each queue from
its log. A caller who finds the queue full never joined as Asterisk sees it: both lines are left out. Agents come and go, pause and
return with PAUSEALL and UNPAUSEALL of queue NONE.
`cdr`: a line for each contact in the order of `Master.csv` (`cdr_csv.c`, with uniqueid and userfield): strings quoted, quotation marks
doubled, duration and billsec plain, an instant that never was is empty. One caller is one line; the legs are in our own records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from firmware.reports.tally import Row, Visit, undone

EXITS = frozenset({"EXITWITHTIMEOUT", "EXITEMPTY", "EXITWITHKEY"})
DISPOSITIONS = {"busy": "BUSY", "congestion": "FAILED", "line-fault": "FAILED", "media-lost": "FAILED", "no-dial-tone": "FAILED",
                "system": "FAILED", "refused": "FAILED", "unreachable": "FAILED"}  # fmt: skip
TRANSFERS = frozenset({"BLINDTRANSFER", "ATTENDEDTRANSFER"})
NOBODY = "NONE"


class _Followed:
    """Where everybody stands, from the log."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.visits: dict[str, Visit] = {}
        self.first: dict[str, int] = {}

    def enter(self, contact: str, queue: str, at: int) -> int:
        line = self.lines.setdefault(queue, [])
        line.append(contact)
        self.visits[contact] = Visit(contact, queue, at)
        self.first[contact] = len(line)
        return len(line)

    def leave(self, contact: str, queue: str) -> int:
        """Position at the moment of leaving."""
        line = self.lines.get(queue, [])
        if contact not in line:
            return 1
        position = line.index(contact) + 1
        line.remove(contact)
        return position


def queue_log(log: Sequence[Row], legs: Iterable[Row], states: Iterable[Row], unmet: Collection[str] = ()) -> list[str]:
    """Lines of the file, in the order of time. `unmet`: contacts that are over and had no conversation."""
    refused = _refused(log) | undone(log, unmet)
    channels = {(str(leg["contact"]), str(leg["agent"])): str(leg["id"]) for leg in legs if leg["agent"] and leg["answered_ms"] is not None}
    followed = _Followed()
    found: list[tuple[int, str]] = []
    handed_over: set[object] = set()
    for row in log:
        if row["seq"] in refused:
            continue
        event = _event(row)
        if event in TRANSFERS:
            handed_over.add(row["contact"])
        elif event == "CONNECT":
            handed_over.discard(row["contact"])
        elif event.startswith("COMPLETE") and row["contact"] in handed_over:
            continue
        data = _data(row, event, followed, channels)
        agent = _agent(str(row["agent"]))
        fields = (int(row["at_ms"]) // 1000, row["contact"], row["queue"], agent, event, *data)
        found.append((int(row["at_ms"]), "|".join(str(field) for field in fields)))
    found += _people(states)
    return [line for _, line in sorted(found, key=lambda one: one[0])]


def _agent(number: str) -> str:
    return f"Agent/{number}" if number and number != NOBODY else NOBODY


def _refused(log: Sequence[Row]) -> set[int]:
    """Lines of callers who found the queue full."""
    entered: dict[str, int] = {}
    gone: set[int] = set()
    for row in log:
        if row["event"] == "ENTERQUEUE":
            entered[str(row["contact"])] = int(row["seq"])
        elif row["event"] == "EXITFULL":
            gone |= {int(row["seq"]), entered.get(str(row["contact"]), -1)}
    return gone


def _event(row: Row) -> str:
    """The event in Asterisk's words."""
    event = str(row["event"])
    if event != "TRANSFER":
        return event
    return "ATTENDEDTRANSFER" if str(row["data"]).endswith("|attended") else "BLINDTRANSFER"


def _data(row: Row, event: str, followed: _Followed, channels: Mapping[tuple[str, str], str]) -> tuple[object, ...]:
    contact, queue, at = str(row["contact"]), str(row["queue"]), int(row["at_ms"])
    data = str(row["data"]).split("|")
    if event == "ENTERQUEUE":
        return "", data[0], followed.enter(contact, queue, at)
    visit = followed.visits.get(contact)
    wait = (at - visit.entered) // 1000 if visit is not None else 0
    first = followed.first.get(contact, 1)
    if event == "AGENTDUMP":
        return ("",)
    if event == "CONNECT":
        followed.leave(contact, queue)
        if visit is not None:
            visit.left = at
        return wait, channels.get((contact, str(row["agent"])), ""), _seconds(data[1] if len(data) > 1 else "0")
    if event == "ABANDON" or event in EXITS:
        key = data[:1] if event == "EXITWITHKEY" else []
        return *key, followed.leave(contact, queue), first, wait
    hold = visit.wait_ms // 1000 if visit is not None else 0
    if event.startswith("COMPLETE"):
        return hold, _seconds(data[0]), first
    if event in TRANSFERS:
        to = ("BRIDGE", contact) if event == "ATTENDEDTRANSFER" else (data[0], "branch")
        return *to, hold, max(0, at - visit.left) // 1000 if visit is not None else 0, first
    return tuple(data)


def _seconds(ms: str) -> int:
    return int(ms) // 1000 if ms.isdigit() else 0


def _people(states: Iterable[Row]) -> list[tuple[int, str]]:
    last: dict[str, str] = {}
    found = []
    for row in states:
        agent, status, before = str(row["agent"]), str(row["status"]), last.get(str(row["agent"]), "logged-out")
        last[agent] = status
        at = int(row["at_ms"])

        def line(event: str, *data: str, at: int = at, agent: str = agent) -> None:
            found.append((at, "|".join((str(at // 1000), NOBODY, NOBODY, _agent(agent), event, *data))))

        if before == "logged-out" and status != "logged-out":
            line("ADDMEMBER", "")
        if status == "paused":
            line("PAUSEALL", str(row["reason"]))
        elif before == "paused":
            line("UNPAUSEALL", "")
        if status == "logged-out" and before != "logged-out":
            line("REMOVEMEMBER", "")
    return found


def cdr(contacts: Iterable[Row], legs: Iterable[Row], local: Callable[[int], str]) -> list[str]:
    """Lines of `Master.csv`; `local` gives "YYYY-MM-DD HH:MM:SS" of Unix ms. Feature codes and contacts that go on are left out."""
    answering: dict[str, Row] = {}
    for leg in legs:
        if leg["role"] != "caller" and leg["answered_ms"] is not None:
            answering[str(leg["contact"])] = leg
    lines = []
    for row in contacts:
        if row["ended_ms"] is None or row["kind"] == "feature":
            continue
        other = answering.get(str(row["id"]))
        # The box answers to greet; to a reader of calls an answer is a person's, or the box's own words where nobody was wanted.
        answer = row["connected_ms"] if row["connected_ms"] is not None else row["answered_ms"] if not row["queue"] else None
        end = int(row["ended_ms"])
        name = str(row["caller_name"])
        number = str(row["caller"])
        disposition = "ANSWERED" if answer is not None else DISPOSITIONS.get(_reached(row), "NO ANSWER")
        fields = [
            _quoted(""), _quoted(number), _quoted(str(row["queue"] or row["called"])), _quoted(str(row["kind"])),
            _quoted(f'"{name}" <{number}>' if name else number), _quoted(f"{row['line'] or row['extension']}-{row['id']}"),
            _quoted(f"{other['endpoint']}-{other['id']}" if other is not None else ""), _quoted("Queue" if row["queue"] else "Dial"),
            _quoted(str(row["queue"] or row["called"])), _quoted(local(int(row["opened_ms"]))),
            _quoted(local(int(answer))) if answer is not None else "", _quoted(local(end)), str((end - int(row["opened_ms"])) // 1000),
            str((end - int(answer)) // 1000 if answer is not None else 0), _quoted(disposition), _quoted("DOCUMENTATION"),
            _quoted(str(row["id"])), _quoted(str(row["agent"])),
        ]  # fmt: skip
        lines.append(",".join(fields))
    return lines


def _reached(row: Row) -> str:
    """Why nobody answered; who came as far as a queue was not failed by the telephone network, whoever was there."""
    cause = str(row["cause"])
    return "" if row["queue"] and cause in ("unreachable", "congestion") else cause


def _quoted(value: str) -> str:
    """A string as `cdr_csv.c` writes it; a line break within would begin another record."""
    clean = "".join(character if character.isprintable() else " " for character in value)
    return '"' + clean.replace('"', '""') + '"'
