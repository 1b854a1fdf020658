"""`presence` rows: which sensors and devices are there, and when they were last heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aemos.storage.identities import things
from aemos.storage.listing import MAX_ROWS, Condition, Listed
from aemos.storage.transaction import Row, Transaction

ONLINE, LATE, SILENT, OFFLINE = "online", "late", "silent", "offline"
"""The values of `presence`."""

_TABLE = "presence"
_RETIRED = ("inactive", "retired")


@attrs.frozen
class Scope:
    """Whose sensors and devices: ids of organizations, None = of all."""

    sensors: Sequence[int] | None
    devices: Sequence[int] | None


@attrs.frozen
class Wanted:
    """Which things a list shows; "" and None = no matter."""

    presence: str = ""
    kind: str = ""
    organization_id: int | None = None
    limit: int | None = None
    offset: int = 0


def load(tx: Transaction) -> list[Row]:
    """@return: every row."""
    return tx.all(f"SELECT * FROM {_TABLE}")


def save(tx: Transaction, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write records by their uuid in place of older ones; an empty one deletes."""
    for uuid, values in records.items():
        if values:
            tx.upsert(_TABLE, ["uuid"], {"uuid": uuid, **values})
        else:
            tx.delete(_TABLE, {"uuid": uuid})


def counts(tx: Transaction, scope: Scope) -> list[Row]:
    """@return: `organizationId`, `presence`, and how many `things`, retired ones left out."""
    condition = _of(scope)
    condition.add("status NOT IN (%s, %s) OR status IS NULL", *_RETIRED)
    return tx.all(
        f"SELECT organizationId, presence, COUNT(*) AS things FROM {_source()}"
        f" WHERE {condition.sql} GROUP BY organizationId, presence"
        " ORDER BY organizationId, presence",
        condition.params,
    )


def listed(tx: Transaction, scope: Scope, wanted: Wanted) -> Listed:
    """@return: `kind` (sensor or device), `id`, `uuid`, `name`, `status`, `organizationId`,
    `presence`, `since`, by organization and name.
    """
    condition = _of(scope)
    for column, value in (
        ("presence", wanted.presence),
        ("kind", wanted.kind),
        ("organizationId", wanted.organization_id),
    ):
        if value:
            condition.add(f"{column} = %s", value)
    limit = MAX_ROWS if wanted.limit is None else wanted.limit
    rows = tx.all(
        "SELECT kind, id, uuid, name, status, organizationId, presence, since_at"
        f" FROM {_source()} WHERE {condition.sql}"
        " ORDER BY organizationId, LOWER(name), kind, id LIMIT %s OFFSET %s",
        (*condition.params, limit + 1, wanted.offset),
    )
    more = len(rows) > limit
    for row in rows:
        row["since"] = row.pop("since_at")
    if wanted.limit is None and not wanted.offset and not more:
        return Listed(rows)
    total = tx.value(f"SELECT COUNT(*) FROM {_source()} WHERE {condition.sql}", condition.params)
    return Listed(rows[:limit], int(total), cut=more and wanted.limit is None)


def _source() -> str:
    return (
        "(SELECT t.kind, t.id, t.uuid, t.name, t.status, t.organizationId,"
        f" COALESCE(p.presence, '{OFFLINE}') AS presence, p.since_at AS since_at"
        f" FROM ({things()}) t LEFT JOIN {_TABLE} p ON p.uuid = t.uuid) seen"
    )


def _of(scope: Scope) -> Condition:
    parts: list[str] = []
    params: list[int] = []
    for kind, organizations in (("sensor", scope.sensors), ("device", scope.devices)):
        if organizations is None:
            parts.append(f"kind = '{kind}'")
        elif organizations:
            places = ", ".join(["%s"] * len(organizations))
            parts.append(f"(kind = '{kind}' AND organizationId IN ({places}))")
            params += organizations
    condition = Condition()
    condition.add(" OR ".join(parts) or "1 = 0", *params)
    return condition
