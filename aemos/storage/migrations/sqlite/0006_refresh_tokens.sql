-- The newest refresh token of a sign-in that was used after the first.

CREATE TABLE refresh_use (
  session_id TEXT NOT NULL REFERENCES login_session (id) ON DELETE CASCADE ON UPDATE CASCADE,
  number INTEGER NOT NULL CONSTRAINT "number is out of range" CHECK (number BETWEEN -2147483648 AND 2147483647),
  PRIMARY KEY (session_id)
) STRICT, WITHOUT ROWID;
