"""`login_session` rows: one for each sign-in, so that a sign-out holds for all its tokens."""

from __future__ import annotations

from contextlib import suppress

from aemos.errors import DuplicateRow
from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction


def find(tx: Transaction, session_id: str) -> Row | None:
    """@return: the row, revoked or not."""
    return tx.one("SELECT * FROM login_session WHERE id = %s", (session_id,))


def create(tx: Transaction, session_id: str, user_id: int, expires_at: Instant) -> None:
    """Add a session, and forget those of the same user that are over."""
    tx.execute(
        "DELETE FROM login_session WHERE user_id = %s AND expires_at < %s", (user_id, tx.now)
    )
    tx.insert(
        "login_session",
        {"id": session_id, "user_id": user_id, "created_at": tx.now, "expires_at": expires_at},
    )


def use_refresh(tx: Transaction, session_id: str, number: int) -> bool:
    """Note that a refresh token was used.

    @param number: 0 for the token of the sign-in, one more for each successor.
    @return: False if a successor of it was used before.
    """
    used = tx.value("SELECT number FROM refresh_use WHERE session_id = %s", (session_id,))
    if number > (used or 0):
        if used is None:
            with suppress(DuplicateRow):  # the same token twice at this moment
                tx.insert("refresh_use", {"session_id": session_id, "number": number})
        else:
            tx.execute(
                "UPDATE refresh_use SET number = %s WHERE session_id = %s AND number < %s",
                (number, session_id, number),
            )
    return number >= (used or 0)


def revoke(tx: Transaction, session_id: str, user_id: int, expires_at: Instant) -> None:
    """End a session; one that has no row yet gets one, which is remembered until `expires_at`."""
    found = tx.execute(
        "UPDATE login_session SET revoked_at = %s WHERE id = %s AND user_id = %s",
        (tx.now, session_id, user_id),
    )
    if not found:
        create(tx, session_id, user_id, expires_at)
        revoke(tx, session_id, user_id, expires_at)


def revoke_all(tx: Transaction, user_id: int) -> None:
    """End every session of a user that is not over."""
    tx.execute(
        "UPDATE login_session SET revoked_at = %s WHERE user_id = %s AND revoked_at IS NULL",
        (tx.now, user_id),
    )
