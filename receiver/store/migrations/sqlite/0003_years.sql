-- file: log
-- What outlives its rows: the places of erased events, and the backups that were made. Times are microseconds.

-- A place is never given again, also where its event was the newest.
CREATE TABLE erased (
    position  INTEGER PRIMARY KEY,
    erased_at INTEGER NOT NULL
) STRICT;

CREATE TABLE backups (
    path    TEXT PRIMARY KEY,
    made_at INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
