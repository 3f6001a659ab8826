-- Times are milliseconds since the Unix epoch. Ids are 16 bytes that begin with the time, so new rows are
-- stored side by side. Numbers and codes are keyed digests; texts that are needed again are sealed.

-- Keys that something here was written with, so that a file of other keys is not taken for theirs.
CREATE TABLE key (
    id              INTEGER PRIMARY KEY
);

CREATE TABLE verification (
    id              BLOB    PRIMARY KEY,
    number          BLOB    NOT NULL,   -- digest
    -- The verification whose code this one shares; NULL: it has its own.
    code_of         BLOB,
    key_id          INTEGER NOT NULL,   -- of code and number
    code            BLOB,               -- digest; of a row with its own code
    code_sealed     BLOB,               -- with the number, to send it again; gone once used or expired
    code_used_at    INTEGER,
    -- Of the code, over all verifications that share it: attempts that did not succeed, and those whose
    -- message may have been sent.
    failures        INTEGER NOT NULL DEFAULT 0,
    sessions        INTEGER NOT NULL DEFAULT 1,
    resends         INTEGER NOT NULL DEFAULT 0,         -- further messages that carried it
    -- Of this verification alone.
    attempts_left   INTEGER NOT NULL,
    guarded         INTEGER NOT NULL DEFAULT 0,         -- whether the guard looked at it
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    verified_at     INTEGER,
    -- Of the last message and of the first, which the answer to the registration spoke of: 'pending', 'sent', or
    -- a failure class.
    delivery        TEXT    NOT NULL DEFAULT 'pending',
    first_delivery  TEXT    NOT NULL DEFAULT 'pending',
    message_id      TEXT,                                -- the provider's
    ended           TEXT,                                -- 'cancelled', 'not_sent'
    client_ref      BLOB                                 -- sealed
) WITHOUT ROWID;

-- Requests that must not be done twice.
CREATE TABLE request (
    key             BLOB    PRIMARY KEY,   -- digest of the caller and the key that it chose
    body            BLOB    NOT NULL,      -- digest
    verification    BLOB    NOT NULL,      -- what came of it
    answer          BLOB,                  -- sealed
    created_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX request_verification ON request (verification);

-- What the guard decided about messages that something spoke against. The id is that of
-- the message.
CREATE TABLE decision (
    id              BLOB    PRIMARY KEY,
    number          BLOB    NOT NULL,   -- digest
    number_masked   TEXT    NOT NULL,
    country         TEXT    NOT NULL,   -- ISO 3166
    blocked         INTEGER NOT NULL,
    verified_before INTEGER NOT NULL,
    reasons         TEXT    NOT NULL    -- a JSON list of codes
) WITHOUT ROWID;

-- The one code of a number that is still good. Rows leave when the code is used or expires, so this stays
-- small however many verifications there were.
CREATE TABLE pending (
    number          BLOB    PRIMARY KEY,
    verification    BLOB    NOT NULL,
    expires_at      INTEGER NOT NULL
) WITHOUT ROWID;

-- What happened lately, for limits and the guard. The key says what is counted and of whom: a country's code, or a digest.
-- That of a number also tells whether it was verified.
CREATE TABLE counter (
    key             BLOB    PRIMARY KEY,
    log             BLOB    NOT NULL,   -- times and amounts, days, or countries
    ends_at         INTEGER NOT NULL    -- when nothing in it counts any more
) WITHOUT ROWID;

-- What is to be sent. A row leaves when it is settled.
CREATE TABLE outbox (
    id              BLOB    PRIMARY KEY,
    verification    BLOB    NOT NULL,
    sealed          BLOB    NOT NULL,   -- number, language and text
    leased_until    INTEGER NOT NULL,
    leases          INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

-- Who did what. Rows are added, and neither changed nor deleted.
CREATE TABLE audit (
    id              INTEGER PRIMARY KEY,
    at              INTEGER NOT NULL,
    actor           TEXT    NOT NULL,
    action          TEXT    NOT NULL,
    subject         TEXT    NOT NULL    -- a masked number, the id of a verification
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is not deleted'); END;
-- REPLACE deletes without asking the trigger for it.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;

CREATE TABLE bulk_job (
    id              BLOB    PRIMARY KEY,
    sealed          BLOB    NOT NULL,   -- the text
    created_at      INTEGER NOT NULL,
    run             BLOB,               -- who has the job, NULL: nobody
    run_until       INTEGER             -- unless renewed
) WITHOUT ROWID;

CREATE TABLE bulk_item (
    job             BLOB    NOT NULL,
    item            INTEGER NOT NULL,
    sealed          BLOB    NOT NULL,   -- the number
    state           TEXT    NOT NULL DEFAULT 'waiting',  -- 'waiting', 'leased', 'sent', or a failure class
    failure_code    TEXT,
    PRIMARY KEY (job, item)
) WITHOUT ROWID;
CREATE INDEX bulk_item_waiting ON bulk_item (job, item) WHERE state = 'waiting';
CREATE INDEX bulk_item_leased  ON bulk_item (job, item) WHERE state = 'leased';
