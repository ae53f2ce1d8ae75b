-- Sums of records by minute and hour, as `rollup` has them of samples. `place` is the media host of voice, else empty.
CREATE TABLE record_rollup (
  period INTEGER NOT NULL,
  worker TEXT NOT NULL,
  start_s INTEGER NOT NULL,
  library TEXT NOT NULL,
  language TEXT NOT NULL,
  metric TEXT NOT NULL,
  place TEXT NOT NULL,
  samples INTEGER NOT NULL,
  app BLOB,
  network BLOB,
  overhead BLOB,
  connect BLOB,
  udp BLOB,
  PRIMARY KEY (period, worker, start_s, library, language, metric, place)
) STRICT, WITHOUT ROWID;

-- Probes for which a middlebox spoke, or that left their host with another mark: their marks are no evidence of the path.
ALTER TABLE rollup ADD COLUMN intercepted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN rewritten INTEGER NOT NULL DEFAULT 0;
