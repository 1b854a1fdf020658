"""`/permissions`: what can be permitted, and what is (spec/http-api.md section 4.10)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from aemos.http.render import Answer, success
from aemos.http.routing import Call, route
from aemos.http.schemas import FreeQuery, Id
from aemos.services.memberships import Memberships
from aemos.services.roles import Roles

PermissionName = Annotated[str, Meta(min_length=1, max_length=100)]


class InOrganization(FreeQuery):
    """`?organizationId=`: where; without it, anywhere."""

    organizationId: Id | None = None


class MyQuestion(InOrganization, kw_only=True):
    """`?permissionName=&organizationId=`."""

    permissionName: PermissionName


class Question(MyQuestion, kw_only=True):
    """`?userId=&permissionName=&organizationId=`."""

    userId: Id


class PermissionRoutes:
    """Permissions, and questions about those of users."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/permissions",)

    def __init__(self, roles: Roles, memberships: Memberships) -> None:
        self._roles, self._memberships = roles, memberships

    @route("GET", "", permission="permission.manage", data=["Permission"])
    async def list_all(self, call: Call) -> Answer:
        """List everything that can be permitted."""
        return success(data=await self._roles.all_permissions(call.principal))

    @route("GET", "/user/<user_id>", permission="role.view", data=["Permission"])
    async def list_of_user(self, call: Call, user_id: int, query: InOrganization) -> Answer:
        """List what a user may do."""
        rows = await self._memberships.permissions_of(call.principal, user_id, query.organizationId)
        return success(data=rows)

    @route("GET", "/check", permission="role.view", data={"hasPermission": bool})
    async def check(self, call: Call, query: Question) -> Answer:
        """Tell whether a user may do something."""
        allowed = await self._memberships.may(
            call.principal, query.userId, query.permissionName, query.organizationId
        )
        return success(data={"hasPermission": allowed})

    @route("GET", "/my/check", data={"hasPermission": bool})
    async def check_mine(self, call: Call, query: MyQuestion) -> Answer:
        """Tell whether the caller may do something."""
        by = call.principal
        where = by.organizations if query.organizationId is None else [query.organizationId]
        allowed = any(by.may(query.permissionName, organization) for organization in where)
        return success(data={"hasPermission": allowed})

    @route("GET", "/<permission_id>", permission="permission.manage", data="Permission")
    async def get(self, call: Call, permission_id: int) -> Answer:
        """Show a permission."""
        return success(data=await self._roles.permission(call.principal, permission_id))
