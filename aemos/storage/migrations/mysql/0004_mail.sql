-- Letters that wait to be sent, the one-time tokens in them, and the addresses that were confirmed.

CREATE TABLE IF NOT EXISTS mail_outbox (
  id BIGINT NOT NULL AUTO_INCREMENT,
  recipient VARCHAR(256) NOT NULL,
  subject VARCHAR(200) NOT NULL,
  body TEXT NOT NULL,
  created_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3) NOT NULL,
  attempts INTEGER NOT NULL,
  next_attempt_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  KEY next_attempt_at (next_attempt_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS account_token (
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id BIGINT NOT NULL,
  purpose VARCHAR(20) NOT NULL,
  email VARCHAR(256) NOT NULL,
  created_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3) NOT NULL,
  PRIMARY KEY (digest),
  KEY user_id (user_id),
  FOREIGN KEY (user_id) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS verified_email (
  user_id BIGINT NOT NULL,
  email VARCHAR(256) NOT NULL,
  verified_at DATETIME(3) NOT NULL,
  PRIMARY KEY (user_id),
  FOREIGN KEY (user_id) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
