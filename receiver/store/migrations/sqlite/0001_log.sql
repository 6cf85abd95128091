-- file: log
-- The log of events, the callbacks they came from, and what could not be read. Times are microseconds since 1970, UTC.

CREATE TABLE callbacks (
    number       INTEGER PRIMARY KEY,
    received_at  INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    endpoint     TEXT    NOT NULL,
    method       TEXT    NOT NULL,
    query        BLOB    NOT NULL,
    content_type TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    outcome      TEXT    NOT NULL,
    simulated    INTEGER NOT NULL
) STRICT;

-- Positions have no gaps: they are given inside the writing transaction, and the newest row is never deleted.
CREATE TABLE events (
    position    INTEGER PRIMARY KEY,
    key         BLOB UNIQUE,       -- null: the callback carried no identity
    id          BLOB    NOT NULL,  -- UUIDv7
    callback    INTEGER,           -- null: a notice of our own
    kind        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    occurred_at INTEGER,
    message_id  TEXT,
    reference   TEXT,
    originator  TEXT,              -- numbers by their digits, as they are compared
    recipient   TEXT,
    status      TEXT,
    rank        INTEGER,
    simulated   INTEGER NOT NULL,
    data        TEXT    NOT NULL   -- the event's `data`, JSON
) STRICT;
CREATE INDEX events_simulated ON events (position) WHERE simulated;

-- Callbacks that repeated an event stored before.
CREATE TABLE copies (
    position INTEGER NOT NULL,
    callback INTEGER NOT NULL,
    PRIMARY KEY (position, callback)
) STRICT, WITHOUT ROWID;

-- Callbacks without identity: the newest event of each content, and whether its answer got out.
CREATE TABLE fates (
    digest      BLOB    PRIMARY KEY,
    position    INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    fate        TEXT    NOT NULL CHECK (fate IN ('unknown', 'answered', 'unanswered'))
) STRICT, WITHOUT ROWID;

CREATE INDEX fates_position ON fates (position);

CREATE TABLE quarantine (
    callback INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    reason   TEXT NOT NULL
) STRICT;

CREATE TABLE sources (
    source      TEXT PRIMARY KEY,
    stored      INTEGER NOT NULL DEFAULT 0,
    duplicates  INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    refused     INTEGER NOT NULL DEFAULT 0,
    simulated   INTEGER NOT NULL DEFAULT 0,
    last_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE open_notices (
    notice   TEXT NOT NULL,
    about    TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (notice, about)
) STRICT, WITHOUT ROWID;

-- Written by the probe of /readyz, so that it is a durable write like any other.
CREATE TABLE probes (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    probed_at INTEGER NOT NULL
) STRICT;

-- The current status of a message: the report with the highest rank, then the later one.
CREATE VIEW message_status AS
SELECT position, source, message_id, reference, recipient, status, rank, occurred_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY source, coalesce(message_id, 'reference ' || reference), recipient
        ORDER BY rank DESC, coalesce(occurred_at, received_at) DESC, position DESC
    ) AS place
    FROM events
    WHERE kind = 'dlr'
)
WHERE place = 1;
