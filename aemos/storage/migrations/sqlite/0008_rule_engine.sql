-- What made rule chains run and is not done with, and the chains that only record what they would do.

ALTER TABLE RuleChain ADD COLUMN mode TEXT NOT NULL DEFAULT 'live' CONSTRAINT "mode is not an allowed value" CHECK (mode IN ('live', 'shadow'));

CREATE TABLE rule_trigger (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  source_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT,
  at INTEGER NOT NULL,
  depth INTEGER NOT NULL
) STRICT;

CREATE TABLE rule_applied (
  trigger_id INTEGER NOT NULL REFERENCES rule_trigger (id) ON DELETE CASCADE ON UPDATE CASCADE,
  chain_id INTEGER NOT NULL,
  changed_states TEXT NOT NULL,
  PRIMARY KEY (trigger_id, chain_id)
) STRICT, WITHOUT ROWID;
