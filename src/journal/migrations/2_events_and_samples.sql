-- What happened. Rows are added at the end and removed at the beginning, and never changed.
CREATE TABLE events (
    -- Counts up by one.
    position BIGINT NOT NULL PRIMARY KEY,
    id BIGINT NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    store TEXT,
    kind TEXT NOT NULL,
    -- The event as JSON, byte for byte as it was hashed.
    content TEXT NOT NULL,
    -- SHA-256 over the hash before it and the content, in hexadecimal.
    hash TEXT NOT NULL
);
CREATE INDEX events_of_store ON events (store, id);
CREATE INDEX events_of_kind ON events (kind, at);
CREATE INDEX events_by_kind_and_store ON events (kind, store, id);
-- What the oldest event follows: the newest one that retention has removed. Empty until it has removed any.
CREATE TABLE anchor (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    position BIGINT NOT NULL,
    at BIGINT NOT NULL,
    hash TEXT NOT NULL
);
-- How many stores were in which state, now and then.
CREATE TABLE samples (
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    stores BIGINT NOT NULL,
    PRIMARY KEY (at, state)
);
