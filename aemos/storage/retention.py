"""How long readings are to be kept: the SQL of `retention_policy`, and what is due by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.rollups import DAILY, HOURLY
from aemos.storage.transaction import Row, Transaction

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_DAYS = {None: "raw_days", HOURLY: "hourly_days", DAILY: "daily_days"}


def find(tx: Transaction, policy_id: int) -> Row | None:
    return tx.one("SELECT * FROM retention_policy WHERE id = %s", (policy_id,))


def listed(tx: Transaction) -> list[Row]:
    """@return: all policies, by id."""
    return tx.all("SELECT * FROM retention_policy ORDER BY id")


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new policy.

    @raise DuplicateRow: there is one for this organization or variable.
    """
    stamps = {"created_at": tx.now, "updated_at": tx.now}
    return tx.insert("retention_policy", {**values, **stamps})


def change(tx: Transaction, policy_id: int, changes: Mapping[str, Any]) -> None:
    tx.update("retention_policy", policy_id, {**changes, "updated_at": tx.now})


def delete(tx: Transaction, policy_id: int) -> None:
    tx.delete("retention_policy", {"id": policy_id})


@attrs.frozen
class Due:
    """Something of one variable that is older than its policy allows.

    `hours` None means readings, else the roll-ups of that many hours.
    """

    variable_id: int
    hours: int | None
    before: Instant


def due(tx: Transaction, now: Instant, hours: int | None) -> list[Due]:
    """@return: the readings, or roll-ups of so many hours, that are too old; mostly none.

    The policy of a variable goes before that of the organization that owns its sensor. Ages are
    counted in whole hours, so that the work comes in portions that are worth it.
    """
    hour = now - now % _HOUR
    found = []
    for policy in listed(tx):
        days = policy[_DAYS[hours]]
        if days is None:
            continue
        for variable_id in _variables(tx, policy):
            one = Due(variable_id, hours, Instant(hour - days * _DAY))
            if _has_any(tx, one):
                found.append(one)
    return found


def _variables(tx: Transaction, policy: Row) -> list[int]:
    if policy["telemetry_id"] is not None:
        return [policy["telemetry_id"]]
    rows = tx.all(
        "SELECT t.id AS id FROM TelemetryData t JOIN AreaSensor x ON x.sensorId = t.sensorId"
        " JOIN Area a ON a.id = x.areaId WHERE a.organizationId = %s"
        " AND x.areaId = (SELECT MIN(y.areaId) FROM AreaSensor y WHERE y.sensorId = t.sensorId)"
        " AND NOT EXISTS (SELECT p.id FROM retention_policy p WHERE p.telemetry_id = t.id)"
        " ORDER BY t.id",
        (policy["organization_id"],),
    )
    return [row["id"] for row in rows]


def _has_any(tx: Transaction, one: Due) -> bool:
    if one.hours is None:
        found = tx.value(
            "SELECT id FROM DataStream WHERE telemetryDataId = %s AND recievedAt < %s LIMIT 1",
            (one.variable_id, one.before),
        )
    else:
        found = tx.value(
            "SELECT hours FROM reading_rollup WHERE telemetry_id = %s AND hours = %s"
            " AND start_at < %s LIMIT 1",
            (one.variable_id, one.hours, one.before),
        )
    return found is not None


def used_bytes(tx: Transaction) -> int:
    """@return: the size of a SQLite file without the pages in it that are free for use again."""
    pages = int(tx.value("PRAGMA page_count")) - int(tx.value("PRAGMA freelist_count"))
    return pages * int(tx.value("PRAGMA page_size"))
