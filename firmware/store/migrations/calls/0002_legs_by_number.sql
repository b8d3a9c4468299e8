-- The nightly statistic of false hang-ups asks who called back: by time, and by number and time.
CREATE INDEX legs_ended ON legs (ended_ms);
CREATE INDEX legs_number ON legs (number, started_ms);
