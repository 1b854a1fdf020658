-- What alarms watch for, the alarms themselves, and what happened to each. An alarm outlives its
-- definition; of those that are open, no two have the same `open_key`.

CREATE TABLE alarm_definition (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id INTEGER NOT NULL REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  name TEXT NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 100),
  enabled INTEGER NOT NULL DEFAULT 1,
  severity TEXT NOT NULL CONSTRAINT "severity is too long" CHECK (length(severity) <= 8),
  telemetry_id INTEGER REFERENCES TelemetryData (id) ON DELETE CASCADE ON UPDATE CASCADE,
  sensor_id INTEGER REFERENCES Sensor (id) ON DELETE CASCADE ON UPDATE CASCADE,
  area_id INTEGER REFERENCES Area (id) ON DELETE CASCADE ON UPDATE CASCADE,
  variable_name TEXT CONSTRAINT "variable_name is too long" CHECK (length(variable_name) <= 50),
  condition_tree TEXT NOT NULL CONSTRAINT "condition_tree is not JSON" CHECK (json_valid(condition_tree)),
  hold_seconds REAL NOT NULL,
  clear_hold_seconds REAL NOT NULL,
  message TEXT NOT NULL CONSTRAINT "message is too long" CHECK (length(message) <= 500),
  steps TEXT NOT NULL CONSTRAINT "steps is not JSON" CHECK (json_valid(steps)),
  tell_clear INTEGER NOT NULL DEFAULT 1,
  quiet_hours TEXT CONSTRAINT "quiet_hours is not JSON" CHECK (quiet_hours IS NULL OR json_valid(quiet_hours)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX "alarm_definition.organization_id" ON alarm_definition (organization_id);
CREATE INDEX "alarm_definition.telemetry_id" ON alarm_definition (telemetry_id);
CREATE INDEX "alarm_definition.sensor_id" ON alarm_definition (sensor_id);
CREATE INDEX "alarm_definition.area_id" ON alarm_definition (area_id);

CREATE TABLE alarm (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  alarm_key TEXT NOT NULL CONSTRAINT "alarm_key is too long" CHECK (length(alarm_key) <= 160),
  open_key TEXT CONSTRAINT "open_key is too long" CHECK (length(open_key) <= 160),
  definition_id INTEGER,
  organization_id INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  sensor_id INTEGER,
  area_id INTEGER,
  uuid TEXT CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 64),
  name TEXT NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 100),
  severity TEXT NOT NULL CONSTRAINT "severity is too long" CHECK (length(severity) <= 8),
  state TEXT NOT NULL CONSTRAINT "state is too long" CHECK (length(state) <= 12),
  message TEXT NOT NULL CONSTRAINT "message is too long" CHECK (length(message) <= 1000),
  value TEXT CONSTRAINT "value is too long" CHECK (length(value) <= 50),
  assignee_id INTEGER,
  raised_at INTEGER NOT NULL,
  acknowledged_at INTEGER,
  acknowledged_by INTEGER,
  cleared_at INTEGER,
  cleared_by INTEGER
) STRICT;
CREATE UNIQUE INDEX "alarm.open_key" ON alarm (open_key);
CREATE INDEX "alarm.alarm_key" ON alarm (alarm_key);
CREATE INDEX "alarm.definition_id" ON alarm (definition_id);
CREATE INDEX "alarm.organization_id" ON alarm (organization_id, state);
CREATE INDEX "alarm.sensor_id" ON alarm (sensor_id);
CREATE INDEX "alarm.uuid" ON alarm (uuid);
CREATE INDEX "alarm.cleared_at" ON alarm (cleared_at);

CREATE TABLE alarm_event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  alarm_id INTEGER NOT NULL REFERENCES alarm (id) ON DELETE CASCADE ON UPDATE CASCADE,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL CONSTRAINT "kind is too long" CHECK (length(kind) <= 12),
  user_id INTEGER,
  user_name TEXT CONSTRAINT "user_name is too long" CHECK (length(user_name) <= 256),
  comment TEXT CONSTRAINT "comment is too long" CHECK (length(comment) <= 1000)
) STRICT;
CREATE INDEX "alarm_event.alarm_id" ON alarm_event (alarm_id, id);
