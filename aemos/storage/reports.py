"""The SQL of the reports (spec/http-api.md section 4.13).

Every function takes the organization that it reports on and a page. Sums come back as numbers;
`aemos.services.reports` gives rows the form that clients expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.dialects.expressions import number
from aemos.storage.transaction import Row, Transaction

# What lies in several areas of an organization counts once.
_DEVICES = (
    "SELECT DISTINCT d.id AS id, d.status AS status, a.organizationId AS organizationId"
    " FROM Device d JOIN AreaDevice x ON x.deviceId = d.id JOIN Area a ON a.id = x.areaId"
)
_SENSORS = (
    "SELECT DISTINCT s.id AS id, s.name AS name FROM Sensor s"
    " JOIN AreaSensor x ON x.sensorId = s.id JOIN Area a ON a.id = x.areaId"
    " WHERE a.organizationId = %s"
)


@attrs.frozen
class Page:
    """Which rows are wanted: `limit` of them after the first `offset`."""

    offset: int
    limit: int


@attrs.frozen
class Found:
    """The rows of a page, and how many there are on all pages."""

    rows: Sequence[Row]
    total: int


def device_status(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `organization`, `total`, `active`."""
    sql = (
        "SELECT o.name AS organization, COUNT(d.id) AS total,"
        " COUNT(CASE WHEN d.status = 'active' THEN 1 END) AS active"
        f" FROM Organization o LEFT JOIN ({_DEVICES}) d ON d.organizationId = o.id"
        " WHERE o.id = %s GROUP BY o.id, o.name"
    )
    return _page(tx, sql, (organization_id,), "organization", page)


def sensor_telemetry(tx: Transaction, organization_id: int, since: Instant, page: Page) -> Found:
    """@return: `sensor_name`, `variableName`, `readings_count`, and of those that are numbers
    `lowest`, `highest` and `mean`.
    """
    value = number(tx.dialect, "r.value")
    sql = (
        "SELECT s.name AS sensor_name, t.variableName AS variableName,"
        f" COUNT(r.id) AS readings_count, MIN({value}) AS lowest, MAX({value}) AS highest,"
        f" AVG({value}) AS mean, t.id AS variable"
        f" FROM ({_SENSORS}) s JOIN TelemetryData t ON t.sensorId = s.id"
        " JOIN DataStream r ON r.telemetryDataId = t.id AND r.recievedAt >= %s"
        " GROUP BY t.id, s.name, t.variableName"
    )
    return _page(tx, sql, (organization_id, since), "sensor_name, variableName, variable", page)


def organizations(tx: Transaction) -> list[Row]:
    """@return: `id`, `parentId` and `name` of every organization, in order of id."""
    return tx.all("SELECT id, parentId, name FROM Organization ORDER BY id")


def user_activity(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `id`, `userName`, `email`, `total`, `acknowledged`, `pending`, `unassigned`: the
    members with their tickets for notifications of the organization.
    """
    sql = (
        "SELECT u.id AS id, u.userName AS userName, u.email AS email, COUNT(t.id) AS total,"
        " COUNT(t.acknowledgedAt) AS acknowledged,"
        " COUNT(CASE WHEN t.assignedAt IS NOT NULL AND t.acknowledgedAt IS NULL THEN 1 END)"
        " AS pending,"
        " COUNT(CASE WHEN t.id IS NOT NULL AND t.assignedAt IS NULL AND t.acknowledgedAt IS NULL"
        " THEN 1 END) AS unassigned"
        " FROM User u JOIN OrganizationUser m ON m.userId = u.id AND m.organizationId = %s"
        " LEFT JOIN (SELECT t.* FROM Ticket t JOIN Notification n ON n.id = t.notificationId"
        " WHERE n.organizationId = %s) t ON t.assignedTo = u.id"
        " GROUP BY u.id, u.userName, u.email"
    )
    return _page(tx, sql, (organization_id, organization_id), "id", page)


def area_utilization(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `id`, `area`, `organization`, `device_count`, `sensor_count`."""
    sql = (
        "SELECT a.id AS id, a.name AS area, o.name AS organization,"
        " (SELECT COUNT(*) FROM AreaDevice x WHERE x.areaId = a.id) AS device_count,"
        " (SELECT COUNT(*) FROM AreaSensor x WHERE x.areaId = a.id) AS sensor_count"
        " FROM Area a JOIN Organization o ON o.id = a.organizationId WHERE o.id = %s"
    )
    return _page(tx, sql, (organization_id,), "id", page)


def placed_things(tx: Transaction, organization_id: int) -> tuple[int, int]:
    """@return: how many places devices and sensors take in the areas of an organization."""
    counts = [
        tx.value(
            f"SELECT COUNT(*) FROM {table} x JOIN Area a ON a.id = x.areaId"
            " WHERE a.organizationId = %s",
            (organization_id,),
        )
        for table in ("AreaDevice", "AreaSensor")
    ]
    return int(counts[0]), int(counts[1])


def payment_organizations(tx: Transaction, organization_id: int | None, page: Page) -> Found:
    """@param organization_id: None = all. @return: `id`, `organization`."""
    where, params = ("", ()) if organization_id is None else (" WHERE id = %s", (organization_id,))
    return _page(
        tx, f"SELECT id, name AS organization FROM Organization{where}", params, "id", page
    )


def payment_cards(tx: Transaction, organization_id: int) -> list[Row]:
    """@return: `digit` (the first of the number) and `expiry`; the number itself is not read."""
    return tx.all(
        "SELECT SUBSTR(cardNumber, 1, 1) AS digit, expiry FROM PaymentCard"
        " WHERE organizationId = %s ORDER BY id",
        (organization_id,),
    )


def rule_chains(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `id`, `rule_chain`, `organization`, and of the chain `scheduleEnabled`,
    `cronExpression`, `lastExecutedAt`, `lastErrorAt`.
    """
    sql = (
        "SELECT c.id AS id, c.name AS rule_chain, o.name AS organization,"
        " c.scheduleEnabled AS scheduleEnabled, c.cronExpression AS cronExpression,"
        " c.lastExecutedAt AS lastExecutedAt, c.lastErrorAt AS lastErrorAt"
        " FROM RuleChain c JOIN Organization o ON o.id = c.organizationId WHERE o.id = %s"
    )
    return _page(tx, sql, (organization_id,), "id", page)


def anomalies(tx: Transaction, organization_id: int, since: Instant, page: Page) -> Found:
    """@return: `id`, `sensor`, `variableName`, `value`, `recievedAt`, newest first."""
    value = number(tx.dialect, "r.value")
    sql = (
        "SELECT r.id AS id, s.name AS sensor, t.variableName AS variableName, r.value AS value,"
        f" r.recievedAt AS recievedAt FROM ({_SENSORS}) s"
        " JOIN TelemetryData t ON t.sensorId = s.id"
        " JOIN DataStream r ON r.telemetryDataId = t.id AND r.recievedAt >= %s"
        f" WHERE (LOWER(t.variableName) = 'temperature' AND ABS({value} - 25) > 5)"
        f" OR (LOWER(t.variableName) = 'humidity' AND {value} > 80)"
        f" OR (LOWER(t.variableName) = 'soil_moisture' AND {value} < 30)"
    )
    return _page(tx, sql, (organization_id, since), "recievedAt DESC, id DESC", page)


def roles(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `id`, `role`, `user_count`, `organizations`: the roles held in the organization."""
    sql = (
        "SELECT r.id AS id, r.name AS role, COUNT(m.userId) AS user_count,"
        " o.name AS organizations FROM Role r JOIN OrganizationUser m ON m.role = r.id"
        " JOIN Organization o ON o.id = m.organizationId WHERE o.id = %s"
        " GROUP BY r.id, r.name, o.name"
    )
    return _page(tx, sql, (organization_id,), "id", page)


def members(tx: Transaction, organization_id: int) -> int:
    """@return: how many users have a role in the organization."""
    count = tx.value(
        "SELECT COUNT(*) FROM OrganizationUser WHERE organizationId = %s", (organization_id,)
    )
    return int(count)


def assignees(tx: Transaction, organization_id: int, page: Page) -> Found:
    """@return: `id`, `assigned_to`: who has tickets for notifications of the organization."""
    sql = (
        "SELECT DISTINCT u.id AS id, u.userName AS assigned_to FROM User u"
        " JOIN Ticket t ON t.assignedTo = u.id JOIN Notification n ON n.id = t.notificationId"
        " WHERE n.organizationId = %s"
    )
    return _page(tx, sql, (organization_id,), "id", page)


def tickets(tx: Transaction, organization_id: int, user_id: int) -> list[Row]:
    """@return: `createdAt` and `acknowledgedAt` of one user's tickets in the organization."""
    return tx.all(
        "SELECT t.createdAt AS createdAt, t.acknowledgedAt AS acknowledgedAt FROM Ticket t"
        " JOIN Notification n ON n.id = t.notificationId"
        " WHERE n.organizationId = %s AND t.assignedTo = %s",
        (organization_id, user_id),
    )


def _page(tx: Transaction, sql: str, params: Sequence[Any], order: str, page: Page) -> Found:
    total = tx.value(f"SELECT COUNT(*) FROM ({sql}) counted", params)
    rows = tx.all(f"{sql} ORDER BY {order} LIMIT %s OFFSET %s", (*params, page.limit, page.offset))
    return Found(rows, int(total))
