-- Unsealed samples, packed: one row of each commit and worker. The rows of `sample` are packed into it after this script.
CREATE TABLE block (
  id INTEGER PRIMARY KEY,
  worker INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  min_time_ns INTEGER NOT NULL,
  max_time_ns INTEGER NOT NULL,
  samples BLOB NOT NULL
) STRICT;
CREATE INDEX block_of_worker ON block (worker);

-- The newest trace of each worker's path, or why there is none: JSON of the tracer's.
CREATE TABLE trace (
  worker INTEGER NOT NULL REFERENCES worker (id),
  direction INTEGER NOT NULL,
  family INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (worker, direction, family)
) STRICT, WITHOUT ROWID;
