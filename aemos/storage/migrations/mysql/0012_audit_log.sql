-- Who changed what, when and from where. No foreign keys: entries outlive what they tell of.

CREATE TABLE IF NOT EXISTS audit_log (
  id BIGINT NOT NULL AUTO_INCREMENT,
  at DATETIME(3) NOT NULL,
  organization_id BIGINT,
  actor_kind VARCHAR(16) NOT NULL,
  actor_id BIGINT,
  actor_name VARCHAR(256) NOT NULL,
  action VARCHAR(32) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  resource_id BIGINT,
  changes JSON NOT NULL,
  address VARCHAR(64) NOT NULL,
  request_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (id),
  KEY at (at),
  KEY organization_id (organization_id),
  KEY actor_id (actor_id),
  KEY resource (resource, resource_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
