-- What providers report about messages that they took.

ALTER TABLE message ADD COLUMN report  TEXT;   -- JSON: all that is known from reports
ALTER TABLE message ADD COLUMN country TEXT;   -- of its number, ISO 3166; NULL until it is settled

-- Reports whose message is not known yet: the provider was faster than the record of its answer. They leave once they
-- are applied, or after a while.
CREATE TABLE early_report (
    id              INTEGER PRIMARY KEY,   -- in the order in which they came
    backend         INTEGER NOT NULL,
    provider_digest BLOB    NOT NULL,
    received_at     INTEGER NOT NULL,
    report          TEXT    NOT NULL       -- JSON: its state, and the rest
);
