-- A record of each MQTT client, connected or gone; digest names principal and client id.

CREATE TABLE mqtt_client (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest BLOB NOT NULL CONSTRAINT "digest has the wrong length" CHECK (length(digest) = 16),
  kind TEXT NOT NULL CONSTRAINT "kind is too long" CHECK (length(kind) <= 16),
  name TEXT NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 256),
  client_id TEXT NOT NULL CONSTRAINT "client_id is too long" CHECK (length(CAST(client_id AS BLOB)) <= 65535),
  peer TEXT NOT NULL CONSTRAINT "peer is too long" CHECK (length(peer) <= 256),
  transport TEXT NOT NULL CONSTRAINT "transport is too long" CHECK (length(transport) <= 8),
  protocol_level INTEGER NOT NULL CONSTRAINT "protocol_level is out of range" CHECK (protocol_level BETWEEN -128 AND 127),
  clean_session INTEGER NOT NULL CONSTRAINT "clean_session is not true or false" CHECK (clean_session IN (0, 1)),
  keep_alive INTEGER NOT NULL CONSTRAINT "keep_alive is out of range" CHECK (keep_alive BETWEEN -2147483648 AND 2147483647),
  connected_at INTEGER NOT NULL,
  disconnected_at INTEGER,
  disconnect_reason TEXT CONSTRAINT "disconnect_reason is too long" CHECK (length(disconnect_reason) <= 256),
  subscriptions INTEGER NOT NULL CONSTRAINT "subscriptions is out of range" CHECK (subscriptions BETWEEN -2147483648 AND 2147483647),
  in_flight INTEGER NOT NULL CONSTRAINT "in_flight is out of range" CHECK (in_flight BETWEEN -2147483648 AND 2147483647),
  queued INTEGER NOT NULL CONSTRAINT "queued is out of range" CHECK (queued BETWEEN -2147483648 AND 2147483647),
  messages_received INTEGER NOT NULL,
  messages_sent INTEGER NOT NULL,
  bytes_received INTEGER NOT NULL,
  bytes_sent INTEGER NOT NULL,
  dropped INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "mqtt_client.digest" ON mqtt_client (digest);
CREATE INDEX "mqtt_client.disconnected_at" ON mqtt_client (disconnected_at);
CREATE INDEX "mqtt_client.name" ON mqtt_client (name);
