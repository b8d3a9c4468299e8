-- Of legs over IP: codec, grades (MOS) of what arrived and of what the far end reported, and all figures as JSON (call/quality.py).
ALTER TABLE legs ADD COLUMN codec TEXT NOT NULL DEFAULT '';
ALTER TABLE legs ADD COLUMN mos REAL;
ALTER TABLE legs ADD COLUMN far_mos REAL;
ALTER TABLE legs ADD COLUMN quality TEXT NOT NULL DEFAULT '';
