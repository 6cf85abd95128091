-- file: log
-- What outlives its rows stands in `streams` already: where each ends, and how many of its events are gone. The backups
-- of a PostgreSQL are its own.

COMMENT ON COLUMN streams.removed IS 'events that were pruned or erased; their places stay empty';
