"""What reports read from `calls.db`, and the tallies of days that are over, which they keep there (L3).

Theory of operation. A day's tally is kept once the day is over and none of its contacts is open, with the `basis` it was counted with;
another basis (a limit was changed) counts it again. So a month costs its days' tallies and one day that goes on.
"""

from __future__ import annotations

import sqlite3

import msgspec

from firmware.reports.tally import Span, Tally
from firmware.store.db import Database

_CONTACTS = "SELECT * FROM contacts WHERE opened_ms >= ? AND opened_ms < ? ORDER BY opened_ms, id"
_LEGS = "SELECT l.* FROM legs l JOIN contacts c ON c.id = l.contact WHERE c.opened_ms >= ? AND c.opened_ms < ? ORDER BY l.started_ms, l.id"
_LOG = "SELECT q.* FROM queue_log q JOIN contacts c ON c.id = q.contact WHERE c.opened_ms >= ? AND c.opened_ms < ? ORDER BY q.seq"
_TOLD = """SELECT e.contact, e.kind, e.leg, e.data FROM contacts c JOIN contact_events e ON e.contact = c.id
WHERE c.opened_ms >= ? AND c.opened_ms < ? AND e.kind IN ('speech', 'rating', 'callback', 'callback-over', 'cost') ORDER BY e.seq"""
_AGENTS = """WITH RECURSIVE a(agent) AS (SELECT min(agent) FROM agent_states
UNION ALL SELECT (SELECT min(agent) FROM agent_states WHERE agent > a.agent) FROM a WHERE a.agent IS NOT NULL)
SELECT agent FROM a WHERE agent IS NOT NULL"""
_BEFORE = "SELECT * FROM agent_states WHERE agent = ? AND at_ms < ? ORDER BY at_ms DESC, seq DESC LIMIT 1"
_STATES = "SELECT * FROM agent_states WHERE at_ms >= ? AND at_ms < ? ORDER BY at_ms, seq"
_SAVE = "INSERT INTO agent_states (at_ms, agent, status, extension, reason, queue, contact) VALUES (?, ?, ?, ?, ?, ?, ?)"


class ReportStore:
    """See the theory of operation."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def agent(
        self, at_ms: int, agent: str, status: str, *, extension: str = "", reason: str = "", queue: str = "", contact: str = ""
    ) -> None:
        """Append a state of an agent."""
        self.db.execute(_SAVE, (at_ms, agent, status, extension, reason, queue, contact))

    def last_sign(self) -> int:
        """The latest instant of which anything is written, Unix ms; 0 for a new file."""
        rows = self.db.query(
            "SELECT max((SELECT ifnull(max(at_ms), 0) FROM agent_states), (SELECT ifnull(max(at_ms), 0) FROM contact_events WHERE seq = "
            "(SELECT max(seq) FROM contact_events))) AS at"
        )
        return int(rows[0]["at"])

    def logged_in(self) -> list[str]:
        """Agents whose last state is not logged out."""
        agents = [str(row["agent"]) for row in self.db.query(_AGENTS)]
        last = {agent: self.db.query(_BEFORE, (agent, 1 << 62)) for agent in agents}
        return [agent for agent, rows in last.items() if rows and rows[0]["status"] != "logged-out"]

    def span(self, since: int, until: int) -> Span:
        """Records of contacts that began in [since, until), Unix ms, and states of agents in it. Raises StoreError."""
        between = (since, until)
        before: list[sqlite3.Row] = []
        for row in self.db.query(_AGENTS):
            before += self.db.query(_BEFORE, (row["agent"], since))
        return Span(
            since, until, list(self.db.query(_CONTACTS, between)), list(self.db.query(_LEGS, between)), list(self.db.query(_LOG, between)),
            [*before, *self.db.query(_STATES, between)], list(self.db.query(_TOLD, between)),
        )  # fmt: skip

    def states(self, since: int, until: int) -> list[sqlite3.Row]:
        """States of agents that began in [since, until)."""
        return self.db.query(_STATES, (since, until))

    def log(self, since: int, until: int) -> list[sqlite3.Row]:
        """Lines of the queue log in [since, until)."""
        return self.db.query("SELECT * FROM queue_log WHERE at_ms >= ? AND at_ms < ? ORDER BY seq", (since, until))

    def kept(self, day: str, basis: str) -> Tally | None:
        """The tally of a day that is over, counted with this basis."""
        rows = self.db.query("SELECT basis, tally FROM report_days WHERE day = ?", (day,))
        return msgspec.json.decode(rows[0]["tally"], type=Tally) if rows and rows[0]["basis"] == basis else None

    def keep(self, day: str, basis: str, tally: Tally) -> None:
        """Keep the tally of a day that is over."""
        self.db.execute(
            "INSERT OR REPLACE INTO report_days (day, basis, tally) VALUES (?, ?, ?)", (day, basis, msgspec.json.encode(tally).decode())
        )

    def open_contacts(self, since: int, until: int) -> int:
        """Contacts that began in [since, until) and are not closed."""
        rows = self.db.query(
            "SELECT count(*) AS n FROM contacts WHERE opened_ms >= ? AND opened_ms < ? AND ended_ms IS NULL", (since, until)
        )
        return int(rows[0]["n"])
