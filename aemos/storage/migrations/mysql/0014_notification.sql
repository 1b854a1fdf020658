-- Whom alarms are told to and what became of each telling; by which alarm a notification was
-- made, and who has read it.

CREATE TABLE IF NOT EXISTS notification_channel (
  id BIGINT NOT NULL AUTO_INCREMENT,
  organization_id BIGINT NOT NULL,
  name VARCHAR(100) NOT NULL,
  kind VARCHAR(10) NOT NULL,
  enabled TINYINT(1) NOT NULL DEFAULT 1,
  system_alarms TINYINT(1) NOT NULL DEFAULT 0,
  config JSON NOT NULL,
  secrets JSON,
  created_at DATETIME(3) NOT NULL,
  updated_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  KEY organization_id (organization_id),
  FOREIGN KEY (organization_id) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS delivery (
  id BIGINT NOT NULL AUTO_INCREMENT,
  organization_id BIGINT,
  channel_id BIGINT NOT NULL,
  alarm_id BIGINT,
  purpose VARCHAR(10) NOT NULL,
  content JSON NOT NULL,
  state VARCHAR(10) NOT NULL,
  attempts INTEGER NOT NULL,
  due_at DATETIME(3) NOT NULL,
  created_at DATETIME(3) NOT NULL,
  sent_at DATETIME(3),
  detail VARCHAR(500),
  PRIMARY KEY (id),
  KEY due (state, due_at),
  KEY organization_id (organization_id),
  KEY channel_id (channel_id),
  KEY alarm_id (alarm_id),
  KEY created_at (created_at),
  FOREIGN KEY (organization_id) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (channel_id) REFERENCES notification_channel (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (alarm_id) REFERENCES alarm (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS notification_origin (
  notification_id BIGINT NOT NULL,
  alarm_id BIGINT,
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (notification_id),
  FOREIGN KEY (notification_id) REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS notification_read (
  notification_id BIGINT NOT NULL,
  user_id BIGINT NOT NULL,
  read_at DATETIME(3) NOT NULL,
  PRIMARY KEY (notification_id, user_id),
  KEY user_id (user_id),
  FOREIGN KEY (notification_id) REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (user_id) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
