-- Which sensors and devices are there, when they were last heard and how often they report.

CREATE TABLE IF NOT EXISTS presence (
  uuid VARCHAR(64) NOT NULL,
  presence VARCHAR(8) NOT NULL,
  since_at DATETIME(3) NOT NULL,
  last_seen_at DATETIME(3),
  interval_ms BIGINT NOT NULL,
  stays TINYINT(1) NOT NULL,
  PRIMARY KEY (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
