"""`/retention`: how long the readings of an organization or variable are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from aemos.http.render import Answer, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import UNSET, Body, Id, UnsetType, given
from aemos.services.retention import Policies

Days = Annotated[int, Meta(ge=1, le=36_500)]

_COLUMNS = {
    "id": "id",
    "organizationId": "organization_id",
    "telemetryDataId": "telemetry_id",
    "rawDays": "raw_days",
    "hourlyDays": "hourly_days",
    "dailyDays": "daily_days",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
"""Names on the wire, and the columns of `retention_policy`."""


class NewPolicy(Body):
    """Body of `POST /retention`: for one of the two; null days are for ever."""

    rawDays: Days
    organizationId: Id | None = None
    telemetryDataId: Id | None = None
    hourlyDays: Days | None = None
    dailyDays: Days | None = None


class PolicyChange(Body):
    """Body of `PATCH /retention/:id`."""

    rawDays: Days | UnsetType = UNSET
    hourlyDays: Days | UnsetType | None = UNSET
    dailyDays: Days | UnsetType | None = UNSET


class RetentionRoutes:
    """Policies of the caller's organizations and their variables."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/retention",)

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    @route("GET", "", permission="sensor.view", data={"policies": list})
    async def list_all(self, call: Call) -> Answer:
        """List the policies that the caller may see."""
        rows = await self._policies.listed(call.principal)
        return success(results=len(rows), data={"policies": [_wire(row) for row in rows]})

    @route(
        "POST", "", permission="sensor.delete", status=201, data={"policy": dict}, failures=(409,)
    )
    async def create(self, call: Call, body: NewPolicy) -> Answer:
        """Make a policy for an organization or a variable."""
        row = await self._policies.create(call.principal, _columns(given(body)))
        return success(data={"policy": _wire(row)})

    @route("GET", "/<policy_id>", permission="sensor.view", data={"policy": dict})
    async def get(self, call: Call, policy_id: int) -> Answer:
        """Show a policy."""
        return success(data={"policy": _wire(await self._policies.get(call.principal, policy_id))})

    @route("PATCH", "/<policy_id>", permission="sensor.delete", data={"policy": dict})
    async def change(self, call: Call, policy_id: int, body: PolicyChange) -> Answer:
        """Change how long something is kept."""
        row = await self._policies.change(call.principal, policy_id, _columns(given(body)))
        return success(data={"policy": _wire(row)})

    @route("DELETE", "/<policy_id>", permission="sensor.delete", status=204)
    async def delete(self, call: Call, policy_id: int) -> Answer:
        """Delete a policy: from then on everything is kept."""
        await self._policies.delete(call.principal, policy_id)
        return Answer()


def _wire(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[column] for name, column in _COLUMNS.items()}


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_COLUMNS[name]: value for name, value in values.items()}
