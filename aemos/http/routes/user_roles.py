"""`/user-roles`: who holds which role where (spec/http-api.md section 4.10)."""

from __future__ import annotations

from typing import ClassVar

from aemos.http.render import Answer, success
from aemos.http.routing import Call, route
from aemos.http.schemas import Body, FreeQuery, Id
from aemos.services.memberships import Memberships

_HELD = {"id": int, "name": str, "organizationId": int}


class InOrganization(FreeQuery):
    """`?organizationId=`: where; without it, anywhere."""

    organizationId: Id | None = None


class NewRole(Body):
    """Body of `POST /user-roles/:userId`; the id may be repeated in it."""

    roleId: Id
    organizationId: Id
    userId: Id | None = None


class NewMembership(Body):
    """Body of `POST /user-roles`."""

    userId: Id
    roleId: Id
    organizationId: Id


class UserRoleRoutes:
    """Memberships of the organizations where the caller may see or give roles."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/user-roles",)

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships

    @route("GET", "", permission="role.view", data=["OrganizationUser"])
    async def list_all(self, call: Call, query: InOrganization) -> Answer:
        """List memberships with their roles and users."""
        rows = await self._memberships.listed(call.principal, query.organizationId)
        return success(results=len(rows), data=rows)

    @route("POST", "", permission="role.assign", data="OrganizationUser")
    async def create(self, call: Call, body: NewMembership) -> Answer:
        """Give a user a role in an organization, in place of the one held there."""
        return await self._assign(call, body.userId, body.roleId, body.organizationId)

    @route("GET", "/my/roles", keys=False, data=[_HELD])
    async def list_mine(self, call: Call) -> Answer:
        """List the roles of the caller."""
        rows = await self._memberships.roles_of(call.principal, call.principal.id)
        return success(data=rows)

    @route("GET", "/<user_id>", permission="role.view", data=[_HELD])
    async def list_of_user(self, call: Call, user_id: int) -> Answer:
        """List the roles of a user."""
        return success(data=await self._memberships.roles_of(call.principal, user_id))

    @route("POST", "/<user_id>", permission="role.assign", data="OrganizationUser")
    async def assign(self, call: Call, user_id: int, body: NewRole) -> Answer:
        """Give a user a role in an organization, in place of the one held there."""
        return await self._assign(call, user_id, body.roleId, body.organizationId)

    @route("DELETE", "/<user_id>/organization/<organization_id>", permission="role.assign")
    async def remove(self, call: Call, user_id: int, organization_id: int) -> Answer:
        """Take a user's role in an organization."""
        await self._memberships.remove(call.principal, user_id, organization_id)
        return success(message="Role removed successfully")

    async def _assign(self, call: Call, user_id: int, role_id: int, organization_id: int) -> Answer:
        row = await self._memberships.assign(call.principal, user_id, role_id, organization_id)
        return success(data=row, message="Role assigned successfully")
