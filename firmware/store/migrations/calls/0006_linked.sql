-- The contact that was cut off and that this one goes on with (redial by code); '' for none.
ALTER TABLE contacts ADD COLUMN linked TEXT NOT NULL DEFAULT '';
CREATE INDEX contacts_linked ON contacts (linked) WHERE linked != '';
