CREATE TABLE commits (
    revision TEXT NOT NULL PRIMARY KEY,
    -- Counts up: the newest commit has the highest.
    position BIGINT NOT NULL UNIQUE,
    author TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Seconds since 1970, like all times here.
    seen BIGINT NOT NULL,
    refused TEXT
);
CREATE TABLE verdicts (
    revision TEXT NOT NULL REFERENCES commits (revision) ON DELETE CASCADE,
    store TEXT NOT NULL,
    change TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (revision, store)
);
-- What a forge shall show, and what it was told last: the two differ while it is on its way.
CREATE TABLE outbox (
    name TEXT NOT NULL PRIMARY KEY,
    wanted TEXT NOT NULL,
    sent TEXT,
    since BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
CREATE TABLE plans (
    head TEXT NOT NULL PRIMARY KEY,
    made BIGINT NOT NULL,
    report TEXT NOT NULL
);
