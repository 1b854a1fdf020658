-- How long readings are kept, and what remains of those that were deleted.

CREATE TABLE IF NOT EXISTS retention_policy (
  id BIGINT NOT NULL AUTO_INCREMENT,
  organization_id BIGINT,
  telemetry_id BIGINT,
  raw_days INTEGER NOT NULL,
  hourly_days INTEGER,
  daily_days INTEGER,
  created_at DATETIME(3) NOT NULL,
  updated_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY organization_id (organization_id),
  UNIQUE KEY telemetry_id (telemetry_id),
  FOREIGN KEY (organization_id) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (telemetry_id) REFERENCES TelemetryData (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS reading_rollup (
  telemetry_id BIGINT NOT NULL,
  hours INTEGER NOT NULL,
  start_at DATETIME(3) NOT NULL,
  readings BIGINT NOT NULL,
  numbers BIGINT NOT NULL,
  total DOUBLE,
  low DOUBLE,
  high DOUBLE,
  first_at DATETIME(3) NOT NULL,
  first_value VARCHAR(50),
  last_at DATETIME(3) NOT NULL,
  last_value VARCHAR(50),
  PRIMARY KEY (telemetry_id, hours, start_at),
  FOREIGN KEY (telemetry_id) REFERENCES TelemetryData (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
