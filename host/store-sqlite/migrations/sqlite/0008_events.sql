-- What happened to verifications and texts, where the settings have it recorded. Rows leave after some days.
CREATE TABLE event (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- in their order
    subject         BLOB    NOT NULL,   -- the verification or the text
    message         BLOB,               -- of the verification, if it is about one
    is_text         INTEGER NOT NULL,
    kind            TEXT    NOT NULL,   -- 'message.sent', ...
    at              INTEGER NOT NULL,
    number          BLOB,               -- sealed; NULL: it is not known any more
    details         TEXT                -- JSON: backend, class, code
);
CREATE INDEX event_subject ON event (subject);
