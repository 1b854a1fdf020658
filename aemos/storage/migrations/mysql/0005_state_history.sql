-- A state may have had millions of values: finding the open one, or the newest, must not read them all.
-- The table is there; the step of this migration adds the two keys that it lacks.

CREATE TABLE IF NOT EXISTS DeviceStateInstance (
  id BIGINT NOT NULL AUTO_INCREMENT,
  deviceStateId BIGINT NOT NULL,
  value VARCHAR(100) NOT NULL,
  fromTimestamp DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  toTimestamp DATETIME(6),
  initiatedBy VARCHAR(20),
  initiatorId BIGINT,
  PRIMARY KEY (id),
  KEY open_instance (deviceStateId, toTimestamp),
  KEY newest_instance (deviceStateId, fromTimestamp)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
