-- file: log
-- What outlives its rows: the places of erased events. Where a stream ends stands in `streams`; the backups of a PostgreSQL
-- are its own.

-- A place is never given again, also where its event was the newest.
CREATE TABLE erased (
    stream   integer NOT NULL,
    position bigint  NOT NULL,
    PRIMARY KEY (stream, position)
);
