"""Letters that wait to be sent: the SQL of `mail_outbox`."""

from __future__ import annotations

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction


def put(tx: Transaction, recipient: str, subject: str, body: str, expires_at: Instant) -> None:
    """@param expires_at: after this it is of no use any more and is not sent."""
    tx.insert(
        "mail_outbox",
        {
            "recipient": recipient,
            "subject": subject,
            "body": body,
            "created_at": tx.now,
            "expires_at": expires_at,
            "attempts": 0,
            "next_attempt_at": tx.now,
        },
    )


def claim(tx: Transaction, lease: int) -> Row | None:
    """Take the letter that has been due for longest; for `lease` milliseconds nobody else does.

    @return: the letter, its `attempts` including this one. Those that are of no use are forgotten.
    """
    tx.execute("DELETE FROM mail_outbox WHERE expires_at <= %s", (tx.now,))
    letter = tx.one(
        "SELECT * FROM mail_outbox WHERE next_attempt_at <= %s ORDER BY next_attempt_at, id"
        f" LIMIT 1{tx.dialect.for_update}",
        (tx.now,),
    )
    if letter is None:
        return None
    letter["attempts"] += 1
    changes = {"attempts": letter["attempts"], "next_attempt_at": tx.now + lease}
    tx.update("mail_outbox", letter["id"], changes)
    return letter


def postpone(tx: Transaction, letter_id: int, pause: int) -> None:
    """Try a letter again in so many milliseconds."""
    tx.update("mail_outbox", letter_id, {"next_attempt_at": tx.now + pause})


def delete(tx: Transaction, letter_id: int) -> None:
    """Forget a letter: it was sent, or never can be. A one-time token stood in it in clear."""
    tx.execute("DELETE FROM mail_outbox WHERE id = %s", (letter_id,))
