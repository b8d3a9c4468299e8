-- Mail of voice messages: one row for each message whose mail was tried. accepted_ms: the server has taken it.
CREATE TABLE mail (
    box         TEXT NOT NULL,
    message     TEXT NOT NULL,
    address     TEXT NOT NULL,
    first_ms    INTEGER NOT NULL,
    next_ms     INTEGER NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    answer      TEXT NOT NULL DEFAULT '',
    accepted_ms INTEGER,
    PRIMARY KEY (box, message)
) WITHOUT ROWID;
