-- What core must remember over a restart of the appliance, but not for the records: who is registered, who is logged in.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE registrations (
    extension  TEXT NOT NULL,
    contact    TEXT NOT NULL,              -- Contact URI of the phone
    transport  TEXT NOT NULL,              -- udp | tcp
    source     TEXT NOT NULL,              -- ip:port that the request came from
    call_id    TEXT NOT NULL DEFAULT '',
    cseq       INTEGER NOT NULL DEFAULT 0,
    user_agent TEXT NOT NULL DEFAULT '',
    expires_ms INTEGER NOT NULL,           -- Unix time in ms
    PRIMARY KEY (extension, contact)
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
