"""Who is logged in where, and what queues remember, kept in `state.db` over a restart of the appliance (L5)."""

from __future__ import annotations

import logging

import msgspec

from firmware.call.acd_state import AcdState
from firmware.call.floor import AgentState, Status
from firmware.store.db import Database

_SAVE = """INSERT INTO agents (agent, extension, state, reason, since_ms, idle_ms, offered, answered, unanswered)
VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (agent) DO UPDATE SET extension = excluded.extension, state = excluded.state,
reason = excluded.reason, since_ms = excluded.since_ms, idle_ms = excluded.idle_ms,
answered = excluded.answered, unanswered = excluded.unanswered"""

_SAVE_ACD = "INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('acd', ?, ?, ?)"
_encode = msgspec.msgpack.Encoder().encode
log = logging.getLogger("branchpbx.calls")


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

    def save_acd(self, state: AcdState, wall_ms: int, base_ms: int) -> None:
        """Write what queues remember."""
        self._db.execute(_SAVE_ACD, (_encode(state), wall_ms, base_ms))

    def load_acd(self) -> AcdState:
        """What queues remembered in an earlier boot; nothing where it cannot be read. Engine instants begin anew."""
        rows = self._db.query("SELECT state FROM kept WHERE part = 'acd'")
        if not rows:
            return AcdState()
        try:
            state = msgspec.msgpack.decode(rows[0]["state"], type=AcdState)
        except msgspec.MsgspecError as error:
            log.error("callbacks and missed calls of before the restart cannot be read (%s); the lists begin anew", error)
            return AcdState()
        state.staffing.over_since = state.staffing.calm_since = -1
        return state

    def load(self) -> list[tuple[str, str, str, str]]:
        """(agent, extension, "ready" or "paused", reason) of those who are logged in."""
        rows = self._db.query("SELECT * FROM agents WHERE state != 'out' ORDER BY idle_ms")
        return [(row["agent"], row["extension"], row["state"], row["reason"]) for row in rows]
