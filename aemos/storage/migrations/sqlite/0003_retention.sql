-- How long readings are kept, and what remains of those that were deleted.

CREATE TABLE retention_policy (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  telemetry_id INTEGER REFERENCES TelemetryData (id) ON DELETE CASCADE ON UPDATE CASCADE,
  raw_days INTEGER NOT NULL,
  hourly_days INTEGER,
  daily_days INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "retention_policy.organization_id" ON retention_policy (organization_id);
CREATE UNIQUE INDEX "retention_policy.telemetry_id" ON retention_policy (telemetry_id);

CREATE TABLE reading_rollup (
  telemetry_id INTEGER NOT NULL REFERENCES TelemetryData (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  hours INTEGER NOT NULL,
  start_at INTEGER NOT NULL,
  readings INTEGER NOT NULL,
  numbers INTEGER NOT NULL,
  total REAL,
  low REAL,
  high REAL,
  first_at INTEGER NOT NULL,
  first_value TEXT CONSTRAINT "first_value is too long" CHECK (length(first_value) <= 50),
  last_at INTEGER NOT NULL,
  last_value TEXT CONSTRAINT "last_value is too long" CHECK (length(last_value) <= 50),
  PRIMARY KEY (telemetry_id, hours, start_at)
) STRICT, WITHOUT ROWID;
