-- Which sensors and devices are there, when they were last heard and how often they report.

CREATE TABLE presence (
  uuid TEXT NOT NULL CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 64),
  presence TEXT NOT NULL CONSTRAINT "presence is too long" CHECK (length(presence) <= 8),
  since_at INTEGER NOT NULL,
  last_seen_at INTEGER,
  interval_ms INTEGER NOT NULL,
  stays INTEGER NOT NULL,
  PRIMARY KEY (uuid)
) STRICT, WITHOUT ROWID;
