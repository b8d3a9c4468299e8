-- What core must remember over a restart, but not for the records: the boot count, who is registered, who is logged in.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- State that a part of core writes and reads whole, in that part's own form.
CREATE TABLE kept (
    part    TEXT PRIMARY KEY,              -- phones | calls
    state   BLOB NOT NULL,
    wall_ms INTEGER NOT NULL,              -- Unix time in ms when it was written
    base_ms INTEGER NOT NULL               -- Unix time in ms of engine time 0 when it was written
) WITHOUT ROWID;

CREATE TABLE agents (
    agent      TEXT PRIMARY KEY,
    extension  TEXT NOT NULL DEFAULT '',   -- phone on which the agent is logged in, '' when out
    state      TEXT NOT NULL,              -- out | ready | paused
    reason     TEXT NOT NULL DEFAULT '',
    since_ms   INTEGER NOT NULL,           -- Unix time in ms of the last change
    idle_ms    INTEGER NOT NULL DEFAULT 0, -- Unix time in ms since when the agent is idle
    offered    INTEGER NOT NULL DEFAULT 0,
    answered   INTEGER NOT NULL DEFAULT 0,
    unanswered INTEGER NOT NULL DEFAULT 0  -- offers in a row that were not answered
) WITHOUT ROWID;
