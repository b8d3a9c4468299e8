-- When the centre had taken a recording whole (Unix ms), 0 before; what waits is found without looking at what was sent.
ALTER TABLE recordings ADD COLUMN sent_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX recordings_unsent ON recordings (started_ms) WHERE sent_ms = 0;
