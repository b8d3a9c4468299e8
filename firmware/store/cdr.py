"""Contact records: opened at once, appended to, closed once, never rewritten (L3; O1).

`at` in states is engine ms; `wall` turns it into Unix ms. `open` is written at the first sign of a contact, so that a crash
loses none: what an earlier process left open is listed by `orphans` and closed by `close_orphan` when no journal knows it.
A call is a dozen records within a moment: with `soon` they are gathered until it calls back, and the history of that time is one statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from firmware.call.state import ContactState, Leg
from firmware.store.db import Database, Statement

Wall = Callable[[int], int]

_OPEN = """INSERT OR IGNORE INTO contacts (id, generation, boot, kind, opened_ms, caller, caller_name, caller_reason, called, line,
extension)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_COUNT = """UPDATE counters SET value = value + 1
WHERE name = 'contact' AND EXISTS (SELECT 1 FROM contacts WHERE id = ? AND ended_ms IS NULL)"""
_CLOSE = """UPDATE contacts SET seq = (SELECT value FROM counters WHERE name = 'contact'), kind = ?, answered_ms = ?, connected_ms = ?,
ended_ms = ?, called = ?, line = ?, language = ?, queue = ?, agent = ?, agents = ?, rings = ?, ring_ms = ?, seat_cycles = ?,
seat_alert_ms = ?, wait_ms = ?, talk_ms = ?, misses = ?, rating = ?, notice = ?, recording = ?, recording_lost = ?, cause = ?, evidence = ?,
confidence = ?, evidence_detail = ?, first_to_leave = ?, linked = ? WHERE id = ? AND ended_ms IS NULL"""
# What the history and the queue log know of it is all that is left: when it was answered, with whom the caller spoke, where he waited.
_ORPHAN = """UPDATE contacts SET seq = (SELECT value FROM counters WHERE name = 'contact'), ended_ms = ?1, cause = 'system',
evidence = 'adoption', first_to_leave = 'unknown',
answered_ms = (SELECT min(at_ms) FROM contact_events WHERE contact = ?2 AND kind = 'answered'),
connected_ms = (SELECT min(at_ms) FROM contact_events WHERE contact = ?2 AND kind = 'talking'),
talk_ms = ifnull(?1 - (SELECT min(at_ms) FROM contact_events WHERE contact = ?2 AND kind = 'talking'), 0),
queue = ifnull((SELECT queue FROM queue_log WHERE contact = ?2 ORDER BY seq DESC LIMIT 1), queue),
agent = ifnull((SELECT agent FROM queue_log WHERE contact = ?2 AND event = 'CONNECT' ORDER BY seq DESC LIMIT 1), agent),
linked = ifnull((SELECT json_extract(data, '$.linked') FROM contact_events WHERE contact = ?2 AND kind = 'redial' LIMIT 1), linked)
WHERE id = ?2 AND ended_ms IS NULL"""
_ORPHAN_LOST = """SELECT caller, ifnull((SELECT queue FROM queue_log WHERE contact = ?1 ORDER BY seq DESC LIMIT 1), queue) AS queue
FROM contacts WHERE id = ?1 AND kind = 'inbound' AND caller != '' AND NOT EXISTS
(SELECT 1 FROM contact_events WHERE contact = ?1 AND kind IN ('talking', 'voicemail-left'))"""
_LEG = """INSERT OR IGNORE INTO legs (id, contact, kind, endpoint, role, incoming, number, agent, started_ms, ringing_ms, answered_ms,
answered_by, ended_ms, cause, evidence, confidence, detail, by_far, codec, mos, far_mos, quality)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_EVENTS_MOST = 16
_EVENTS = tuple(
    "INSERT INTO contact_events (contact, at_ms, kind, leg, data) VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    for rows in range(_EVENTS_MOST + 1)
)
_json = msgspec.json.Encoder().encode


class CallRecords:
    """Writer and reader of contacts. `boot`: boot count of core; `ring_period_ms`: the country's ring cadence.

    `soon(fn)` calls `fn` in a moment; without it each record is queued at once. `flush` queues what is gathered.
    """

    def __init__(
        self, db: Database, boot: int, ring_period_ms: int = 5000, soon: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        self._db = db
        self._soon = soon
        self._events: list[str | int] = []                   # rows of the history, one after the other
        self._units: list[list[Statement]] = []              # everything else
        self._boot = boot
        self._period = max(1, ring_period_ms)

    def open(self, state: ContactState, wall: Wall) -> None:
        """Write the opening record."""
        self._gather([self._opening(state, wall)])

    def _opening(self, state: ContactState, wall: Wall) -> Statement:
        caller = state.caller
        return _OPEN, (
            state.id, self._db.generation, self._boot, state.kind.value, wall(state.opened), caller.number, caller.name, caller.reason,
            state.called, state.line, state.extension,
        )  # fmt: skip

    def event(self, contact: str, at_ms: int, kind: str, leg: str, data: dict[str, Any]) -> None:
        """Append to the history of a contact."""
        if not self._events:
            self._wait()
        self._events += (contact, at_ms, kind, leg, _json(data).decode())
        if self._soon is None:
            self.flush()

    def leg(self, contact: str, leg: Leg, wall: Wall) -> None:
        """Write a leg that is over."""
        evidence, quality = leg.evidence, leg.quality
        self._gather([(_LEG, (
            leg.id, contact, leg.kind.value, leg.endpoint, leg.role, leg.incoming, leg.number, leg.agent, wall(leg.started),
            _moment(leg.ringing, wall), _moment(leg.answered, wall), leg.answer_evidence.kind if leg.answer_evidence else "",
            wall(leg.ended), leg.cause.value if leg.cause else "", evidence.kind if evidence else "",
            evidence.confidence if evidence else 0.0, evidence.detail if evidence else "", leg.by_far,
            quality.codec if quality else "", quality.mos if quality else None, quality.far_mos if quality else None,
            msgspec.json.encode(quality).decode() if quality else "",
        ))])  # fmt: skip

    def close(self, state: ContactState, wall: Wall) -> None:
        """Close a contact; a second close changes nothing."""
        evidence = state.evidence
        talk_ms = max(0, (state.talk_end if state.talk_end >= 0 else state.ended) - state.connected) if state.connected >= 0 else 0
        until = state.answered if state.answered >= 0 else state.ended
        ring_ms = max(0, until - state.ring_started) if state.ring_started >= 0 else 0
        cycles = -(-state.seat_alert_ms // self._period)
        # Whoever answered last, also where that was over before they could talk and the caller then left.
        agent = state.agent or (state.agents[-1] if state.agents and state.connected < 0 else "")
        values = (
            state.kind.value, _moment(state.answered, wall), _moment(state.connected, wall), wall(state.ended), state.called,
            state.line, state.language, state.queue, agent, " ".join(state.agents), state.rings, ring_ms, cycles,
            state.seat_alert_ms, state.wait_ms, talk_ms, state.misses, state.rating, state.notice,
            " ".join(one.path for one in state.recordings if one.path), sum(one.lost for one in state.recordings),
            state.cause.value if state.cause else "", evidence.kind if evidence else "",
            evidence.confidence if evidence else 0.0, evidence.detail if evidence else "", state.first_to_leave.value,
            state.linked, state.id,
        )  # fmt: skip
        self._gather([self._opening(state, wall), (_COUNT, (state.id,)), (_CLOSE, values)])

    def flush(self) -> None:
        """Queue what was gathered."""
        size = 5 * _EVENTS_MOST
        parts = [self._events[at : at + size] for at in range(0, len(self._events), size)]
        units: list[list[Statement]] = [[(_EVENTS[len(part) // 5], part)] for part in parts]
        units += self._units
        self._events, self._units = [], []
        if units:
            self._db.units(units)

    def _gather(self, unit: list[Statement]) -> None:
        self._wait()
        self._units.append(unit)
        if self._soon is None:
            self.flush()

    def _wait(self) -> None:
        if self._soon is not None and not self._events and not self._units:
            self._soon(self.flush)

    def orphans(self) -> list[str]:
        """Contacts that are open in the file."""
        return [str(row["id"]) for row in self._db.query("SELECT id FROM contacts WHERE ended_ms IS NULL")]

    def close_orphan(self, contact: str, at_ms: int) -> None:
        """Close a contact of which nothing but its opening is known."""
        last = self._db.query("SELECT max(at_ms) AS at FROM contact_events WHERE contact = ?", (contact,))
        ended = last[0]["at"] if last and last[0]["at"] is not None else at_ms
        self._db.transaction([(_COUNT, (contact,)), (_ORPHAN, (ended, contact))])

    def orphan_lost(self, contact: str) -> tuple[str, str] | None:
        """Number and queue of an open contact whose caller from outside spoke with nobody and left no message; None for others."""
        found = self._db.query(_ORPHAN_LOST, (contact,))
        return (str(found[0]["caller"]), str(found[0]["queue"] or "")) if found else None

    # --- reading ------------------------------------------------------------------------------------------------------

    def last(self, count: int) -> list[sqlite3.Row]:
        """The newest contacts, newest first."""
        return self._db.query("SELECT * FROM contacts ORDER BY opened_ms DESC, id DESC LIMIT ?", (count,))

    def contact(self, contact: str) -> sqlite3.Row | None:
        """One contact."""
        found = self._db.query("SELECT * FROM contacts WHERE id = ?", (contact,))
        return found[0] if found else None

    def continued_by(self, contact: str) -> list[str]:
        """Contacts that go on with one that was cut off."""
        return [str(row["id"]) for row in self._db.query("SELECT id FROM contacts WHERE linked = ? ORDER BY opened_ms, id", (contact,))]

    def legs(self, contact: str) -> list[sqlite3.Row]:
        """Legs of a contact in order of their start."""
        return self._db.query("SELECT * FROM legs WHERE contact = ? ORDER BY started_ms, id", (contact,))

    def events(self, contact: str) -> list[sqlite3.Row]:
        """History of a contact."""
        return self._db.query("SELECT * FROM contact_events WHERE contact = ? ORDER BY seq", (contact,))


def _moment(at: int, wall: Wall) -> int | None:
    return wall(at) if at >= 0 else None
