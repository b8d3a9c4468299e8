"""Who is logged in where, kept in `state.db` over a restart of the appliance (L5)."""

from __future__ import annotations

from firmware.call.floor import AgentState, Status
from firmware.store.db import Database

_SAVE = """INSERT INTO agents (agent, extension, state, reason, since_ms, idle_ms, offered, answered, unanswered)
VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (agent) DO UPDATE SET extension = excluded.extension, state = excluded.state,
reason = excluded.reason, since_ms = excluded.since_ms, idle_ms = excluded.idle_ms,
answered = excluded.answered, unanswered = excluded.unanswered"""


class AgentStore:
    """Writes agents to and reads them from `state.db`. An agent in a call or in wrap-up is stored as ready."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(self, agent: AgentState, since_ms: int, idle_ms: int) -> None:
        """Write one agent; times are Unix ms."""
        state = {Status.LOGGED_OUT: "out", Status.PAUSED: "paused"}.get(agent.status, "ready")
        if agent.wish is not None:
            state = "out" if agent.wish is Status.LOGGED_OUT else "paused"
        extension = "" if state == "out" else agent.extension
        self._db.execute(_SAVE, (agent.agent, extension, state, agent.reason, since_ms, idle_ms, agent.calls, agent.misses))

    def load(self) -> list[tuple[str, str, str, str]]:
        """(agent, extension, "ready" or "paused", reason) of those who are logged in."""
        rows = self._db.query("SELECT * FROM agents WHERE state != 'out' ORDER BY idle_ms")
        return [(row["agent"], row["extension"], row["state"], row["reason"]) for row in rows]
