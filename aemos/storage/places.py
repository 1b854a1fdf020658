"""Where sensors and devices lie: the SQL of `AreaSensor` and `AreaDevice`.

Source: spec/data-model.md section 2. A thing may lie in several areas; the first of them (lowest
area id) is its place, and the organization of that area owns it.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 1000  # SQLite takes a limited number of parameters


@attrs.frozen
class Places:
    """The join table of one kind of thing: its name, and the column that holds the thing's id."""

    table: str
    thing: str

    def owner(self, tx: Transaction, thing_id: int) -> int | None:
        """@return: the id of the organization that owns the thing; None = it lies in no area."""
        found: int | None = tx.value(
            f"SELECT a.organizationId FROM {self.table} x JOIN Area a ON a.id = x.areaId"
            f" WHERE x.{self.thing} = %s ORDER BY x.areaId LIMIT 1",
            (thing_id,),
        )
        return found

    def of(self, tx: Transaction, thing_ids: Sequence[int]) -> dict[int, Row]:
        """@return: thing id -> its place: `id`, `name`, `organizationId`, `organizationName`."""
        found: dict[int, Row] = {}
        for start in range(0, len(thing_ids), _AT_ONCE):
            ids = tuple(thing_ids[start : start + _AT_ONCE])
            rows = tx.all(
                f"SELECT x.{self.thing} AS thing, a.id AS id, a.name AS name,"
                " a.organizationId AS organizationId, o.name AS organizationName"
                f" FROM {self.table} x JOIN Area a ON a.id = x.areaId"
                " LEFT JOIN Organization o ON o.id = a.organizationId"
                f" WHERE x.{self.thing} IN ({marks(ids)}) ORDER BY x.areaId DESC",
                ids,
            )
            found.update((row.pop("thing"), row) for row in rows)
        return found

    def put(self, tx: Transaction, thing_id: int, area_id: int) -> None:
        """Place a thing in this area and no other."""
        tx.delete(self.table, {self.thing: thing_id})
        tx.insert(self.table, {"areaId": area_id, self.thing: thing_id})


SENSORS = Places("AreaSensor", "sensorId")
DEVICES = Places("AreaDevice", "deviceId")
