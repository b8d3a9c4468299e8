-- What the management process keeps: how far it has read the event stream, the audit trail, the alarms.
CREATE TABLE cursor (
    stream TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    wall_ms INTEGER NOT NULL,
    peer    TEXT NOT NULL,                 -- who asked: uid:0, cli:...
    role    TEXT NOT NULL,
    command TEXT NOT NULL,
    args    TEXT NOT NULL,                 -- JSON, secrets redacted
    outcome TEXT NOT NULL                  -- ok, or the kind of the error
);
CREATE INDEX audit_wall ON audit (wall_ms);

CREATE TABLE alarms (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      TEXT NOT NULL,
    text      TEXT NOT NULL,
    raised_ms INTEGER NOT NULL,
    cleared_ms INTEGER
);
CREATE INDEX alarms_open ON alarms (kind) WHERE cleared_ms IS NULL;
