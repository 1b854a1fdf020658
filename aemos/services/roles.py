"""Roles and what they permit, for every door (spec/http-api.md section 4.10).

System-wide roles (without an organization) are a System Admin's matter. Everybody else works on the
roles of organizations where the right is held, and gives nobody a right that is not held there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from aemos.errors import Conflict, Forbidden, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.auth import SYSTEM_ADMIN
from aemos.services.events import Events, UserChanged
from aemos.storage import areas, roles
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_RESERVED = f"Forbidden: only a System Admin may do this to {SYSTEM_ADMIN} or system-wide roles"
_LACKING = "Forbidden: the role would permit what you may not do yourself"


@attrs.define
class Roles:
    """Lists, makes, renames and deletes roles, and changes what they permit.

    `UserChanged` tells the doors of every user whose rights changed.
    """

    _database: Database
    _events: Events

    async def listed(self, by: Principal) -> list[Row]:
        """@return: the system-wide roles and those of organizations where role.view is held, each
        with its `Permissions`.
        """
        access.require_somewhere(by, "role.view")

        def read(tx: Transaction) -> list[Row]:
            return _with_permissions(tx, roles.listed(tx, access.scope(by, "role.view")))

        return await self._database.read(read)

    async def of_organization(self, by: Principal, organization_id: int) -> list[Row]:
        """@return: its own roles only. @raise Forbidden: no role.view there."""
        access.require(by, "role.view", organization_id)
        return await self._database.read(roles.of_organization, organization_id)

    async def get(self, by: Principal, role_id: int) -> Row:
        """@return: the role with its `Permissions`. @raise NotFound: no such role.

        @raise Forbidden: no role.view in its organization (anywhere, if it is system-wide).
        """

        def read(tx: Transaction) -> Row:
            return _with_permissions(tx, [_visible(tx, by, role_id)])[0]

        return await self._database.read(read)

    async def permissions_of(self, by: Principal, role_id: int) -> list[Row]:
        """@return: permissions, each with its `RolePermission`. @raise: as `get`."""

        def read(tx: Transaction) -> list[Row]:
            _visible(tx, by, role_id)
            return _permissions(tx, [role_id]).get(role_id, [])

        return await self._database.read(read)

    async def create(self, by: Principal, name: str, organization_id: int | None) -> Row:
        """@param organization_id: None = a system-wide role.

        @raise Forbidden: no role.assign in the organization, or no System Admin for a system-wide
            role. @raise NotFound: no such organization. @raise DuplicateRow: the name is taken.
        """
        _require(by, "role.assign", organization_id, name)

        def write(tx: Transaction) -> Row:
            if organization_id is not None and not areas.organization_exists(tx, organization_id):
                raise NotFound(f"Organization with ID {organization_id} not found")
            return existing(tx, roles.create(tx, name, organization_id))

        return await self._database.transact(write)

    async def rename(self, by: Principal, role_id: int, name: str) -> Row:
        """@raise NotFound: no such role. @raise DuplicateRow: the name is taken.

        @raise Forbidden: as `create`. @raise Conflict: it is `System Admin`, which has to stay.
        """

        def write(tx: Transaction) -> tuple[Row, Sequence[int]]:
            role = existing(tx, role_id)
            _require(by, "role.assign", role["organizationId"], name, role["name"])
            if role["name"] == SYSTEM_ADMIN != name:
                raise Conflict(f"the role {SYSTEM_ADMIN} cannot be renamed")
            tx.update("Role", role_id, {"name": name})
            return existing(tx, role_id), roles.holders(tx, role_id)

        role, holders = await self._database.transact(write)
        self._announce(holders)
        return role

    async def delete(self, by: Principal, role_id: int) -> None:
        """Delete a role and the memberships that give it; one that is gone already is no error.

        @raise Forbidden, Conflict: as `rename`.
        """

        def write(tx: Transaction) -> Sequence[int]:
            role = roles.find(tx, role_id)
            if role is None:
                return ()
            _require(by, "role.assign", role["organizationId"], role["name"])
            if role["name"] == SYSTEM_ADMIN:
                raise Conflict(f"the role {SYSTEM_ADMIN} cannot be deleted")
            holders = roles.holders(tx, role_id)
            roles.delete(tx, role_id)
            return holders

        access.require_somewhere(by, "role.assign")
        self._announce(await self._database.transact(write))

    async def permit(self, by: Principal, role_id: int, permission_id: int) -> None:
        """Let a role permit one thing more.

        @raise NotFound: no such role or permission. @raise DuplicateRow: it does already.
        @raise Forbidden: no permission.manage in the organization of the role, or the permission is
            not held there.
        """

        def write(tx: Transaction, role: Row, permission: Row) -> None:
            if not by.administrator and not by.may(permission["name"], role["organizationId"]):
                raise Forbidden(_LACKING)
            roles.permit(tx, role_id, permission_id)

        await self._manage(by, role_id, permission_id, write)

    async def forbid(self, by: Principal, role_id: int, permission_id: int) -> None:
        """Let a role permit one thing less; what it did not permit is no error.

        @raise NotFound, Forbidden: as `permit`.
        """

        def write(tx: Transaction, role: Row, permission: Row) -> None:
            roles.forbid(tx, role_id, permission_id)

        await self._manage(by, role_id, permission_id, write)

    async def all_permissions(self, by: Principal) -> list[Row]:
        """@return: `id, name, description`. @raise Forbidden: permission.manage is held nowhere."""
        access.require_somewhere(by, "permission.manage")
        return await self._database.read(roles.permissions)

    async def permission(self, by: Principal, permission_id: int) -> Row:
        """@raise NotFound: no such permission. @raise Forbidden: as `all_permissions`."""
        access.require_somewhere(by, "permission.manage")
        return await self._database.read(_permission, permission_id)

    async def _manage(
        self,
        by: Principal,
        role_id: int,
        permission_id: int,
        how: Callable[[Transaction, Row, Row], None],
    ) -> None:
        access.require_somewhere(by, "permission.manage")

        def write(tx: Transaction) -> Sequence[int]:
            role = existing(tx, role_id)
            _require(by, "permission.manage", role["organizationId"], role["name"])
            how(tx, role, _permission(tx, permission_id))
            return roles.holders(tx, role_id)

        self._announce(await self._database.transact(write))

    def _announce(self, user_ids: Sequence[int]) -> None:
        for user_id in user_ids:
            self._events.publish(UserChanged(user_id))


def existing(tx: Transaction, role_id: int) -> Row:
    """@raise NotFound: no such role."""
    role = roles.find(tx, role_id)
    if role is None:
        raise NotFound("Role not found")
    return role


def require_assignable(tx: Transaction, by: Principal, role: Row, organization_id: int) -> None:
    """Ask whether `by` may give (or take) this role in an organization where role.assign is held.

    @raise Forbidden: it is `System Admin`, belongs to another organization, or permits what `by`
        may not do there; none of this holds for a System Admin.
    """
    if by.administrator:
        return
    if role["name"] == SYSTEM_ADMIN:
        raise Forbidden(_RESERVED)
    if role["organizationId"] not in (None, organization_id):
        raise Forbidden("Forbidden: the role belongs to another organization")
    permitted = roles.permissions_of(tx, [role["id"]]).get(role["id"], [])
    if not all(by.may(permission["name"], organization_id) for permission in permitted):
        raise Forbidden(_LACKING)


def _require(by: Principal, permission: str, organization_id: int | None, *names: str) -> None:
    if by.administrator:
        return
    access.require_somewhere(by, permission)
    # What a System Admin is, is decided by the name: nobody else may make or touch one.
    if organization_id is None or SYSTEM_ADMIN.casefold() in map(str.casefold, names):
        raise Forbidden(_RESERVED)
    access.require(by, permission, organization_id)


def _visible(tx: Transaction, by: Principal, role_id: int) -> Row:
    access.require_somewhere(by, "role.view")
    role = existing(tx, role_id)
    if role["organizationId"] is not None:
        access.require(by, "role.view", role["organizationId"])
    return role


def _permission(tx: Transaction, permission_id: int) -> Row:
    found = roles.permission(tx, permission_id)
    if found is None:
        raise NotFound("Permission not found")
    return found


def _permissions(tx: Transaction, role_ids: Sequence[int]) -> Mapping[int, list[Row]]:
    return {
        role_id: [
            {**row, "RolePermission": {"roleId": role_id, "permissionId": row["id"]}}
            for row in rows
        ]
        for role_id, rows in roles.permissions_of(tx, role_ids).items()
    }


def _with_permissions(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    permitted = _permissions(tx, [row["id"] for row in rows])
    return [{**row, "Permissions": permitted.get(row["id"], [])} for row in rows]
