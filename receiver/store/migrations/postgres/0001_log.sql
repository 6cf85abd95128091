-- file: log
-- The log of events, the callbacks they came from, and what could not be read. Times are microseconds since 1970, UTC.

-- Each process that appends has a stream of its own, with one commit in flight: so positions in it have no gaps and
-- become visible in order, whatever other processes do. A commit locks its stream's row FOR KEY SHARE; closing locks it
-- FOR UPDATE, and so waits for a commit of which nobody knows what became.
CREATE TABLE streams (
    stream    integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name      text        NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed    boolean     NOT NULL DEFAULT false,
    last      bigint      NOT NULL DEFAULT 0,  -- it ends there at least; when it is closed: there
    removed   bigint      NOT NULL DEFAULT 0   -- how many of its events were pruned or erased
);

CREATE TABLE callbacks (
    stream       integer NOT NULL,
    number       bigint  NOT NULL,
    received_at  bigint  NOT NULL,
    source       text    NOT NULL,
    endpoint     text    NOT NULL,
    method       text    NOT NULL,
    query        bytea   NOT NULL,
    content_type text    NOT NULL,
    body         bytea   NOT NULL,
    outcome      text    NOT NULL,
    simulated    boolean NOT NULL,
    PRIMARY KEY (stream, number)
);

CREATE TABLE events (
    stream      integer NOT NULL,
    position    bigint  NOT NULL,
    at          bigint  NOT NULL,   -- received_at, but never before that of an earlier position: the order of the log
    key         bytea,              -- null: the callback carried no identity
    id          bytea   NOT NULL,   -- UUIDv7
    callback    bigint,             -- its number in the same stream; null: a notice of our own
    kind        text    NOT NULL,
    source      text    NOT NULL,
    received_at bigint  NOT NULL,
    occurred_at bigint,
    message_id  text,
    reference   text,
    originator  text,               -- numbers by their digits, as they are compared
    recipient   text,
    status      text,
    rank        integer,
    simulated   boolean NOT NULL,
    data        text    NOT NULL,   -- the event's `data`, JSON
    PRIMARY KEY (stream, position)
);
CREATE INDEX events_at ON events (at, stream, position);
CREATE INDEX events_simulated ON events (stream, position) WHERE simulated;

-- What makes an event be stored once, however many receivers get it at the same time. Apart from the events, so that a
-- database that is spread over many machines can spread this by its key and those by their stream.
CREATE TABLE keys (
    key      bytea   PRIMARY KEY,
    stream   integer NOT NULL,
    position bigint  NOT NULL,
    id       bytea   NOT NULL
);

-- Callbacks that repeated an event stored before.
CREATE TABLE copies (
    stream          integer NOT NULL,
    position        bigint  NOT NULL,
    callback_stream integer NOT NULL,
    callback        bigint  NOT NULL,
    PRIMARY KEY (stream, position, callback_stream, callback)
);

-- Callbacks without identity: the newest event of each content, and whether its answer got out.
CREATE TABLE fates (
    digest      bytea   PRIMARY KEY,
    stream      integer NOT NULL,
    position    bigint  NOT NULL,
    id          bytea   NOT NULL,
    received_at bigint  NOT NULL,
    fate        text    NOT NULL CHECK (fate IN ('unknown', 'answered', 'unanswered'))
);
CREATE INDEX fates_event ON fates (stream, position);

CREATE TABLE quarantine (
    stream integer NOT NULL,
    number bigint  NOT NULL,
    source text    NOT NULL,
    reason text    NOT NULL,
    PRIMARY KEY (stream, number)
);

-- What each source sent: `counts` has a row of each commit, so that no two receivers wait for each other; each receiver
-- adds up its own from time to time.
CREATE TABLE counts (
    stream      integer NOT NULL,
    number      bigint  NOT NULL,   -- of the commit's last callback
    source      text    NOT NULL,
    stored      bigint  NOT NULL,
    duplicates  bigint  NOT NULL,
    quarantined bigint  NOT NULL,
    simulated   bigint  NOT NULL,
    last_at     bigint  NOT NULL,
    PRIMARY KEY (stream, number, source)
);
CREATE TABLE sources (
    source      text   PRIMARY KEY,
    stored      bigint NOT NULL DEFAULT 0,
    duplicates  bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    simulated   bigint NOT NULL DEFAULT 0,
    last_at     bigint NOT NULL DEFAULT 0
);

CREATE TABLE open_notices (
    notice   text    NOT NULL,
    about    text    NOT NULL,
    stream   integer NOT NULL,
    position bigint  NOT NULL,
    PRIMARY KEY (notice, about)
);

-- The current status of a message: the report with the highest rank, then the later one.
CREATE VIEW message_status AS
SELECT stream, position, source, message_id, reference, recipient, status, rank, occurred_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY source, coalesce(message_id, 'reference ' || reference), recipient
        ORDER BY rank DESC, coalesce(occurred_at, received_at) DESC, at DESC, stream DESC, position DESC
    ) AS place
    FROM events
    WHERE kind = 'dlr'
) AS ranked
WHERE place = 1;
