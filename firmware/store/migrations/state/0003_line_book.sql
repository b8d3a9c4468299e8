-- What the line doctor remembers of each port: its label, how its calls went, its self-tests, its caller id scheme.
CREATE TABLE line_book (
    endpoint TEXT NOT NULL,                -- line/1, an extension's number, fxs/3; "box" for the appliance itself
    part     TEXT NOT NULL,                -- label | calls | echo | caller-id | test | termination | ...
    line     TEXT NOT NULL,                -- identity of what is wired there, 16 hexadecimal digits
    state    BLOB NOT NULL,                -- JSON in that part's own form
    wall_ms  INTEGER NOT NULL,             -- Unix time in ms when it was written
    PRIMARY KEY (endpoint, part)
) WITHOUT ROWID;
