"""`/areas`: parse, ask the service, render (spec/http-api.md section 4.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import Call, route
from aemos.http.schemas import (
    UNSET,
    BlankOrGuid,
    Body,
    Id,
    Name,
    OfOrganization,
    UnsetType,
    given,
)
from aemos.services.areas import Areas

Status = Literal["active", "inactive", "under_review", "archived"]
StatusOrBlank = Literal["", "active", "inactive", "under_review", "archived"]


class AreaList(ListQuery):
    """Which areas a list shows."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "name", "status", "organizationId")

    status: StatusOrBlank = ""


class AreaListOf(AreaList, forbid_unknown_fields=True, kw_only=True):
    """`?organizationId=`, required, and which areas."""

    organizationId: Id


class NewArea(Body):
    """Body of `POST /areas`."""

    name: Name
    organizationId: Id
    parentArea: Id | None = None
    image: str | None = None
    uuid: BlankOrGuid | None = None
    status: Status | UnsetType = UNSET
    description: str | None = None


class AreaChange(Body):
    """Body of `PATCH /areas/:id`; an empty or null status or uuid counts as not sent."""

    organizationId: Id
    name: Name | UnsetType = UNSET
    parentArea: Id | UnsetType | None = UNSET
    image: str | UnsetType | None = UNSET
    uuid: BlankOrGuid | UnsetType | None = UNSET
    status: StatusOrBlank | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


class AreaRoutes:
    """Areas of the caller's organizations."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/areas",)

    def __init__(self, areas: Areas) -> None:
        self._areas = areas

    @route("GET", "", permission="area.view", data={"areas": ["Area"]})
    async def list_all(self, call: Call, query: AreaListOf) -> Answer:
        """List the visible areas of all organizations that the caller may see.

        Compat: `organizationId` is demanded, its value does not narrow the list.
        """
        return listed("areas", await self._areas.listed(call.principal, query.listing()))

    @route("POST", "", permission="area.create", status=201, data={"area": "Area"})
    async def create(self, call: Call, body: NewArea) -> Answer:
        """Make an area."""
        return success(data={"area": await self._areas.create(call.principal, given(body))})

    @route(
        "GET", "/organization/<organization_id>", permission="area.view", data={"areas": ["Area"]}
    )
    async def list_of_organization(
        self, call: Call, organization_id: int, query: AreaList
    ) -> Answer:
        """List the visible areas of one organization."""
        found = await self._areas.of_organization(call.principal, organization_id, query.listing())
        return listed("areas", found)

    @route("GET", "/<area_id>", permission="area.view", data={"area": "Area"})
    async def get(self, call: Call, area_id: int, query: OfOrganization) -> Answer:
        """Show an area."""
        row = await self._areas.get(call.principal, area_id, query.organizationId)
        return success(data={"area": row})

    @route("PATCH", "/<area_id>", permission="area.update", data={"area": "Area"})
    async def change(self, call: Call, area_id: int, body: AreaChange) -> Answer:
        """Change an area."""
        row = await self._areas.change(call.principal, area_id, body.organizationId, given(body))
        return success(data={"area": row})

    @route("DELETE", "/<area_id>", permission="area.delete", status=204)
    async def archive(self, call: Call, area_id: int, query: OfOrganization) -> Answer:
        """Archive an area."""
        await self._areas.archive(call.principal, area_id, query.organizationId)
        return Answer()
