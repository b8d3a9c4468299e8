-- What is on its way to the centre (firmware/app/upload.py): one row each until the centre has it and call control knows.
-- `state`: going, there (the centre has all of it), back (the centre shall forget it). `body`: documents made here; recordings lie on the disk.
CREATE TABLE uploads (
    name     TEXT PRIMARY KEY,             -- recording/PATH, record/PATH, chain/FIRST-LAST
    kind     TEXT NOT NULL,
    path     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    body     BLOB,
    url      TEXT NOT NULL DEFAULT '',
    state    TEXT NOT NULL DEFAULT 'going'
) WITHOUT ROWID;
CREATE TABLE upload_state (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
