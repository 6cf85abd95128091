-- file: log
-- Room in the pages of fates: a mark then changes its row in place, and no index with it.

ALTER TABLE fates SET (fillfactor = 60);
