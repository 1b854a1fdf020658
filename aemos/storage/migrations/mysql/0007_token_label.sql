-- What a sensor's token is called; a device's token has its label in its own row.

CREATE TABLE IF NOT EXISTS token_label (
  token_id BIGINT NOT NULL,
  label VARCHAR(100) NOT NULL,
  PRIMARY KEY (token_id),
  FOREIGN KEY (token_id) REFERENCES DeviceToken (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
