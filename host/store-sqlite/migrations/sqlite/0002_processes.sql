-- What processes on one database must know of each other, what a request came to, and how long the audit log is kept.

-- By how much the service time is ahead of the time since the machine was started, and which start that was: one row.
CREATE TABLE timeline (
    boot            TEXT    NOT NULL,
    lead_ms         INTEGER NOT NULL
);

-- The process that may send the message; NULL: one of an earlier version has it, until its lease lapses.
ALTER TABLE outbox ADD COLUMN holder BLOB;

-- The backends that messages were sent with.
CREATE TABLE backend (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE
);
-- That of the last message; NULL: none was asked yet, or it is not known.
ALTER TABLE verification ADD COLUMN backend INTEGER;

-- What a request did: sent this message, or got this verdict on a code. Neither: it began or ended the verification.
ALTER TABLE request ADD COLUMN message BLOB;
ALTER TABLE request ADD COLUMN verdict TEXT;

-- Entries of the audit log from then on are kept; what is older may be deleted. One row.
CREATE TABLE audit_kept (
    since           INTEGER NOT NULL
);
INSERT INTO audit_kept VALUES (0);
DROP TRIGGER audit_is_not_deleted;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit WHEN OLD.at >= (SELECT max(since) FROM audit_kept)
    BEGIN SELECT RAISE(ABORT, 'the audit log is not deleted'); END;
