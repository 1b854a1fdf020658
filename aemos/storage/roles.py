"""Roles, what they permit, and who holds them: `Role`, `Permission`, `OrganizationUser` rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aemos.storage.transaction import Row, Transaction, marks


def id_of(tx: Transaction, name: str) -> int | None:
    """@return: the id of the role of exactly this name."""
    rows = tx.all("SELECT id, name FROM Role WHERE name = %s", (name,))
    return next((row["id"] for row in rows if row["name"] == name), None)


def find(tx: Transaction, role_id: int) -> Row | None:
    return tx.one("SELECT * FROM Role WHERE id = %s", (role_id,))


def listed(tx: Transaction, organization_ids: Sequence[int] | None) -> list[Row]:
    """@param organization_ids: None = every role; else the system-wide ones and those of these."""
    if organization_ids is None:
        return tx.all("SELECT * FROM Role ORDER BY id")
    if not organization_ids:
        return tx.all("SELECT * FROM Role WHERE organizationId IS NULL ORDER BY id")
    return tx.all(
        "SELECT * FROM Role WHERE organizationId IS NULL"
        f" OR organizationId IN ({marks(organization_ids)}) ORDER BY id",
        tuple(organization_ids),
    )


def of_organization(tx: Transaction, organization_id: int) -> list[Row]:
    """@return: the roles that belong to an organization, without the system-wide ones."""
    return tx.all("SELECT * FROM Role WHERE organizationId = %s ORDER BY id", (organization_id,))


def create(tx: Transaction, name: str, organization_id: int | None) -> int:
    """@return: the id of the new role. @raise DuplicateRow: the name is taken."""
    return tx.insert("Role", {"name": name, "organizationId": organization_id})


def delete(tx: Transaction, role_id: int) -> None:
    """Delete a role with the memberships that give it."""
    tx.delete("OrganizationUser", {"role": role_id})
    tx.delete("Role", {"id": role_id})


def holders(tx: Transaction, role_id: int) -> list[int]:
    """@return: the ids of the users who have this role somewhere."""
    rows = tx.all("SELECT DISTINCT userId FROM OrganizationUser WHERE role = %s", (role_id,))
    return sorted(row["userId"] for row in rows)


def permissions(tx: Transaction) -> list[Row]:
    """@return: every permission there is, in order of id."""
    return tx.all("SELECT id, name, description FROM Permission ORDER BY id")


def permission_names(tx: Transaction) -> list[str]:
    """@return: the names of all permissions there are, in alphabetical order."""
    return [row["name"] for row in tx.all("SELECT name FROM Permission ORDER BY name")]


def permission(tx: Transaction, permission_id: int) -> Row | None:
    return tx.one("SELECT id, name, description FROM Permission WHERE id = %s", (permission_id,))


def permissions_of(tx: Transaction, role_ids: Collection[int]) -> dict[int, list[Row]]:
    """@return: role id -> its permissions in order of id; a role without any is missing."""
    if not role_ids:
        return {}
    rows = tx.all(
        "SELECT x.roleId AS roleId, p.id AS id, p.name AS name, p.description AS description"
        " FROM RolePermission x JOIN Permission p ON p.id = x.permissionId"
        f" WHERE x.roleId IN ({marks(role_ids)}) ORDER BY p.id",
        tuple(role_ids),
    )
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.pop("roleId"), []).append(row)
    return found


def permit(tx: Transaction, role_id: int, permission_id: int) -> None:
    """@raise DuplicateRow: the role has the permission already."""
    tx.insert("RolePermission", {"roleId": role_id, "permissionId": permission_id})


def forbid(tx: Transaction, role_id: int, permission_id: int) -> None:
    """Take a permission from a role; nothing happens if it has not got it."""
    tx.delete("RolePermission", {"roleId": role_id, "permissionId": permission_id})


def memberships(
    tx: Transaction, organization_ids: Sequence[int] | None, user_id: int | None = None
) -> list[Row]:
    """@param organization_ids: of these only; None = of all. @param user_id: of this user only.

    @return: `OrganizationUser` rows in order of id, each with `roleName`, `userName` and `email`.
    """
    wheres, params = ["1 = 1"], list[int]()
    if organization_ids is not None:
        if not organization_ids:
            return []
        wheres.append(f"m.organizationId IN ({marks(organization_ids)})")
        params += organization_ids
    if user_id is not None:
        wheres.append("m.userId = %s")
        params.append(user_id)
    return tx.all(
        "SELECT m.*, r.name AS roleName, u.userName AS userName, u.email AS email"
        " FROM OrganizationUser m JOIN Role r ON r.id = m.role JOIN User u ON u.id = m.userId"
        f" WHERE {' AND '.join(wheres)} ORDER BY m.id",
        params,
    )


def join(tx: Transaction, user_id: int, organization_id: int, role_id: int) -> None:
    """Give a user this role in an organization, and no other there."""
    found = tx.value(
        "SELECT id FROM OrganizationUser WHERE userId = %s AND organizationId = %s",
        (user_id, organization_id),
    )
    values = {"role": role_id, "status": "active"}
    if found is None:
        key = {"userId": user_id, "organizationId": organization_id}
        tx.insert("OrganizationUser", {**key, **values})
    else:
        tx.update("OrganizationUser", found, values)


def leave(tx: Transaction, user_id: int, organization_id: int) -> None:
    """End a membership; nothing happens if there is none."""
    tx.delete("OrganizationUser", {"userId": user_id, "organizationId": organization_id})
