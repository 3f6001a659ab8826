-- Texts that are no verifications. What became of one is in `message`, whose `verification` is its id.
CREATE TABLE text (
    id              BLOB    PRIMARY KEY,
    app             INTEGER NOT NULL DEFAULT 0,
    number          BLOB    NOT NULL,   -- digest
    created_at      INTEGER NOT NULL,
    send_until      INTEGER NOT NULL    -- no process takes it over after that
) WITHOUT ROWID;
