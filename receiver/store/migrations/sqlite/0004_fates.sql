-- file: log
-- Fates in the order of the log: those of one commit are neighbours. By content only those are found that decide about the
-- next callback: whose answers did not get out, or may not have. Times are microseconds since 1970, UTC.

CREATE TABLE fates_in_order (
    position    INTEGER PRIMARY KEY,
    digest      BLOB    NOT NULL,
    received_at INTEGER NOT NULL,
    fate        TEXT    NOT NULL CHECK (fate IN ('unknown', 'answered', 'unanswered'))
) STRICT;

INSERT INTO fates_in_order SELECT position, digest, received_at, fate FROM fates ORDER BY position;

DROP TABLE fates;
ALTER TABLE fates_in_order RENAME TO fates;

CREATE INDEX fates_open ON fates (digest) WHERE fate <> 'answered';
CREATE INDEX fates_recent ON fates (received_at);
