-- What made rule chains run and is not done with, and the chains that only record what they would do.
-- The table of chains is there; the step of this migration adds the last column, which it lacks.

CREATE TABLE IF NOT EXISTS RuleChain (
  id INT NOT NULL AUTO_INCREMENT,
  organizationId BIGINT,
  name VARCHAR(100) NOT NULL,
  description TEXT,
  executionType ENUM('event-triggered', 'schedule-only', 'hybrid') NOT NULL DEFAULT 'hybrid',
  scheduleEnabled TINYINT(1) NOT NULL DEFAULT 0,
  cronExpression VARCHAR(100),
  timezone VARCHAR(50) NOT NULL DEFAULT 'UTC',
  priority INT NOT NULL DEFAULT 0,
  maxRetries INT NOT NULL DEFAULT 0,
  retryDelay INT NOT NULL DEFAULT 0,
  scheduleMetadata JSON,
  lastExecutedAt DATETIME(3),
  lastErrorAt DATETIME(3),
  executionCount INT NOT NULL DEFAULT 0,
  failureCount INT NOT NULL DEFAULT 0,
  createdAt DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updatedAt DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  mode ENUM('live', 'shadow') NOT NULL DEFAULT 'live',
  PRIMARY KEY (id),
  KEY organizationId (organizationId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS rule_trigger (
  id BIGINT NOT NULL AUTO_INCREMENT,
  kind VARCHAR(20) NOT NULL,
  source_id BIGINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  value VARCHAR(255),
  at DATETIME(3) NOT NULL,
  depth INT NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS rule_applied (
  trigger_id BIGINT NOT NULL,
  chain_id INT NOT NULL,
  changed_states JSON NOT NULL,
  PRIMARY KEY (trigger_id, chain_id),
  FOREIGN KEY (trigger_id) REFERENCES rule_trigger (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
