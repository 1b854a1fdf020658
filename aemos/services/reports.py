"""The ten reports on an organization (spec/http-api.md section 4.13).

Compat: sums, averages and shares are text, as the original's database gave them; counts are
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from aemos.errors import BadRequest, Forbidden
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services import access
from aemos.storage import reports, users
from aemos.storage.database import Database
from aemos.storage.reports import Found, Page
from aemos.storage.transaction import Row, Transaction

_READERS = frozenset({"admin", "system admin", "org admin", "supervisor", "viewer"})
_DAY, _HOUR = 86_400_000, 3_600_000  # milliseconds
_SOON = 92 * _DAY  # three months
_BRANDS = {"4": "Visa", "5": "Mastercard", "3": "Amex"}


@attrs.frozen
class Scope:
    """What a report is about: one organization, as it is for whoever asks."""

    by: Principal
    organization_id: int
    page: Page


Report = Callable[[Transaction, Scope], Found]


@attrs.define
class Reports:
    """Makes reports for those who hold one of the known roles in the organization."""

    _database: Database

    async def make(
        self, by: Principal, name: str, organization_id: int | None, page: Page
    ) -> Found:
        """@param name: in `REPORTS`.

        @raise BadRequest: no organization was named. @raise Forbidden: not a member of it, or not
            in one of the roles that read reports.
        """

        def read(tx: Transaction) -> Found:
            if by.administrator:
                wanted = _named(organization_id)
            else:
                wanted = _readable(tx, by, organization_id)
            return REPORTS[name](tx, Scope(by, wanted, page))

        return await self._database.read(read)


def _named(organization_id: int | None) -> int:
    if organization_id is None:
        raise BadRequest("Organization ID is required")
    return organization_id


def _readable(tx: Transaction, by: Principal, organization_id: int | None) -> int:
    held = {
        grant["organizationId"]
        for grant in users.grants(tx, by.id)
        if grant["role"].casefold() in _READERS
    }
    if not held:
        raise Forbidden("Insufficient role permissions")
    wanted = _named(organization_id)
    access.require_member(by, wanted)
    if by.kind is PrincipalKind.API_KEY:  # its maker has the role, but it may be made for less
        access.require(by, "organization.view", wanted)
    if wanted not in held:
        raise Forbidden("Insufficient role permissions")
    return wanted


def _device_status(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        return {
            "organization": row["organization"],
            "total_devices": row["total"],
            "active_devices": str(row["active"]),
            "inactive_devices": str(row["total"] - row["active"]),
            "active_percentage": _share(row["active"], row["total"]),
        }

    return _each(reports.device_status(tx, scope.organization_id, scope.page), shown)


def _sensor_telemetry(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        return {
            "sensor_name": row["sensor_name"],
            "variableName": row["variableName"],
            "readings_count": row["readings_count"],
            "min_value": _fixed(row["lowest"], 2),
            "max_value": _fixed(row["highest"], 2),
            "avg_value": _fixed(row["mean"], 6),
        }

    since = Instant(tx.now - _DAY)
    return _each(reports.sensor_telemetry(tx, scope.organization_id, since, scope.page), shown)


def _organization_hierarchy(tx: Transaction, scope: Scope) -> Found:
    """Every organization for a System Admin; else the one asked for and what the asker is a member
    of below it.
    """
    children: dict[int | None, list[Row]] = {}
    rows = reports.organizations(tx)
    known = {row["id"] for row in rows}
    for row in rows:
        children.setdefault(row["parentId"], []).append(row)
    if scope.by.administrator:
        roots = [row for row in rows if row["parentId"] not in known]
    else:
        roots = [row for row in rows if row["id"] == scope.organization_id]
    tree = [
        {
            "id": row["id"],
            "organization": "    " * depth + (row["name"] or ""),
            "depth_level": depth,
        }
        for row, depth in _descend(roots, children)
        if scope.by.administrator
        or row["id"] == scope.organization_id
        or row["id"] in scope.by.organizations
    ]
    page = scope.page
    return Found(tree[page.offset : page.offset + page.limit], len(tree))


def _descend(
    roots: Sequence[Row], children: Mapping[int | None, Sequence[Row]]
) -> Iterator[tuple[Row, int]]:
    """@return: rows with their depth, each before those below it; a circle is gone round once."""
    waiting = [(row, 0) for row in reversed(roots)]
    seen: set[int] = set()
    while waiting:
        row, depth = waiting.pop()
        if row["id"] not in seen:
            seen.add(row["id"])
            yield row, depth
            waiting += [(child, depth + 1) for child in reversed(children.get(row["id"], ()))]


def _user_activity(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        return {
            "id": row["id"],
            "userName": row["userName"],
            "email": row["email"],
            "total_notifications": row["total"],
            "acknowledged": str(row["acknowledged"]),
            "pending": str(row["pending"]),
            "unassigned": str(row["unassigned"]),
        }

    return _each(reports.user_activity(tx, scope.organization_id, scope.page), shown)


def _area_utilization(tx: Transaction, scope: Scope) -> Found:
    devices, sensors = reports.placed_things(tx, scope.organization_id)

    def shown(row: Row) -> Row:
        return {
            **row,
            "device_percentage": _share(row["device_count"], devices) + "%",
            "sensor_percentage": _share(row["sensor_count"], sensors) + "%",
        }

    return _each(reports.area_utilization(tx, scope.organization_id, scope.page), shown)


def _payment_method(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        cards = reports.payment_cards(tx, row["id"])
        brands = dict.fromkeys(_BRANDS.get(card["digit"], "Other") for card in cards)
        soon = [
            card
            for card in cards
            if card["expiry"] is not None and tx.now <= card["expiry"] <= tx.now + _SOON
        ]
        return {
            **row,
            "payment_cards": len(cards),
            "card_types": ",".join(brands) or None,
            "expiring_soon": str(len(soon)),
        }

    wanted = None if scope.by.administrator else scope.organization_id
    return _each(reports.payment_organizations(tx, wanted, scope.page), shown)


def _rule_chain_execution(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        ran, failed = row["lastExecutedAt"], row["lastErrorAt"]
        status = "Never executed" if ran is None else "Executed"
        if failed is not None and (ran is None or failed >= ran):
            status = "Failed"
        return {
            "id": row["id"],
            "rule_chain": row["rule_chain"],
            "organization": row["organization"],
            "executionInterval": row["cronExpression"] if row["scheduleEnabled"] else None,
            "lastExecution": ran,
            "days_since_last_exec": None if ran is None else max(0, (tx.now - ran) // _DAY),
            "status": status,
        }

    return _each(reports.rule_chains(tx, scope.organization_id, scope.page), shown)


def _sensor_anomaly(tx: Transaction, scope: Scope) -> Found:
    says = {
        "temperature": "Temperature anomaly",
        "humidity": "High humidity",
        "soil_moisture": "Low moisture",
    }

    def shown(row: Row) -> Row:
        return {**row, "anomaly_status": says[row["variableName"].lower()]}

    since = Instant(tx.now - _DAY)
    return _each(reports.anomalies(tx, scope.organization_id, since, scope.page), shown)


def _user_role_distribution(tx: Transaction, scope: Scope) -> Found:
    members = reports.members(tx, scope.organization_id)

    def shown(row: Row) -> Row:
        return {**row, "percentage": _share(row["user_count"], members) + "%"}

    return _each(reports.roles(tx, scope.organization_id, scope.page), shown)


def _ticket_resolution(tx: Transaction, scope: Scope) -> Found:
    def shown(row: Row) -> Row:
        tickets = reports.tickets(tx, scope.organization_id, row["id"])
        done = [ticket for ticket in tickets if ticket["acknowledgedAt"] is not None]
        hours = [
            (ticket["acknowledgedAt"] - ticket["createdAt"]) / _HOUR
            for ticket in done
            if ticket["createdAt"] is not None
        ]
        return {
            **row,
            "total_tickets": len(tickets),
            "avg_resolution_hours": _fixed(sum(hours) / len(hours), 2) if hours else None,
            "pending_tickets": str(len(tickets) - len(done)),
            "completion_rate": _share(len(done), len(tickets)) + "%",
        }

    return _each(reports.assignees(tx, scope.organization_id, scope.page), shown)


REPORTS: Mapping[str, Report] = {
    "device-status": _device_status,
    "sensor-telemetry": _sensor_telemetry,
    "organization-hierarchy": _organization_hierarchy,
    "user-activity": _user_activity,
    "area-utilization": _area_utilization,
    "payment-method": _payment_method,
    "rule-chain-execution": _rule_chain_execution,
    "sensor-anomaly": _sensor_anomaly,
    "user-role-distribution": _user_role_distribution,
    "ticket-resolution": _ticket_resolution,
}
"""Every report by the last segment of its path."""


def _each(found: Found, shown: Callable[[Row], Row]) -> Found:
    return Found([shown(row) for row in found.rows], found.total)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.2f}"


def _fixed(value: Any, decimals: int) -> str | None:
    return None if value is None else f"{value:.{decimals}f}"
