-- What alerts stand raised or are about to turn, and what is still to be told of them.
CREATE TABLE alert (
  rule TEXT NOT NULL,
  subject TEXT NOT NULL,
  raised INTEGER NOT NULL,
  turning_since_s INTEGER,
  seen_s INTEGER NOT NULL,
  level REAL NOT NULL,
  word TEXT NOT NULL,
  PRIMARY KEY (rule, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_note (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  rule TEXT NOT NULL,
  at_s INTEGER NOT NULL,
  body TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_s INTEGER NOT NULL
) STRICT;

-- What a worker holds on its own disk behind its newest upload.
ALTER TABLE worker ADD COLUMN waiting_bytes INTEGER;
