"""What `show lines`, `show phones` and `show trace` answer: joins of what several parts of core know."""

from __future__ import annotations

from firmware.config.schema.tree import Config
from firmware.control.device_commands import LineRow, PhoneRow, ShowLines, ShowPhones, ShowTrace, TraceRow
from firmware.control.gate import Gate
from firmware.core.calls import Calls
from firmware.core.lines import Lines
from firmware.core.phones import Phones
from firmware.errors import CommandError
from firmware.runtime.clock import Clock


def attach(gate: Gate, *, config: Config, clock: Clock, lines: Lines, phones: Phones, calls: Calls) -> None:
    """Register the handlers of this module."""
    gate.handle(ShowLines, lambda _: show_lines(lines, clock))
    gate.handle(ShowPhones, lambda _: show_phones(config, lines, phones))
    gate.handle(ShowTrace, lambda command: show_trace(command, lines, phones, calls))


def show_lines(lines: Lines, clock: Clock) -> list[LineRow]:
    """One row for each analogue port in service."""
    now = clock.now()
    return [
        LineRow(
            endpoint=status.endpoint,
            kind=status.kind,
            number=status.number,
            available=status.available,
            state=status.state,
            volts=status.volts,
            milliamps=status.milliamps,
            caller=status.caller.number or status.caller.reason,
            called=status.called,
            leg=status.leg,
            seconds=max(0, (now - status.since) // 1000),
            detail=status.detail,
        )
        for status in lines.status()
    ]


def show_phones(config: Config, lines: Lines, phones: Phones) -> list[PhoneRow]:
    """One row for each analog phone and for each contact of a SIP phone."""
    analog = {state.endpoint: state.state for state in lines.states()}
    rows: list[PhoneRow] = []
    for number, entry in config.extensions.items():
        if entry.kind == "fxs":
            rows.append(PhoneRow(number, "fxs", entry.name, analog.get(number, "fault"), f"jack {entry.jack}", "", "", 0))
            continue
        state = phones.state_of(number)
        contacts = phones.contacts(number)
        if not contacts:
            rows.append(PhoneRow(number, "sip", entry.name, state, "", "", "", 0))
        rows += [
            PhoneRow(number, "sip", entry.name, state, known["address"], known["transport"], known["agent"], known["expires_s"])
            for known in contacts
        ]
    return rows


def show_trace(command: ShowTrace, lines: Lines, phones: Phones, calls: Calls) -> list[TraceRow]:
    """SIP and line events in order of time. Raises CommandError when nothing is known of the name."""
    legs = _legs(command.call, calls)
    rows = [TraceRow(entry.at, "line", entry.direction, entry.leg, entry.text) for leg in legs for entry in lines.trace(leg=leg)]
    if command.call in lines.ports:
        rows += [TraceRow(entry.at, "line", entry.direction, entry.leg, entry.text) for entry in lines.trace(endpoint=command.call)]
    for leg in legs:
        for line in phones.trace(leg):
            text = line.data.decode("utf-8", "replace") if command.full else line.first_line
            rows.append(TraceRow(line.at, "sip", line.direction, leg, f"{line.peer[0]}:{line.peer[1]} {text}"))
    if not rows:
        raise CommandError(f"nothing is kept of {command.call!r}; name a contact or leg of `show calls`, or an endpoint of `show lines`")
    return sorted(rows, key=lambda row: row.at)


def _legs(name: str, calls: Calls) -> list[str]:
    """Leg ids that a contact, leg or extension stands for."""
    contact = calls.board.contacts.get(name)
    if contact is not None:
        return list(contact.legs)
    rows = calls.records.legs(name)
    if rows:
        return [str(row["id"]) for row in rows]
    on_phone = [leg.id for state in calls.board.contacts.values() for leg in state.legs.values() if leg.endpoint == name]
    return on_phone or [name]
