-- Times are nanoseconds since the epoch unless a name says otherwise; kind, direction and family are model's codes.
CREATE TABLE worker (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  version TEXT NOT NULL DEFAULT '',
  ephemeral INTEGER NOT NULL DEFAULT 0,
  joined_at INTEGER NOT NULL,
  seen_at INTEGER
) STRICT;

-- Tokens and credentials are here as SHA-256 only.
CREATE TABLE join_token (
  hash BLOB PRIMARY KEY,
  uses_left INTEGER,
  expires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
  hash BLOB PRIMARY KEY,
  worker INTEGER NOT NULL REFERENCES worker (id),
  ephemeral INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX credential_of_worker ON credential (worker);

CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE task (id TEXT PRIMARY KEY, worker TEXT, spec TEXT NOT NULL) STRICT;

CREATE TABLE session (
  id INTEGER PRIMARY KEY,
  worker INTEGER NOT NULL REFERENCES worker (id),
  boot INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  family INTEGER NOT NULL,
  direction TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  from_address TEXT,
  to_address TEXT,
  notes TEXT NOT NULL DEFAULT '[]',
  key_up BLOB,
  key_down BLOB,
  plan TEXT NOT NULL
) STRICT;
CREATE INDEX session_open ON session (id) WHERE ended_at IS NULL;
CREATE INDEX session_of_worker ON session (worker, started_at);

CREATE TABLE pending (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  side INTEGER NOT NULL,
  max_sequence INTEGER NOT NULL,
  bytes BLOB NOT NULL
) STRICT;
CREATE INDEX pending_of_stream ON pending (session, direction, max_sequence);

CREATE TABLE resolved (
  session INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (session, direction)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch (
  worker INTEGER NOT NULL,
  boot INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (worker, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE clock (
  worker INTEGER NOT NULL,
  at INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  uncertainty_ns INTEGER NOT NULL,
  skew_ppm REAL NOT NULL,
  steps INTEGER NOT NULL,
  PRIMARY KEY (worker, at)
) STRICT, WITHOUT ROWID;

-- Unsealed samples, in the order in which a segment wants them.
CREATE TABLE sample (
  worker INTEGER NOT NULL,
  session INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  family INTEGER NOT NULL,
  tos_sent INTEGER NOT NULL,
  tos_received INTEGER,
  sent_at INTEGER NOT NULL,
  received_at INTEGER,
  ttl INTEGER,
  size INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  PRIMARY KEY (worker, session, direction, time_ns, sequence)
) STRICT, WITHOUT ROWID;

-- The manifest. Ids rise with every segment and are never used again.
CREATE TABLE segment (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  file TEXT NOT NULL UNIQUE,
  rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  min_time_ns INTEGER NOT NULL,
  max_time_ns INTEGER NOT NULL,
  sealed_at INTEGER NOT NULL,
  missing INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE rollup (
  period INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  start_s INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  family INTEGER NOT NULL,
  tos_sent INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  received INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  duplicated INTEGER NOT NULL,
  reordered INTEGER NOT NULL,
  min_ns INTEGER,
  max_ns INTEGER,
  uncertainty_ns INTEGER,
  marks BLOB NOT NULL,
  sketch BLOB,
  PRIMARY KEY (period, worker, start_s, kind, direction, family, tos_sent)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('task_revision', 1);
