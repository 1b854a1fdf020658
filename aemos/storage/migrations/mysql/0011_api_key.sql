-- Keys of programs: what is stored is the digest, what is shown the beginning.

CREATE TABLE IF NOT EXISTS api_key (
  id BIGINT NOT NULL AUTO_INCREMENT,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  prefix VARCHAR(16) NOT NULL,
  label VARCHAR(100) NOT NULL,
  organization_id BIGINT NOT NULL,
  permissions JSON NOT NULL,
  created_by BIGINT NOT NULL,
  status ENUM('active', 'revoked') NOT NULL,
  created_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3),
  last_used_at DATETIME(3),
  PRIMARY KEY (id),
  UNIQUE KEY digest (digest),
  KEY organization_id (organization_id),
  KEY created_by (created_by),
  FOREIGN KEY (organization_id) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (created_by) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
