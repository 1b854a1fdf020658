"""Where sensors and devices lie: shows it, and reads what callers say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.errors import NotFound
from aemos.storage import areas
from aemos.storage.places import Places
from aemos.storage.transaction import Row, Transaction


def placed(tx: Transaction, places: Places, rows: Sequence[Row]) -> list[Row]:
    """@return: the rows, each with `areaId`, `area` (id, name), `organizationId` and `organization`
    (id, name) of its place; null for what lies in no area.
    """
    found = places.of(tx, [row["id"] for row in rows])
    return [{**row, **_shown(found.get(row["id"]))} for row in rows]


def area_of(tx: Transaction, area_id: int) -> Row:
    """@raise NotFound: no such area."""
    area = areas.find(tx, area_id)
    if area is None:
        raise NotFound(f"Area with ID {area_id} not found")
    return area


def given_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what counts as not given: an empty uuid, and a null area, which would orphan."""
    return {
        name: value
        for name, value in values.items()
        if not (name in ("uuid", "areaId") and value in ("", None))
    }


def _shown(place: Row | None) -> Row:
    area = None if place is None else {"id": place["id"], "name": place["name"]}
    owner = None
    if place is not None and place["organizationId"] is not None:
        owner = {"id": place["organizationId"], "name": place["organizationName"]}
    return {
        "areaId": area and area["id"],
        "area": area,
        "organizationId": owner and owner["id"],
        "organization": owner,
    }
