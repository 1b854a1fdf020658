"""`/organizations` (spec/http-api.md section 4.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import (
    UNSET,
    BlankOrEmail,
    Body,
    Id,
    Name,
    OfOrganization,
    Short,
    UnsetType,
    given,
)
from aemos.services.organizations import Organizations, Wanted

Status = Literal["active", "inactive", "pending", "suspended", "archived"]


class Filter(ListQuery):
    """Query of `GET /organizations`; other keys are ignored, and so is empty text."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "name", "status", "createdAt", "updatedAt")

    status: Status | Literal[""] = ""
    parentId: Id | Literal[""] | None = None
    isParent: Literal["true", "false", ""] = ""

    def wanted(self) -> Wanted:
        """@return: as the service takes it."""
        return Wanted(
            parent_id=None if self.parentId == "" else self.parentId,
            is_parent=self.isParent == "true" if self.isParent else None,
            listing=self.listing(),
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
        found = await self._organizations.listed(call.principal, query.wanted())
        return listed("organizations", found)

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
