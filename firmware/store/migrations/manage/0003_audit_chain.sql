-- Each record of the audit trail is chained to the one before it (firmware/store/audit.py); empty before there was a chain.
ALTER TABLE audit ADD COLUMN chain BLOB NOT NULL DEFAULT x'';
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is only added to');
END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN OLD.seq > (SELECT max(seq) FROM audit) - 100000
BEGIN
    SELECT RAISE(ABORT, 'the audit trail keeps its last 100000 records');
END;
