-- Letters that wait to be sent, the one-time tokens in them, and the addresses that were confirmed.

CREATE TABLE mail_outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  recipient TEXT NOT NULL CONSTRAINT "recipient is too long" CHECK (length(recipient) <= 256),
  subject TEXT NOT NULL CONSTRAINT "subject is too long" CHECK (length(subject) <= 200),
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_attempt_at INTEGER NOT NULL
) STRICT;
CREATE INDEX "mail_outbox.next_attempt_at" ON mail_outbox (next_attempt_at);

CREATE TABLE account_token (
  digest TEXT NOT NULL PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  purpose TEXT NOT NULL CONSTRAINT "purpose is too long" CHECK (length(purpose) <= 20),
  email TEXT NOT NULL CONSTRAINT "email is too long" CHECK (length(email) <= 256),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX "account_token.user_id" ON account_token (user_id);

CREATE TABLE verified_email (
  user_id INTEGER NOT NULL PRIMARY KEY REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  email TEXT NOT NULL CONSTRAINT "email is too long" CHECK (length(email) <= 256),
  verified_at INTEGER NOT NULL
) STRICT;
