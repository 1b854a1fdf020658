"""One-time tokens that were sent by mail, and what they proved: `account_token`, `verified_email`.

Tokens are held as digests only.
"""

from __future__ import annotations

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction


def create(
    tx: Transaction, digest: str, user_id: int, purpose: str, email: str, expires_at: Instant
) -> None:
    """Add a token, and forget those of everybody that are over."""
    tx.execute("DELETE FROM account_token WHERE expires_at <= %s", (tx.now,))
    tx.insert(
        "account_token",
        {
            "digest": digest,
            "user_id": user_id,
            "purpose": purpose,
            "email": email,
            "created_at": tx.now,
            "expires_at": expires_at,
        },
    )


def made_since(tx: Transaction, user_id: int, purpose: str, since: Instant) -> int:
    """@return: how many unused tokens of this purpose a user has from that time on."""
    count = tx.value(
        "SELECT COUNT(*) FROM account_token"
        " WHERE user_id = %s AND purpose = %s AND created_at > %s",
        (user_id, purpose, since),
    )
    return int(count)


def find(tx: Transaction, digest: str, purpose: str) -> Row | None:
    """@return: the token if it can be used now, locked for whoever is about to."""
    return tx.one(
        "SELECT * FROM account_token WHERE digest = %s AND purpose = %s AND expires_at > %s"
        + tx.dialect.for_update,
        (digest, purpose, tx.now),
    )


def forget(tx: Transaction, user_id: int, purpose: str) -> None:
    """Void all tokens of this purpose: one of them was used."""
    tx.execute("DELETE FROM account_token WHERE user_id = %s AND purpose = %s", (user_id, purpose))


def confirm(tx: Transaction, user_id: int, email: str) -> None:
    """Note that the user reads mail at this address."""
    values = {"user_id": user_id, "email": email, "verified_at": tx.now}
    tx.upsert("verified_email", ["user_id"], values)


def confirmed(tx: Transaction, user_id: int) -> str | None:
    """@return: the address that the user has confirmed."""
    found: str | None = tx.value("SELECT email FROM verified_email WHERE user_id = %s", (user_id,))
    return found
