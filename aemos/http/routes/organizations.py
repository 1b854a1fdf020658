"""`/organizations` (spec/http-api.md section 4.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from aemos.http.render import Answer, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import (
    UNSET,
    BlankOrEmail,
    Body,
    FreeQuery,
    Id,
    Name,
    OfOrganization,
    Short,
    UnsetType,
    given,
)
from aemos.services.organizations import Organizations, Wanted

Status = Literal["active", "inactive", "pending", "suspended", "archived"]


class Filter(FreeQuery):
    """Query of `GET /organizations`; other keys are ignored, and so is empty text."""

    search: str = ""
    status: Status | Literal[""] = ""
    parentId: Id | Literal[""] | None = None
    isParent: Literal["true", "false", ""] = ""

    def wanted(self) -> Wanted:
        """@return: as the service takes it."""
        return Wanted(
            search=self.search or None,
            status=self.status or None,
            parent_id=None if self.parentId == "" else self.parentId,
            is_parent=self.isParent == "true" if self.isParent else None,
        )


class _Details(Body):
    """What the bodies of `POST` and `PATCH` share."""

    parentId: Id | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    detail: str | UnsetType | None = UNSET
    paymentMethods: str | UnsetType | None = UNSET
    image: str | UnsetType | None = UNSET
    address: str | UnsetType | None = UNSET
    zip: Short | UnsetType | None = UNSET
    contactNumber: Short | UnsetType | None = UNSET
    email: BlankOrEmail | UnsetType | None = UNSET
    isParent: bool | UnsetType = UNSET


class NewOrganization(_Details, kw_only=True):
    """Body of `POST /organizations`."""

    name: Name


class OrganizationChange(_Details, kw_only=True):
    """Body of `PATCH /organizations/:id`.

    Compat: `organizationId` is required, as clients send it, and not looked at: the path decides.
    """

    organizationId: Id
    name: Name | UnsetType = UNSET


class OrganizationRoutes:
    """Organizations that the caller may see."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/organizations",)

    def __init__(self, organizations: Organizations) -> None:
        self._organizations = organizations

    @route("GET", "", permission="organization.view", data={"organizations": ["Organization"]})
    async def list_all(self, call: Call, query: Filter) -> Answer:
        """List the caller's organizations, for a System Admin all."""
        rows = await self._organizations.listed(call.principal, query.wanted())
        return success(results=len(rows), data={"organizations": rows})

    @route(
        "POST",
        "",
        permission="organization.create",
        status=201,
        data={"organization": "Organization"},
    )
    async def create(self, call: Call, body: NewOrganization) -> Answer:
        """Make an organization."""
        row = await self._organizations.create(call.principal, given(body))
        return success(data={"organization": row})

    @route("GET", "/<id>", permission="organization.view", data={"organization": "Organization"})
    async def show(self, call: Call, id: int, query: OfOrganization) -> Answer:
        """Show one organization with its children."""
        row = await self._organizations.get(call.principal, id)
        return success(data={"organization": row})

    @route(
        "PATCH", "/<id>", permission="organization.update", data={"organization": "Organization"}
    )
    async def change(self, call: Call, id: int, body: OrganizationChange) -> Answer:
        """Change what is sent of an organization."""
        changes = given(body)
        del changes["organizationId"]
        row = await self._organizations.change(call.principal, id, changes)
        return success(data={"organization": row})

    @route("DELETE", "/<id>", permission="organization.delete", status=204)
    async def archive(self, call: Call, id: int, query: OfOrganization) -> Answer:
        """Archive an organization."""
        await self._organizations.archive(call.principal, id)
        return Answer()
