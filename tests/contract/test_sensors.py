"""Sensors in databases that the original left behind (aemos.services.sensors)."""

from __future__ import annotations

import pytest

from aemos.errors import BadRequest, Forbidden
from aemos.model import SERVER, Principal, PrincipalKind
from aemos.services.events import Events
from aemos.services.sensors import Sensors
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction


async def test_a_uuid_is_given_once_also_where_old_duplicates_kept_the_index_off(
    database: Database,
) -> None:
    await database.transact(
        lambda tx: tx.execute(
            'DROP INDEX "Sensor.uuid"'
            if database.dialect.single_writer
            else "ALTER TABLE Sensor DROP INDEX uuid"
        )
    )
    sensors = Sensors(database, Events())
    await sensors.create(SERVER, {"name": "first", "uuid": "uuid-1"})
    with pytest.raises(BadRequest, match="uuid"):
        await sensors.create(SERVER, {"name": "second", "uuid": "uuid-1"})
    other = await sensors.create(SERVER, {"name": "third", "uuid": "uuid-3"})
    with pytest.raises(BadRequest, match="uuid"):
        await sensors.change(SERVER, other["id"], 1, {"uuid": "uuid-1"})
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM Sensor")) == 2


async def test_a_sensor_in_two_areas_belongs_to_the_first_until_it_is_moved(
    database: Database,
) -> None:
    def sow(tx: Transaction) -> None:
        for number in (1, 2, 3):
            tx.insert("Organization", {"id": number, "name": f"organization {number}"})
            tx.insert("Area", {"id": number, "name": f"area {number}", "organizationId": number})
        tx.insert("Sensor", {"id": 1, "name": "wanderer", "uuid": "uuid-1"})
        for number in (2, 1):
            tx.insert("AreaSensor", {"areaId": number, "sensorId": 1})

    await database.transact(sow)
    sensors = Sensors(database, Events())
    shown = await sensors.get(SERVER, 1, 1)
    assert (shown["areaId"], shown["organizationId"]) == (1, 1)
    second = Principal(PrincipalKind.USER, permissions={2: frozenset({"sensor.view"})})
    with pytest.raises(Forbidden):
        await sensors.get(second, 1, 2)
    moved = await sensors.change(SERVER, 1, 1, {"areaId": 3})
    assert moved["areaId"] == 3
    places = await database.read(lambda tx: tx.all("SELECT areaId FROM AreaSensor"))
    assert places == [{"areaId": 3}]
