-- Rule chains can be switched off.

ALTER TABLE RuleChain MODIFY mode ENUM('live', 'shadow', 'off') NOT NULL DEFAULT 'live';
