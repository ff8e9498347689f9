-- Who has written events, and the highest number that each gave to one before it was written: a try whose end is unknown is
-- made again, and writes nothing twice.
CREATE TABLE writers (
    -- A process; each has a name of its own.
    writer TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL,
    -- When it wrote last.
    at BIGINT NOT NULL
);
