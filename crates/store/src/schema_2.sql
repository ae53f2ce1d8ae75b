-- What a session compares, and which comparisons its own host spoils.
ALTER TABLE session ADD COLUMN experiment TEXT;
ALTER TABLE session ADD COLUMN local_queue TEXT NOT NULL DEFAULT '[]';

-- Verdicts as they changed; the newest of a worker, direction, family and comparison is in force.
CREATE TABLE verdict (
  id INTEGER PRIMARY KEY,
  worker INTEGER NOT NULL REFERENCES worker (id),
  direction INTEGER NOT NULL,
  family INTEGER NOT NULL,
  -- JSON of subject and control.
  comparison TEXT NOT NULL,
  at INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  changed_from TEXT,
  -- JSON of the report's entry.
  finding TEXT NOT NULL
) STRICT;
CREATE INDEX verdict_of ON verdict (worker, direction, family, comparison, id);
