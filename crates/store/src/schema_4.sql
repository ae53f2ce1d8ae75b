-- Records of application latency, by their own id; workers by name, since a bot may measure where no worker ever joined.
-- Boots are 64 bits as SQLite's signed integers; times and durations are microseconds; flags are words joined by ','.
CREATE TABLE record (
  worker TEXT NOT NULL,
  boot INTEGER NOT NULL,
  counter INTEGER NOT NULL,
  library TEXT NOT NULL,
  language TEXT NOT NULL,
  version TEXT NOT NULL,
  metric TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  sent_us INTEGER,
  received_us INTEGER,
  app_us INTEGER,
  library_us INTEGER,
  network_us INTEGER,
  connect_us INTEGER,
  udp_us INTEGER,
  wait_us INTEGER NOT NULL,
  target TEXT NOT NULL,
  flags TEXT NOT NULL,
  PRIMARY KEY (worker, boot, counter)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_at ON record (at_us);

-- Where sources of records were read up to.
CREATE TABLE cursor (source TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
