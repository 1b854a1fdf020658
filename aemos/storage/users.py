"""`User` rows and what their memberships grant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.storage.transaction import Row, Transaction


def find(tx: Transaction, user_id: int) -> Row | None:
    """@return: the whole row, `password` (a hash) included."""
    return tx.one("SELECT * FROM User WHERE id = %s", (user_id,))


def find_by_email(tx: Transaction, email: str) -> Row | None:
    """@return: the row of this e-mail in any case; the oldest of several in an adopted database."""
    rows = tx.all("SELECT * FROM User WHERE email = %s ORDER BY id", (email,))
    # MySQL's default collation takes "jose" for "josé": not the same person.
    return next((row for row in rows if row["email"].lower() == email.lower()), None)


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new row. @raise DuplicateRow: the e-mail is taken."""
    return tx.insert("User", values)


def count_failure(tx: Transaction, user_id: int) -> None:
    """Count a failed sign-in; the column is an INT."""
    tx.execute(
        "UPDATE User SET accessFailedCount = COALESCE(accessFailedCount, 0) + 1"
        " WHERE id = %s AND COALESCE(accessFailedCount, 0) < 2147483647",
        (user_id,),
    )


def forget_failures(tx: Transaction, user_id: int) -> None:
    """Count failed sign-ins from 0 again."""
    tx.execute("UPDATE User SET accessFailedCount = 0 WHERE id = %s", (user_id,))


def grants(tx: Transaction, user_id: int) -> list[Row]:
    """Everything that active memberships give a user.

    @return: `{"organizationId", "role", "permission"}` (names), one for each permission; a role
        without permissions has one with None.
    """
    return tx.all(
        "SELECT m.organizationId, r.name AS role, p.name AS permission"
        " FROM OrganizationUser m JOIN Role r ON r.id = m.role"
        " LEFT JOIN RolePermission x ON x.roleId = r.id"
        " LEFT JOIN Permission p ON p.id = x.permissionId"
        " WHERE m.userId = %s AND COALESCE(m.status, 'active') = 'active'"
        " ORDER BY m.organizationId, p.name",
        (user_id,),
    )


def membership(tx: Transaction, user_id: int, organization_id: int) -> Row | None:
    """@return: the `OrganizationUser` row of a user in an organization."""
    return tx.one(
        "SELECT * FROM OrganizationUser WHERE userId = %s AND organizationId = %s",
        (user_id, organization_id),
    )
