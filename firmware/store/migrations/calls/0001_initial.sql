-- Records of calls: contact -> legs -> events, and the queue log. Times are Unix ms (UTC). A contact is opened once and closed
-- once; triggers keep it as it was closed. `seq` is dense in the order of closing and is what a central site acknowledges.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('contact', 0);

CREATE TABLE contacts (
    id              TEXT PRIMARY KEY,
    seq             INTEGER UNIQUE,              -- NULL while open
    generation      TEXT NOT NULL,
    boot            INTEGER NOT NULL,
    kind            TEXT NOT NULL,               -- inbound | outbound | internal | feature | emergency | emergency-callback
    opened_ms       INTEGER NOT NULL,
    answered_ms     INTEGER,                     -- we answered the caller
    connected_ms    INTEGER,                     -- first conversation began
    ended_ms        INTEGER,
    caller          TEXT NOT NULL DEFAULT '',
    caller_name     TEXT NOT NULL DEFAULT '',
    caller_reason   TEXT NOT NULL DEFAULT '',    -- why the number is absent
    called          TEXT NOT NULL DEFAULT '',
    line            TEXT NOT NULL DEFAULT '',
    extension       TEXT NOT NULL DEFAULT '',
    language        TEXT NOT NULL DEFAULT '',
    queue           TEXT NOT NULL DEFAULT '',
    agent           TEXT NOT NULL DEFAULT '',    -- last agent
    agents          TEXT NOT NULL DEFAULT '',    -- all agents in order, separated by blanks
    rings           INTEGER NOT NULL DEFAULT 0,  -- ring bursts the caller heard before our answer
    ring_ms         INTEGER NOT NULL DEFAULT 0,  -- from the first burst to our answer
    seat_cycles     INTEGER NOT NULL DEFAULT 0,  -- alert cycles at the seat that answered
    seat_alert_ms   INTEGER NOT NULL DEFAULT 0,
    wait_ms         INTEGER NOT NULL DEFAULT 0,
    talk_ms         INTEGER NOT NULL DEFAULT 0,
    misses          INTEGER NOT NULL DEFAULT 0,  -- offers that no agent answered
    rating          INTEGER NOT NULL DEFAULT 0,  -- 1 satisfied .. 3 not satisfied, 0 none
    notice          INTEGER NOT NULL DEFAULT 0,  -- the recording notice was heard
    recording       TEXT NOT NULL DEFAULT '',    -- files below recordings/, separated by blanks
    recording_lost  INTEGER NOT NULL DEFAULT 0,  -- samples lost
    cause           TEXT NOT NULL DEFAULT '',
    evidence        TEXT NOT NULL DEFAULT '',
    confidence      REAL NOT NULL DEFAULT 0,
    evidence_detail TEXT NOT NULL DEFAULT '',
    first_to_leave  TEXT NOT NULL DEFAULT ''     -- caller | agent | system | unknown
) WITHOUT ROWID;
CREATE INDEX contacts_opened ON contacts (opened_ms);

CREATE TRIGGER contacts_closed BEFORE UPDATE ON contacts WHEN old.ended_ms IS NOT NULL
BEGIN SELECT RAISE(IGNORE); END;

CREATE TABLE legs (
    id          TEXT PRIMARY KEY,
    contact     TEXT NOT NULL,
    kind        TEXT NOT NULL,                   -- fxo | fxs | sip
    endpoint    TEXT NOT NULL,
    role        TEXT NOT NULL,                   -- caller | agent | called
    incoming    INTEGER NOT NULL,
    number      TEXT NOT NULL DEFAULT '',
    agent       TEXT NOT NULL DEFAULT '',
    started_ms  INTEGER NOT NULL,
    ringing_ms  INTEGER,
    answered_ms INTEGER,
    answered_by TEXT NOT NULL DEFAULT '',        -- evidence of the answer
    ended_ms    INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    evidence    TEXT NOT NULL DEFAULT '',
    confidence  REAL NOT NULL DEFAULT 0,
    detail      TEXT NOT NULL DEFAULT '',
    by_far      INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX legs_contact ON legs (contact);

CREATE TABLE contact_events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    contact TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    leg     TEXT NOT NULL DEFAULT '',
    data    TEXT NOT NULL DEFAULT '{}'           -- JSON
);
CREATE INDEX contact_events_contact ON contact_events (contact);

CREATE TABLE queue_log (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    contact TEXT NOT NULL,
    queue   TEXT NOT NULL,
    agent   TEXT NOT NULL DEFAULT '',
    event   TEXT NOT NULL,
    data    TEXT NOT NULL DEFAULT ''             -- values separated by |
);
