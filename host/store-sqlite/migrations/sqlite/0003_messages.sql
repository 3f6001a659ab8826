-- A message has a row of its own for as long as its verification has one, instead of one that goes once it is settled.
-- Only while no process of an earlier version has the database: those know the tables as they were.

-- Whose the rows are; there is one of them so far. Digests are made with keys of its own, so no key below needs it.
CREATE TABLE app (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE
);
INSERT INTO app VALUES (0, 'default');

CREATE TABLE message (
    verification    BLOB    NOT NULL,
    n               INTEGER NOT NULL,   -- from 0, in their order
    id              BLOB    NOT NULL,   -- that of the first is its verification's
    app             INTEGER NOT NULL DEFAULT 0,
    state           TEXT    NOT NULL,   -- 'pending', 'sent', or the class of a failure
    -- Until it is settled: number, language, text and what it is counted in; the process that may send it, and how many
    -- processes may have tried it.
    sealed          BLOB,
    holder          BLOB,
    leases          INTEGER,
    -- Once it is settled: the backend that was asked last, the provider's id as it may be shown, a digest of it as it is,
    -- and each try.
    backend         INTEGER,
    provider_id     TEXT,
    provider_digest BLOB,
    tries           TEXT,               -- a JSON list
    PRIMARY KEY (verification, n)
) WITHOUT ROWID;

-- Of settled messages a verification told the last one and how the first one went.
INSERT INTO message (verification, n, id, state, backend, provider_id)
    SELECT id, 0, id, first_delivery, iif(delivery IN (first_delivery, 'pending'), backend, NULL),
           iif(delivery IN (first_delivery, 'pending'), message_id, NULL)
    FROM verification;
INSERT INTO message (verification, n, id, state, backend, provider_id)
    SELECT id, 1, randomblob(16), delivery, backend, message_id FROM verification
    WHERE delivery <> first_delivery AND delivery <> 'pending';
-- What is under way has no row yet but that of a first message. No holder: its process ended.
UPDATE message SET (sealed, holder, leases) =
    (SELECT sealed, coalesce(holder, zeroblob(16)), leases FROM outbox WHERE outbox.id = message.id)
    WHERE (verification, n) IN (SELECT id, 0 FROM outbox);
INSERT INTO message (verification, n, id, state, sealed, holder, leases)
    SELECT o.verification, 1 + row_number() OVER (PARTITION BY o.verification ORDER BY o.id), o.id, 'pending', o.sealed,
           coalesce(o.holder, zeroblob(16)), o.leases
    FROM outbox o WHERE o.id <> o.verification;
DROP TABLE outbox;
CREATE INDEX message_under_way ON message (holder) WHERE sealed IS NOT NULL;
CREATE INDEX message_of_provider ON message (provider_digest, backend) WHERE provider_digest IS NOT NULL;

CREATE TABLE verification_of_now (
    id              BLOB    PRIMARY KEY,
    app             INTEGER NOT NULL DEFAULT 0,
    number          BLOB    NOT NULL,   -- digest
    -- The verification whose code this one shares; NULL: it has its own.
    code_of         BLOB,
    key_id          INTEGER NOT NULL,   -- of code and number
    code            BLOB,               -- digest; of a row with its own code
    code_sealed     BLOB,               -- with the number, to send it again; gone once used or expired
    code_used_at    INTEGER,
    -- Of the code, over all verifications that share it: attempts that did not succeed, those whose message may have
    -- been sent, and further messages that carried it.
    failures        INTEGER NOT NULL DEFAULT 0,
    sessions        INTEGER NOT NULL DEFAULT 1,
    resends         INTEGER NOT NULL DEFAULT 0,
    -- Of this verification alone.
    attempts_left   INTEGER NOT NULL,
    guarded         INTEGER NOT NULL DEFAULT 0,         -- whether the guard looked at it
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    verified_at     INTEGER,
    ended           TEXT,                               -- 'cancelled', 'not_sent'
    client_ref      BLOB,                               -- sealed
    -- What its code is good for: its caller's word for it, and a digest of that and of what it is bound to.
    purpose         TEXT,
    bound           BLOB
) WITHOUT ROWID;
INSERT INTO verification_of_now
    SELECT id, 0, number, code_of, key_id, code, code_sealed, code_used_at, failures, sessions, resends, attempts_left,
           guarded, created_at, expires_at, verified_at, ended, client_ref, NULL, NULL
    FROM verification;
DROP TABLE verification;
ALTER TABLE verification_of_now RENAME TO verification;

-- The one code of a number that is still good for a purpose.
CREATE TABLE pending_of_now (
    number          BLOB    NOT NULL,
    bound           BLOB    NOT NULL DEFAULT x'',
    app             INTEGER NOT NULL DEFAULT 0,
    verification    BLOB    NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (number, bound)
) WITHOUT ROWID;
INSERT INTO pending_of_now (number, verification, expires_at) SELECT number, verification, expires_at FROM pending;
DROP TABLE pending;
ALTER TABLE pending_of_now RENAME TO pending;

ALTER TABLE request  ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
ALTER TABLE decision ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counter  ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit    ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bulk_job ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
