-- file: dispatch
-- What the handlers did with the log. An event is pending at or after `next`, running in a claim, what its exception
-- says where it has one, else done or filtered. Times are microseconds since 1970, UTC.

CREATE TABLE lanes (
    handler       TEXT PRIMARY KEY,
    configured    INTEGER NOT NULL,
    start         INTEGER NOT NULL,            -- the first position it is owed
    next          INTEGER NOT NULL,            -- the first position not yet claimed
    replays       INTEGER NOT NULL DEFAULT 0,
    done          INTEGER NOT NULL DEFAULT 0,
    filtered      INTEGER NOT NULL DEFAULT 0,
    cancelled     INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    state         TEXT    NOT NULL DEFAULT 'ok',
    since         INTEGER,
    reason        TEXT    NOT NULL DEFAULT '',
    last_error    TEXT    NOT NULL DEFAULT '',
    last_error_at INTEGER
) STRICT;

-- Ranges of new events that are being handled; bit n of `settled` (little-endian) is event first + n.
CREATE TABLE claims (
    claim    INTEGER PRIMARY KEY,
    handler  TEXT    NOT NULL,
    first    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    settled  BLOB    NOT NULL,
    owner    TEXT    NOT NULL
) STRICT;

-- Events that did not simply go well, and replays.
CREATE TABLE exceptions (
    handler       TEXT    NOT NULL,
    position      INTEGER NOT NULL,
    replay        INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('again', 'interrupted', 'running', 'alone', 'dead', 'cancelled')),
    thread        TEXT,
    attempts      INTEGER NOT NULL DEFAULT 0,  -- failures that used up a retry
    interruptions INTEGER NOT NULL DEFAULT 0,
    probes        INTEGER NOT NULL DEFAULT 0,  -- failures as the probe of the present hold
    target        INTEGER NOT NULL DEFAULT 0,  -- waits because of the target
    due_at        INTEGER NOT NULL DEFAULT 0,
    first_at      INTEGER,
    died_at       INTEGER,
    reason        TEXT    NOT NULL DEFAULT '',
    owner         TEXT,
    PRIMARY KEY (handler, position, replay)
) STRICT, WITHOUT ROWID;
CREATE INDEX exceptions_due ON exceptions (handler, state, due_at, position, replay);
CREATE INDEX exceptions_thread ON exceptions (handler, thread, position, replay) WHERE thread IS NOT NULL;

-- The attempt log: packed for events that went well at once, a row for each attempt of an exception.
CREATE TABLE packed_attempts (
    handler TEXT    NOT NULL,
    first   INTEGER NOT NULL,                  -- of the claim
    place   INTEGER NOT NULL,                  -- the lowest offset in `entries`
    entries TEXT    NOT NULL,                  -- [[offset, began_at, microseconds, answer], …]
    PRIMARY KEY (handler, first, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (
    line     INTEGER PRIMARY KEY,
    handler  TEXT    NOT NULL,
    position INTEGER NOT NULL,
    replay   INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    took     INTEGER NOT NULL,                 -- microseconds
    verdict  TEXT    NOT NULL,
    answer   TEXT    NOT NULL
) STRICT;
CREATE INDEX attempts_of ON attempts (handler, position, replay);

-- Finding by event id, message id, reference and number: sorted runs, built behind the log.
CREATE TABLE runs (
    run   INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    ready INTEGER NOT NULL
) STRICT;
CREATE TABLE lookups (
    run      INTEGER NOT NULL,
    term     INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (run, term, position)
) STRICT, WITHOUT ROWID;
