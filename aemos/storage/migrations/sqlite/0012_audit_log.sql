-- Who changed what, when and from where. No foreign keys: entries outlive what they tell of.

CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  organization_id INTEGER,
  actor_kind TEXT NOT NULL CONSTRAINT "actor_kind is too long" CHECK (length(actor_kind) <= 16),
  actor_id INTEGER,
  actor_name TEXT NOT NULL CONSTRAINT "actor_name is too long" CHECK (length(actor_name) <= 256),
  action TEXT NOT NULL CONSTRAINT "action is too long" CHECK (length(action) <= 32),
  resource TEXT NOT NULL CONSTRAINT "resource is too long" CHECK (length(resource) <= 64),
  resource_id INTEGER,
  changes TEXT NOT NULL CONSTRAINT "changes is not JSON" CHECK (json_valid(changes)),
  address TEXT NOT NULL CONSTRAINT "address is too long" CHECK (length(address) <= 64),
  request_id TEXT NOT NULL CONSTRAINT "request_id is too long" CHECK (length(request_id) <= 64)
) STRICT;
CREATE INDEX "audit_log.at" ON audit_log (at);
CREATE INDEX "audit_log.organization_id" ON audit_log (organization_id);
CREATE INDEX "audit_log.actor_id" ON audit_log (actor_id);
CREATE INDEX "audit_log.resource" ON audit_log (resource, resource_id);
