-- Commands to devices with what became of each, and the timers that switch actuators off again.

CREATE TABLE IF NOT EXISTS command (
  id BIGINT NOT NULL AUTO_INCREMENT,
  command_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  device_uuid VARCHAR(36) NOT NULL,
  organization_id BIGINT,
  actuator VARCHAR(70),
  stops TINYINT(1) NOT NULL DEFAULT 0,
  state_name VARCHAR(50),
  state_value VARCHAR(100),
  payload MEDIUMBLOB NOT NULL,
  qos SMALLINT NOT NULL,
  status VARCHAR(10) NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  reply JSON,
  initiated_by VARCHAR(20) NOT NULL,
  initiator_id BIGINT,
  max_on DOUBLE,
  stop_at DATETIME(3),
  created_at DATETIME(3) NOT NULL,
  changed_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3),
  PRIMARY KEY (id),
  UNIQUE KEY device_command (device_uuid, command_id),
  KEY of_device (device_uuid, id),
  KEY waiting (status, id),
  KEY old (changed_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS command_transition (
  id BIGINT NOT NULL AUTO_INCREMENT,
  command BIGINT NOT NULL,
  status VARCHAR(10) NOT NULL,
  at DATETIME(3) NOT NULL,
  detail VARCHAR(200),
  PRIMARY KEY (id),
  KEY of_command (command, id),
  FOREIGN KEY (command) REFERENCES command (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS actuator_timer (
  id BIGINT NOT NULL AUTO_INCREMENT,
  device_uuid VARCHAR(36) NOT NULL,
  actuator VARCHAR(70) NOT NULL,
  organization_id BIGINT,
  state_id BIGINT,
  state_name VARCHAR(50),
  off_value VARCHAR(100),
  stop JSON NOT NULL,
  stop_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  stop_command BIGINT,
  mark BIGINT NOT NULL,
  max_on DOUBLE NOT NULL,
  stop_at DATETIME(3) NOT NULL,
  next_at DATETIME(3) NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY device_actuator (device_uuid, actuator)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
