-- Recordings: what is on the disk, the chain that shows removal and change, who heard what, and which disk belongs to the box.
-- `state`: open (being written), whole, cut (ends in the middle: power cut). What is removed is gone from this table; the chain keeps its digest.
CREATE TABLE recordings (
    path TEXT PRIMARY KEY,
    contact TEXT NOT NULL,
    leg TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT 'open',
    started_ms INTEGER NOT NULL,
    frames INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    class TEXT NOT NULL DEFAULT '',
    keep_until_ms INTEGER NOT NULL,
    rule TEXT NOT NULL DEFAULT '',
    masked TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX recordings_by_contact ON recordings (contact);
CREATE INDEX recordings_by_age ON recordings (started_ms);
-- hash = keyed digest of the previous hash and this row: nothing can be changed, left out or put in without the device key.
CREATE TABLE recording_chain (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    what TEXT NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    why TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX recording_chain_by_path ON recording_chain (path);
CREATE TRIGGER recording_chain_kept BEFORE DELETE ON recording_chain BEGIN SELECT RAISE(ABORT, 'the chain is never shortened'); END;
CREATE TRIGGER recording_chain_fixed BEFORE UPDATE ON recording_chain BEGIN SELECT RAISE(ABORT, 'the chain is never changed'); END;
CREATE TABLE recording_access (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    path TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE recording_disks (folder TEXT PRIMARY KEY, disk TEXT NOT NULL) WITHOUT ROWID;
