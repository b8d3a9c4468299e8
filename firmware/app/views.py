"""What `show lines`, `show phones` and `show blocks` answer: joins of what several parts of core know."""

from __future__ import annotations

from collections.abc import Callable

from firmware.config.schema.tree import Config
from firmware.control.device_commands import (
    BlockRow,
    ClearBlocks,
    ClearedBlocks,
    LineRow,
    PhoneRow,
    ProfileRow,
    ShowBlocks,
    ShowLines,
    ShowPhones,
    ShowProfile,
)
from firmware.control.gate import Gate
from firmware.control.phone_commands import PhoneSync, SyncRow
from firmware.core.lines import Lines
from firmware.core.phones import Phones
from firmware.runtime.clock import Clock


def attach(gate: Gate, *, config: Callable[[], Config], clock: Clock, lines: Lines, phones: Phones) -> None:
    """Register the handlers of this module."""
    gate.handle(ShowLines, lambda _: show_lines(lines, clock))
    gate.handle(ShowProfile, lambda _: [ProfileRow(*row) for row in lines.profile.rows()])
    gate.handle(ShowPhones, lambda _: show_phones(config(), lines, phones))
    gate.handle(ShowBlocks, lambda _: show_blocks(phones, clock))
    gate.handle(PhoneSync, lambda command: [SyncRow(command.extension, one) for one in phones.check_sync(command.extension)])
    gate.handle(ClearBlocks, lambda command: ClearedBlocks(phones.guard.clear(command.source, clock.now())))


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


def show_blocks(phones: Phones, clock: Clock) -> list[BlockRow]:
    """One row for each source that is kept off, the longest first."""
    now = clock.now()
    return [BlockRow(block.source, block.why, -(-(block.until - now) // 1000), block.times) for block in phones.guard.blocks(now)]


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
            PhoneRow(number, "sip", entry.name, state, known["address"], known["transport"], known["agent"], known["expires_s"],
                     known["speech"])
            for known in contacts
        ]
    return rows
