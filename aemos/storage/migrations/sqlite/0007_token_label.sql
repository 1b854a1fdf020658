-- What a sensor's token is called; a device's token has its label in its own row.

CREATE TABLE token_label (
  token_id INTEGER NOT NULL REFERENCES DeviceToken (id) ON DELETE CASCADE ON UPDATE CASCADE,
  label TEXT NOT NULL CONSTRAINT "label is too long" CHECK (length(label) <= 100),
  PRIMARY KEY (token_id)
) STRICT;
