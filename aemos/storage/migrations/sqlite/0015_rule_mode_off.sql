-- Rule chains can be switched off. SQLite cannot change a constraint: the column gets a successor.

ALTER TABLE RuleChain ADD COLUMN next_mode TEXT NOT NULL DEFAULT 'live' CONSTRAINT "mode is not an allowed value" CHECK (next_mode IN ('live', 'shadow', 'off'));
UPDATE RuleChain SET next_mode = mode;
ALTER TABLE RuleChain DROP COLUMN mode;
ALTER TABLE RuleChain RENAME COLUMN next_mode TO mode;
