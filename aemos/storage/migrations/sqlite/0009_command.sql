-- Commands to devices with what became of each, and the timers that switch actuators off again.

CREATE TABLE command (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  command_id TEXT NOT NULL CONSTRAINT "command_id is too long" CHECK (length(command_id) <= 64),
  device_uuid TEXT COLLATE NOCASE NOT NULL CONSTRAINT "device_uuid is too long" CHECK (length(device_uuid) <= 36),
  organization_id INTEGER,
  actuator TEXT CONSTRAINT "actuator is too long" CHECK (length(actuator) <= 70),
  stops INTEGER NOT NULL DEFAULT 0,
  state_name TEXT CONSTRAINT "state_name is too long" CHECK (length(state_name) <= 50),
  state_value TEXT CONSTRAINT "state_value is too long" CHECK (length(state_value) <= 100),
  payload BLOB NOT NULL,
  qos INTEGER NOT NULL,
  status TEXT NOT NULL CONSTRAINT "status is too long" CHECK (length(status) <= 10),
  attempts INTEGER NOT NULL DEFAULT 0,
  reply TEXT CONSTRAINT "reply is not JSON" CHECK (reply IS NULL OR json_valid(reply)),
  initiated_by TEXT NOT NULL CONSTRAINT "initiated_by is too long" CHECK (length(initiated_by) <= 20),
  initiator_id INTEGER,
  max_on REAL,
  stop_at INTEGER,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT;
CREATE UNIQUE INDEX "command.device_command" ON command (device_uuid, command_id);
CREATE INDEX "command.of_device" ON command (device_uuid, id);
CREATE INDEX "command.waiting" ON command (status, id);
CREATE INDEX "command.old" ON command (changed_at);

CREATE TABLE command_transition (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  command INTEGER NOT NULL REFERENCES command (id) ON DELETE CASCADE ON UPDATE CASCADE,
  status TEXT NOT NULL CONSTRAINT "status is too long" CHECK (length(status) <= 10),
  at INTEGER NOT NULL,
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(detail) <= 200)
) STRICT;
CREATE INDEX "command_transition.of_command" ON command_transition (command, id);

CREATE TABLE actuator_timer (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_uuid TEXT COLLATE NOCASE NOT NULL CONSTRAINT "device_uuid is too long" CHECK (length(device_uuid) <= 36),
  actuator TEXT NOT NULL CONSTRAINT "actuator is too long" CHECK (length(actuator) <= 70),
  organization_id INTEGER,
  state_id INTEGER,
  state_name TEXT CONSTRAINT "state_name is too long" CHECK (length(state_name) <= 50),
  off_value TEXT CONSTRAINT "off_value is too long" CHECK (length(off_value) <= 100),
  stop TEXT NOT NULL CONSTRAINT "stop is not JSON" CHECK (json_valid(stop)),
  stop_id TEXT NOT NULL CONSTRAINT "stop_id is too long" CHECK (length(stop_id) <= 64),
  stop_command INTEGER,
  mark INTEGER NOT NULL,
  max_on REAL NOT NULL,
  stop_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "actuator_timer.device_actuator" ON actuator_timer (device_uuid, actuator);
