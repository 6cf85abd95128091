-- file: dispatch
-- What the handlers did with the log. An event is pending at or after its lane's `next`, running in a claim, what its
-- exception says where it has one, else done or filtered. Times are microseconds since 1970, UTC.

CREATE TABLE handlers (
    handler       text    PRIMARY KEY,
    configured    boolean NOT NULL,
    received      bigint  NOT NULL DEFAULT 0,  -- what it was owed of streams of which nothing is left
    state         text    NOT NULL DEFAULT 'ok',
    since         bigint,
    reason        text    NOT NULL DEFAULT '',
    last_error    text    NOT NULL DEFAULT '',
    last_error_at bigint
);

-- Every handler has one in every stream.
CREATE TABLE lanes (
    handler text    NOT NULL,
    stream  integer NOT NULL,
    start   bigint  NOT NULL,                  -- the first position it is owed
    next    bigint  NOT NULL,                  -- the first position not yet claimed
    over    boolean NOT NULL DEFAULT false,    -- whether the stream is closed, and `next` behind its end
    PRIMARY KEY (handler, stream)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX lanes_open ON lanes (handler, stream) WHERE NOT over;

-- Dispatchers, and until when what they claimed is theirs, by the server's clock.
CREATE TABLE owners (
    owner    text        PRIMARY KEY,
    until_at timestamptz NOT NULL
);

-- Counters, of each dispatcher apart: so that none waits for another. Those of dispatchers that are gone are added up
-- under the owner ''.
CREATE TABLE tallies (
    handler   text   NOT NULL,
    owner     text   NOT NULL,
    replays   bigint NOT NULL DEFAULT 0,
    done      bigint NOT NULL DEFAULT 0,
    filtered  bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    dead      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (handler, owner)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Ranges of new events that are being handled; bit n of `settled` (little-endian) is event first + n.
CREATE TABLE claims (
    handler text    NOT NULL,
    stream  integer NOT NULL,
    first   bigint  NOT NULL,
    count   integer NOT NULL,
    settled bytea   NOT NULL,
    owner   text    NOT NULL,
    ticket  bigint  NOT NULL,                  -- of the call that claimed: found by it where its commit is in doubt
    PRIMARY KEY (handler, stream, first)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Events that did not simply go well, and replays.
CREATE TABLE exceptions (
    handler       text    NOT NULL,
    stream        integer NOT NULL,
    position      bigint  NOT NULL,
    replay        integer NOT NULL,
    at            bigint  NOT NULL,            -- of the event: the order of the log
    state         text    NOT NULL CHECK (state IN ('again', 'interrupted', 'running', 'alone', 'dead', 'cancelled')),
    thread        bytea   NOT NULL,            -- a hash of what `ordered` keeps in order
    attempts      integer NOT NULL DEFAULT 0,  -- failures that used up a retry
    interruptions integer NOT NULL DEFAULT 0,
    probes        integer NOT NULL DEFAULT 0,  -- failures as the probe of the present hold
    target        boolean NOT NULL DEFAULT false,  -- waits because of the target
    due_at        bigint  NOT NULL DEFAULT 0,
    first_at      bigint,
    died_at       bigint,
    reason        text    NOT NULL DEFAULT '',
    owner         text,
    ticket        bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (handler, stream, position, replay)
);
CREATE INDEX exceptions_due ON exceptions (handler, state, due_at, at, stream, position, replay);
CREATE INDEX exceptions_thread ON exceptions (handler, thread, at);

-- The attempt log: packed for events that went well at once, a row for each attempt of an exception.
CREATE TABLE packed_attempts (
    handler text    NOT NULL,
    stream  integer NOT NULL,
    first   bigint  NOT NULL,                  -- of the claim
    place   integer NOT NULL,                  -- the lowest offset in `entries`
    entries text    NOT NULL,                  -- [[offset, began_at, microseconds, answer], …]
    PRIMARY KEY (handler, stream, first, place)
);
CREATE TABLE attempts (
    handler    text        NOT NULL,
    stream     integer     NOT NULL,
    position   bigint      NOT NULL,
    replay     integer     NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    began_at   bigint      NOT NULL,
    number     integer     NOT NULL,
    took       bigint      NOT NULL,           -- microseconds
    verdict    text        NOT NULL,
    answer     text        NOT NULL
);
CREATE INDEX attempts_of ON attempts (handler, stream, position, replay, written_at);

-- Finding by event id, message id, reference and number: sorted runs of each stream, built behind the log.
CREATE TABLE runs (
    run    integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    stream integer NOT NULL,
    first  bigint  NOT NULL,
    last   bigint  NOT NULL,
    UNIQUE (stream, first)
);
CREATE TABLE lookups (
    run      integer NOT NULL,
    term     bigint  NOT NULL,
    position bigint  NOT NULL,
    PRIMARY KEY (run, term, position)
);
