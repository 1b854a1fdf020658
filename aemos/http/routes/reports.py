"""`/reports`: ten reports on an organization (spec/http-api.md section 4.13)."""

from __future__ import annotations

from math import ceil
from typing import ClassVar

from aemos.http.render import Answer
from aemos.http.routing import Call, route
from aemos.http.schemas import FreeQuery, Id
from aemos.services.reports import Reports
from aemos.storage.reports import Page

_MAX_LIMIT, _MAX_PAGE = 1000, 10**9
_LONG = 40.0  # seconds


class Wanted(FreeQuery):
    """`?organizationId=&page=&limit=`; numbers out of range count as the nearest that are not."""

    organizationId: Id | None = None
    page: int = 1
    limit: int = 20


class ReportRoutes:
    """Reports on one organization, in pages."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/reports",)

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    @route("GET", "/device-status", data=[dict])
    async def device_status(self, call: Call, query: Wanted) -> Answer:
        """Count devices by whether they are active."""
        return await self._answer(call, "device-status", query)

    @route("GET", "/sensor-telemetry", data=[dict])
    async def sensor_telemetry(self, call: Call, query: Wanted) -> Answer:
        """Sum up the readings of the last 24 hours by variable."""
        return await self._answer(call, "sensor-telemetry", query)

    @route("GET", "/organization-hierarchy", data=[dict])
    async def organization_hierarchy(self, call: Call, query: Wanted) -> Answer:
        """Show organizations below each other."""
        return await self._answer(call, "organization-hierarchy", query)

    @route("GET", "/user-activity", data=[dict])
    async def user_activity(self, call: Call, query: Wanted) -> Answer:
        """Count the tickets of members by what became of them."""
        return await self._answer(call, "user-activity", query)

    @route("GET", "/area-utilization", data=[dict])
    async def area_utilization(self, call: Call, query: Wanted) -> Answer:
        """Count what lies in each area."""
        return await self._answer(call, "area-utilization", query)

    @route("GET", "/payment-method", data=[dict])
    async def payment_method(self, call: Call, query: Wanted) -> Answer:
        """Count payment cards by brand and expiry."""
        return await self._answer(call, "payment-method", query)

    @route("GET", "/rule-chain-execution", data=[dict])
    async def rule_chain_execution(self, call: Call, query: Wanted) -> Answer:
        """Tell when rule chains ran."""
        return await self._answer(call, "rule-chain-execution", query)

    @route("GET", "/sensor-anomaly", data=[dict])
    async def sensor_anomaly(self, call: Call, query: Wanted) -> Answer:
        """List unusual readings of the last 24 hours, newest first."""
        return await self._answer(call, "sensor-anomaly", query)

    @route("GET", "/user-role-distribution", data=[dict])
    async def user_role_distribution(self, call: Call, query: Wanted) -> Answer:
        """Count the members in each role."""
        return await self._answer(call, "user-role-distribution", query)

    @route("GET", "/ticket-resolution", data=[dict])
    async def ticket_resolution(self, call: Call, query: Wanted) -> Answer:
        """Tell how fast tickets were resolved, by whom."""
        return await self._answer(call, "ticket-resolution", query)

    async def _answer(self, call: Call, name: str, query: Wanted) -> Answer:
        call.may_take(_LONG)  # some walk through all readings of a day
        number = min(max(query.page, 1), _MAX_PAGE)
        limit = min(max(query.limit, 1), _MAX_LIMIT)
        found = await self._reports.make(
            call.principal, name, query.organizationId, Page((number - 1) * limit, limit)
        )
        return Answer(
            {
                "status": "success",
                "totalItems": found.total,
                "totalPages": ceil(found.total / limit),
                "currentPage": number,
                "pageSize": limit,
                "data": found.rows,
            }
        )
