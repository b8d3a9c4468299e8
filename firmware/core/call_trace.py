"""What happened in one call, on one time axis: SIP messages, RTP figures, line and call events, as rows and as a pcap file (L5).

Theory of operation
-------------------
Phones and lines keep a trace of each leg, records keep the history of each contact. What nobody keeps are the figures of RTP: `CallTraces`
learns the engine port of each leg from the bus, reads the port's figures every `LOOK_MS` while the leg lives and once more at its end,
and keeps them for the last `LEGS_KEPT` legs. A long call is thinned out rather than cut: when its notes are full every second one goes
and twice the time passes to the next. A file is made when somebody asks, in memory; the last `FILES_KEPT` are kept for fetching.
Traces hold neither keys nor PINs nor proofs of passwords (`sip/trace.py`); a message that lost a key is as long as it says here.

Invariants: memory is bounded in legs, notes and files; asking changes nothing in a call.
"""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from firmware.call.model import LegAnswered, LegEnded, LegProgress
from firmware.call.quality import Quality
from firmware.control.device_commands import ShowTrace, TraceRow
from firmware.control.trace_commands import CallCapture, CaptureBytes, CaptureCall, CapturePackets
from firmware.core.calls import Calls
from firmware.core.lines import Lines
from firmware.core.phones import Phones
from firmware.errors import CommandError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip.pcap import Pcap
from firmware.sip.trace import TraceLine

LOOK_MS: Final = 5000
FRESH_MS: Final = 1500          # figures come once a second: what is there sooner may be of the port's last call
LEGS_KEPT: Final = 256
NOTES_KEPT: Final = 60
FILES_KEPT: Final = 8
FIRST_RTP: Final = 16
CHUNK: Final = 192 << 10
_LENGTH: Final = re.compile(rb"(?im)^(content-length|l)([ \t]*:[ \t]*)\d+")

Figures = Callable[[int], Quality | None]


class Gate(Protocol):
    """The part of `control/gate.py` used here."""

    def handle(self, command: Any, fn: Any) -> None: ...


class _Figures:
    """Notes of one leg: (engine ms, figures), thinned out when they are many."""

    def __init__(self, port: int, since: int) -> None:
        self.port, self.since = port, since
        self.notes: list[tuple[int, Quality]] = []
        self.every, self._turn = 1, 0

    def add(self, at: int, seen: Quality, *, last: bool = False) -> None:
        self._turn += 1
        if not last and self._turn % self.every:
            return
        if len(self.notes) >= NOTES_KEPT:
            self.notes = self.notes[1::2]
            self.every *= 2
        self.notes.append((at, seen))


class CallTraces:
    """See the theory of operation. `quality(port)`: the figures of an RTP port now, None while there are none."""

    def __init__(self, lines: Lines, phones: Phones, calls: Calls, clock: Clock, bus: Bus, quality: Figures) -> None:
        self._lines, self._phones, self._calls, self._clock, self._quality = lines, phones, calls, clock, quality
        self._figures: OrderedDict[str, _Figures] = OrderedDict()
        self._living: set[str] = set()
        self._contacts: OrderedDict[str, list[str]] = OrderedDict()      # legs of calls that ended: records come a moment later
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._timer: Timer | None = None
        bus.subscribe(LegProgress, lambda event: self._has_port(event.leg, event.port))
        bus.subscribe(LegAnswered, lambda event: self._has_port(event.leg, event.port))
        bus.subscribe(LegEnded, lambda event: self._over(event.leg))

    def attach(self, gate: Gate) -> None:
        """Answer the commands of traces."""
        gate.handle(ShowTrace, lambda command: self.rows(command.call, full=command.full))
        gate.handle(CaptureCall, lambda command: self.capture(command.call))
        gate.handle(CapturePackets, lambda command: self.read(command.name, command.offset))

    def going_on(self, ports: Iterable[Any]) -> None:
        """After a restart: legs that media still runs (`PortState`s; their tag is the leg)."""
        for port in ports:
            if port.tag:
                self._has_port(port.tag, port.port)

    # --- figures of RTP ---------------------------------------------------------------------------------------------------

    def _has_port(self, leg: str, port: int) -> None:
        if port < FIRST_RTP or leg in self._living:
            return
        self._figures[leg] = _Figures(port, self._clock.now())
        self._living.add(leg)
        while len(self._figures) > LEGS_KEPT:
            old, _ = self._figures.popitem(last=False)
            self._living.discard(old)
        if self._timer is None or not self._timer.active:
            self._timer = self._clock.call_later(LOOK_MS, self._look)

    def _look(self) -> None:
        for leg in self._living:
            self._take(leg)
        if self._living:
            self._timer = self._clock.call_later(LOOK_MS, self._look)

    def _take(self, leg: str, *, last: bool = False) -> None:
        figures = self._figures[leg]
        now = self._clock.now()
        seen = self._quality(figures.port) if now - figures.since >= FRESH_MS else None
        if seen is not None:
            figures.add(now, seen, last=last)

    def _over(self, leg: str) -> None:
        contact = self._calls.board.contact_of(leg)
        if contact in self._calls.board.contacts:
            self._contacts[contact] = list(self._calls.board.contacts[contact].legs)
            while len(self._contacts) > LEGS_KEPT:
                self._contacts.popitem(last=False)
        if leg in self._living:
            self._take(leg, last=True)
            self._living.discard(leg)

    # --- rows -------------------------------------------------------------------------------------------------------------

    def rows(self, call: str, *, full: bool = False) -> list[TraceRow]:
        """Everything known of a contact, leg, line or extension, in order of time. CommandError when nothing is."""
        found = [row for _, row in self._collected(call, full=full)]
        if not found:
            raise CommandError(f"nothing is kept of {call!r}; name a contact or leg of `show calls`, or an endpoint of `show lines`")
        return found

    def _collected(self, call: str, *, full: bool) -> list[tuple[TraceLine | None, TraceRow]]:
        legs = self._legs(call)
        found: list[tuple[TraceLine | None, TraceRow]] = []
        entries = [entry for leg in legs for entry in self._lines.trace(leg=leg)]
        if call in self._lines.ports:
            entries += [entry for entry in self._lines.trace(endpoint=call) if entry.leg not in legs]
        found += [(None, TraceRow(entry.at, "line", entry.direction, entry.leg, entry.text)) for entry in entries]
        for leg in legs:
            for line in self._phones.trace(leg):
                text = line.data.decode("utf-8", "replace") if full else line.first_line
                found.append((line, TraceRow(line.at, "sip", line.direction, leg, f"{line.peer[0]}:{line.peer[1]} {text}")))
            if leg in self._figures:
                found += [(None, TraceRow(at, "rtp", "fact", leg, figures_text(seen))) for at, seen in self._figures[leg].notes]
        found += [(None, row) for row in self._history(call, legs)]
        return sorted(found, key=lambda each: each[1].at)

    def _history(self, call: str, legs: Iterable[str]) -> list[TraceRow]:
        """The contact's own events: of a call that is over, as recorded."""
        mine = set(legs)
        offset = self._clock.now() - self._clock.wall_ms()
        rows = []
        for event in self._calls.records.events(call):
            facts = json.loads(event["data"] or "{}")
            told = " ".join((event["kind"], *(f"{name}={value}" for name, value in facts.items() if value not in ("", None, [], {}))))
            if not event["leg"] or event["leg"] in mine:
                rows.append(TraceRow(event["at_ms"] + offset, "call", "event", event["leg"], told))
        return rows

    def _legs(self, name: str) -> list[str]:
        """Leg ids that a contact, leg or extension stands for."""
        contact = self._calls.board.contacts.get(name)
        if contact is not None:
            return list(contact.legs)
        # Legs are recorded one by one: what ended just now may be on disk in part.
        ended = dict.fromkeys([*(str(row["id"]) for row in self._calls.records.legs(name)), *self._contacts.get(name, [])])
        if ended:
            return list(ended)
        on_phone = [leg.id for state in self._calls.board.contacts.values() for leg in state.legs.values() if leg.endpoint == name]
        return on_phone or [name]

    # --- files ------------------------------------------------------------------------------------------------------------

    def capture(self, call: str) -> CallCapture:
        """Make the file of a call and keep it."""
        collected = self._collected(call, full=False)
        if not collected:
            self.rows(call)
        pcap = Pcap()
        counts = dict.fromkeys(("sip", "rtp", "line", "call"), 0)
        offset = self._clock.wall_ms() - self._clock.now()
        for line, row in collected:
            counts[row.source] += 1
            if line is None:
                pcap.note(row.at + offset, " ".join(filter(None, (row.source, row.direction, row.leg, row.text))))
                continue
            ends = (line.peer, line.local) if line.direction == "in" else (line.local, line.peer)
            pcap.add(row.at + offset, *ends, whole(line.data))
        name = f"{re.sub(r'[^A-Za-z0-9]+', '-', call).strip('-') or 'call'}.pcap"
        self._files.pop(name, None)
        self._files[name] = pcap.data()
        while len(self._files) > FILES_KEPT:
            self._files.popitem(last=False)
        return CallCapture(name, len(self._files[name]), **counts, left_out=pcap.left_out)

    def read(self, name: str, offset: int) -> CaptureBytes:
        """A part of a file."""
        data = self._files.get(name)
        if data is None:
            raise CommandError(f"there is no file {name}; `capture call ID` makes one of a call, the last {FILES_KEPT} are kept")
        part = data[offset : offset + CHUNK]
        reached = offset + len(part)
        return CaptureBytes(base64.b64encode(part).decode(), len(data), reached if reached < len(data) else 0)


def figures_text(seen: Quality) -> str:
    """Figures of RTP in words: what arrived here, what was sent, what the far end says of it."""
    grade = "" if seen.mos is None else f", MOS {seen.mos:.1f}"
    here = f"received {seen.received}, lost {seen.lost}, jitter {seen.jitter_ms:.1f} ms (worst {seen.worst_jitter_ms:.1f}){grade}"
    if seen.far_lost is None or seen.far_jitter_ms is None:
        return f"{here}; sent {seen.sent}; far end: no reports"
    grade = "" if seen.far_mos is None else f", MOS {seen.far_mos:.1f}"
    trip = "" if seen.round_trip_ms is None else f", round trip {seen.round_trip_ms:.1f} ms"
    return f"{here}; sent {seen.sent}; far end: lost {seen.far_lost}, jitter {seen.far_jitter_ms:.1f} ms{trip}{grade}"


def whole(message: bytes) -> bytes:
    """A message whose body lost a key says how long it is now."""
    head, blank, body = message.partition(b"\r\n\r\n")
    return _LENGTH.sub(lambda found: found.group(1) + found.group(2) + str(len(body)).encode(), head) + blank + body
