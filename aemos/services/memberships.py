"""Who holds which role where, and what that permits (spec/http-api.md section 4.10)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from aemos.errors import NotFound
from aemos.model import Principal, PrincipalKind
from aemos.services import access
from aemos.services.auth import SYSTEM_ADMIN
from aemos.services.events import Events, UserChanged
from aemos.services.roles import existing, require_assignable
from aemos.storage import areas, roles, users
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction


@attrs.define
class Memberships:
    """Gives and takes roles. A user has one role in an organization.

    Others than a System Admin see and change memberships of the organizations where they hold
    role.view and role.assign, and touch no role that permits more than they may do themselves.
    """

    _database: Database
    _events: Events

    async def listed(self, by: Principal, organization_id: int | None) -> list[Row]:
        """@param organization_id: None = of every organization where role.view is held.

        @return: `OrganizationUser` rows, each with its `Role` and `User` (id and names).
        @raise Forbidden: no role.view in the organization.
        """
        scope = _scope(by, organization_id)

        rows = await self._database.read(roles.memberships, scope)
        return [_named(row) for row in rows]

    async def roles_of(self, by: Principal, user_id: int) -> list[Row]:
        """@return: `id`, `name` and `organizationId` (where it is held) of the roles of a user, in
        the organizations where `by` holds role.view; of `by` itself everywhere.
        """
        of_itself = by.kind is PrincipalKind.USER and user_id == by.id
        scope = None if of_itself else _scope(by, None)
        rows = await self._database.read(roles.memberships, scope, user_id)
        return [
            {"id": row["role"], "name": row["roleName"], "organizationId": row["organizationId"]}
            for row in rows
            if row["status"] != "inactive"
        ]

    async def permissions_of(
        self, by: Principal, user_id: int, organization_id: int | None
    ) -> list[Row]:
        """@param organization_id: None = anywhere that `by` holds role.view.

        @return: `id, name, description` of what the user may do there; for a System Admin all.
        @raise Forbidden: no role.view in the organization.
        """
        scope = _scope(by, organization_id)

        def read(tx: Transaction) -> list[Row]:
            held = [
                grant
                for grant in users.grants(tx, user_id)
                if scope is None or grant["organizationId"] in scope
            ]
            every = any(grant["role"] == SYSTEM_ADMIN for grant in held)
            names = {grant["permission"] for grant in held}
            return [row for row in roles.permissions(tx) if every or row["name"] in names]

        return await self._database.read(read)

    async def may(
        self, by: Principal, user_id: int, permission: str, organization_id: int | None
    ) -> bool:
        """@return: whether the user may do that. @raise Forbidden: as `permissions_of`."""
        permitted = await self.permissions_of(by, user_id, organization_id)
        return any(row["name"] == permission for row in permitted)

    async def assign(self, by: Principal, user_id: int, role_id: int, organization_id: int) -> Row:
        """Give a user a role in an organization, in place of the one held there.

        @return: the `OrganizationUser` row. @raise NotFound: no such role, user or organization.
        @raise Forbidden: no role.assign there, or as `roles.require_assignable`, also for the role
            that is replaced.
        """

        def write(tx: Transaction) -> Row:
            role = existing(tx, role_id)
            if users.find(tx, user_id) is None:
                raise NotFound("User not found")
            if not areas.organization_exists(tx, organization_id):
                raise NotFound(f"Organization with ID {organization_id} not found")
            require_assignable(tx, by, role, organization_id)
            _require_replaceable(tx, by, user_id, organization_id)
            roles.join(tx, user_id, organization_id, role_id)
            membership = users.membership(tx, user_id, organization_id)
            if membership is None:
                raise NotFound("Membership not found")
            return membership

        access.require(by, "role.assign", organization_id)
        row = await self._database.transact(write)
        self._events.publish(UserChanged(user_id))
        return row

    async def remove(self, by: Principal, user_id: int, organization_id: int) -> None:
        """End a membership; one that is not there is no error.

        @raise Forbidden: no role.assign there, or as `roles.require_assignable`.
        """

        def write(tx: Transaction) -> None:
            _require_replaceable(tx, by, user_id, organization_id)
            roles.leave(tx, user_id, organization_id)

        access.require(by, "role.assign", organization_id)
        await self._database.transact(write)
        self._events.publish(UserChanged(user_id))


def _scope(by: Principal, organization_id: int | None) -> Sequence[int] | None:
    """@return: the organizations whose memberships `by` may see; None = all."""
    if organization_id is None:
        access.require_somewhere(by, "role.view")
        return access.scope(by, "role.view")
    access.require(by, "role.view", organization_id)
    return [organization_id]


def _require_replaceable(
    tx: Transaction, by: Principal, user_id: int, organization_id: int
) -> None:
    membership = users.membership(tx, user_id, organization_id)
    if membership is not None:
        require_assignable(tx, by, existing(tx, membership["role"]), organization_id)


def _named(row: Row) -> Row:
    role = {"id": row["role"], "name": row.pop("roleName")}
    user = {"id": row["userId"], "userName": row.pop("userName"), "email": row.pop("email")}
    return {**row, "Role": role, "User": user}
