-- A record of each MQTT client, connected or gone; digest names principal and client id.

CREATE TABLE IF NOT EXISTS mqtt_client (
  id BIGINT NOT NULL AUTO_INCREMENT,
  digest BINARY(16) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  name VARCHAR(256) NOT NULL,
  client_id TEXT NOT NULL,
  peer VARCHAR(256) NOT NULL,
  transport VARCHAR(8) NOT NULL,
  protocol_level TINYINT NOT NULL,
  clean_session TINYINT(1) NOT NULL,
  keep_alive INT NOT NULL,
  connected_at DATETIME(3) NOT NULL,
  disconnected_at DATETIME(3),
  disconnect_reason VARCHAR(256),
  subscriptions INT NOT NULL,
  in_flight INT NOT NULL,
  queued INT NOT NULL,
  messages_received BIGINT NOT NULL,
  messages_sent BIGINT NOT NULL,
  bytes_received BIGINT NOT NULL,
  bytes_sent BIGINT NOT NULL,
  dropped BIGINT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY digest (digest),
  KEY disconnected_at (disconnected_at),
  KEY name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
