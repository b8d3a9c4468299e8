-- What reports are made of beside the contacts: every state of every agent, and the tallies of days that are over (reports/tally.py).
CREATE TABLE agent_states (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms     INTEGER NOT NULL,
    agent     TEXT NOT NULL,
    status    TEXT NOT NULL,                 -- logged-out | ready | offered | talking | wrap-up | paused
    extension TEXT NOT NULL DEFAULT '',
    reason    TEXT NOT NULL DEFAULT '',      -- of a pause
    queue     TEXT NOT NULL DEFAULT '',      -- whose call it is, or was in wrap-up
    contact   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX agent_states_at ON agent_states (at_ms);
CREATE INDEX agent_states_agent ON agent_states (agent, at_ms);
CREATE INDEX queue_log_contact ON queue_log (contact);

CREATE TABLE report_days (
    day   TEXT PRIMARY KEY,                  -- local date
    basis TEXT NOT NULL,                     -- limits and time zone it was counted with
    tally TEXT NOT NULL                      -- JSON
) WITHOUT ROWID;
