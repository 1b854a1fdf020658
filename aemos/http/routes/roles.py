"""`/roles`: roles and what they permit (spec/http-api.md section 4.10)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from aemos.http.render import Answer, success
from aemos.http.routing import Call, route
from aemos.http.schemas import Body, Id
from aemos.services.roles import Roles

RoleName = Annotated[str, Meta(min_length=3, max_length=50)]


class NewRole(Body):
    """Body of `POST /roles`."""

    name: RoleName
    organizationId: Id | None = None


class RoleChange(Body):
    """Body of `PUT /roles/:id`; the id may be repeated in it, as clients of the original do."""

    name: RoleName
    id: Id | None = None


class NewPermission(Body):
    """Body of `POST /roles/:id/permissions`; the id may be repeated in it."""

    permissionId: Id
    id: Id | None = None


class RoleRoutes:
    """Roles that the caller may see."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/roles",)

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    @route("GET", "", permission="role.view", data=["Role"])
    async def list_all(self, call: Call) -> Answer:
        """List the system-wide roles and those of the caller's organizations."""
        return success(data=await self._roles.listed(call.principal))

    @route("POST", "", permission="role.assign", status=201, data="Role")
    async def create(self, call: Call, body: NewRole) -> Answer:
        """Make a role."""
        row = await self._roles.create(call.principal, body.name, body.organizationId)
        return success(data=row, message="Role created successfully")

    @route("GET", "/organization/<organization_id>", permission="role.view", data=["Role"])
    async def list_of_organization(self, call: Call, organization_id: int) -> Answer:
        """List the roles that belong to an organization."""
        return success(data=await self._roles.of_organization(call.principal, organization_id))

    @route("GET", "/<role_id>", permission="role.view", data="Role")
    async def get(self, call: Call, role_id: int) -> Answer:
        """Show a role with its permissions."""
        return success(data=await self._roles.get(call.principal, role_id))

    @route("PUT", "/<role_id>", permission="role.assign", data="Role", failures=(409,))
    async def rename(self, call: Call, role_id: int, body: RoleChange) -> Answer:
        """Rename a role."""
        row = await self._roles.rename(call.principal, role_id, body.name)
        return success(data=row, message="Role updated successfully")

    @route("DELETE", "/<role_id>", permission="role.assign", failures=(409,))
    async def delete(self, call: Call, role_id: int) -> Answer:
        """Delete a role and the memberships that give it."""
        await self._roles.delete(call.principal, role_id)
        return success(message="Role deleted successfully")

    @route("GET", "/<role_id>/permissions", permission="role.view", data=["Permission"])
    async def list_permissions(self, call: Call, role_id: int) -> Answer:
        """List what a role permits."""
        return success(data=await self._roles.permissions_of(call.principal, role_id))

    @route(
        "POST",
        "/<role_id>/permissions",
        permission="permission.manage",
        status=201,
        data="RolePermission",
    )
    async def permit(self, call: Call, role_id: int, body: NewPermission) -> Answer:
        """Let a role permit one thing more."""
        await self._roles.permit(call.principal, role_id, body.permissionId)
        return success(
            data={"roleId": role_id, "permissionId": body.permissionId},
            message="Permission added to role successfully",
        )

    @route("DELETE", "/<role_id>/permissions/<permission_id>", permission="permission.manage")
    async def forbid(self, call: Call, role_id: int, permission_id: int) -> Answer:
        """Let a role permit one thing less."""
        await self._roles.forbid(call.principal, role_id, permission_id)
        return success(message="Permission removed from role successfully")
