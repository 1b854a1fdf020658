-- Whom alarms are told to and what became of each telling; by which alarm a notification was
-- made, and who has read it.

CREATE TABLE notification_channel (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id INTEGER NOT NULL REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  name TEXT NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 100),
  kind TEXT NOT NULL CONSTRAINT "kind is too long" CHECK (length(kind) <= 10),
  enabled INTEGER NOT NULL DEFAULT 1,
  system_alarms INTEGER NOT NULL DEFAULT 0,
  config TEXT NOT NULL CONSTRAINT "config is not JSON" CHECK (json_valid(config)),
  secrets TEXT CONSTRAINT "secrets is not JSON" CHECK (secrets IS NULL OR json_valid(secrets)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX "notification_channel.organization_id" ON notification_channel (organization_id);

CREATE TABLE delivery (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  channel_id INTEGER NOT NULL REFERENCES notification_channel (id) ON DELETE CASCADE ON UPDATE CASCADE,
  alarm_id INTEGER REFERENCES alarm (id) ON DELETE CASCADE ON UPDATE CASCADE,
  purpose TEXT NOT NULL CONSTRAINT "purpose is too long" CHECK (length(purpose) <= 10),
  content TEXT NOT NULL CONSTRAINT "content is not JSON" CHECK (json_valid(content)),
  state TEXT NOT NULL CONSTRAINT "state is too long" CHECK (length(state) <= 10),
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  sent_at INTEGER,
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(detail) <= 500)
) STRICT;
CREATE INDEX "delivery.due" ON delivery (state, due_at);
CREATE INDEX "delivery.organization_id" ON delivery (organization_id);
CREATE INDEX "delivery.channel_id" ON delivery (channel_id);
CREATE INDEX "delivery.alarm_id" ON delivery (alarm_id);
CREATE INDEX "delivery.created_at" ON delivery (created_at);

CREATE TABLE notification_origin (
  notification_id INTEGER NOT NULL PRIMARY KEY REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE,
  alarm_id INTEGER,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE notification_read (
  notification_id INTEGER NOT NULL REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE,
  user_id INTEGER NOT NULL REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  read_at INTEGER NOT NULL,
  PRIMARY KEY (notification_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX "notification_read.user_id" ON notification_read (user_id);
