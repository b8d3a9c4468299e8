-- What the echo cancellers learned of each line, so that the first call after a power cut begins without echo.
CREATE TABLE echo_filters (
    slot    INTEGER PRIMARY KEY,           -- PCM slot of the jack
    line    TEXT NOT NULL,                 -- identity of what is wired there, 16 hexadecimal digits
    rate    INTEGER NOT NULL,              -- Hz
    depth   INTEGER NOT NULL,              -- playback depth in blocks: the PCM alignment it was learned under
    erl_db  REAL NOT NULL,
    erle_db REAL NOT NULL,
    taps    BLOB NOT NULL,                 -- impulse response, 32-bit floats, little-endian
    crc     INTEGER NOT NULL,              -- CRC-32 of taps
    wall_ms INTEGER NOT NULL               -- Unix time in ms when it was written
) WITHOUT ROWID;
