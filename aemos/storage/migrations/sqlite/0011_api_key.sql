-- Keys of programs: what is stored is the digest, what is shown the beginning.

CREATE TABLE api_key (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT NOT NULL CONSTRAINT "digest is too long" CHECK (length(digest) <= 64),
  prefix TEXT NOT NULL CONSTRAINT "prefix is too long" CHECK (length(prefix) <= 16),
  label TEXT NOT NULL CONSTRAINT "label is too long" CHECK (length(label) <= 100),
  organization_id INTEGER NOT NULL REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  permissions TEXT NOT NULL CONSTRAINT "permissions is not JSON" CHECK (json_valid(permissions)),
  created_by INTEGER NOT NULL REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  status TEXT NOT NULL CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'revoked')),
  created_at INTEGER NOT NULL,
  expires_at INTEGER CONSTRAINT "expires_at is out of range" CHECK (expires_at BETWEEN -62135596800000 AND 253402300799999),
  last_used_at INTEGER
) STRICT;
CREATE UNIQUE INDEX "api_key.digest" ON api_key (digest);
CREATE INDEX "api_key.organization_id" ON api_key (organization_id);
CREATE INDEX "api_key.created_by" ON api_key (created_by);
