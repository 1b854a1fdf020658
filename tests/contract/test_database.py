"""Both databases give and refuse the same: rows, errors, and what is read back."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from twisted.internet import reactor

from aemos.errors import (
    DuplicateRow,
    MissingReference,
    NotFound,
    RowRefused,
    StorageUnavailable,
)
from aemos.model import Instant
from aemos.storage.database import Database, open_database
from aemos.storage.transaction import Row, Transaction, marks
from tests.conftest import settings_for
from tests.rows import NOON, plant


async def inserted(database: Database, table: str, values: dict[str, Any]) -> Row:
    """Insert, and read the row back."""
    row_id = await database.transact(lambda tx: tx.insert(table, values))
    row = await database.read(lambda tx: tx.one(f"SELECT * FROM {table} WHERE id = %s", (row_id,)))
    assert row is not None
    return row


async def test_rows_come_back_as_the_kinds_of_their_columns(database: Database) -> None:
    before = int(Instant.of(database._clock.seconds())) - 1
    row = await inserted(
        database,
        "Device",
        {
            "name": "Pümpe 🚰",
            "uuid": "u",
            "isCritical": True,
            "lastHeartbeat": NOON,
            "metadata": {"a": [1, None, "é"]},
            "capabilities": [],
        },
    )
    assert (row["name"], row["isCritical"], row["lastHeartbeat"]) == ("Pümpe 🚰", True, NOON)
    assert (row["metadata"], row["capabilities"]) == ({"a": [1, None, "é"]}, [])
    assert type(row["isCritical"]) is bool
    assert type(row["lastHeartbeat"]) is Instant
    assert (row["status"], row["deviceType"]) == ("pending", "actuator")  # defaults of the columns
    assert (row["description"], row["controlModes"]) == (None, None)
    assert row["createdAt"] == row["updatedAt"] >= before


async def test_an_update_moves_updated_at_alone(database: Database) -> None:
    row = await inserted(database, "Sensor", {"name": "a", "createdAt": NOON, "updatedAt": NOON})
    change = {"name": "b"}
    assert await database.transact(lambda tx: tx.update("Sensor", row["id"], change)) == 1
    assert (
        await database.transact(lambda tx: tx.update("Sensor", row["id"], change)) == 1
    )  # matched
    assert await database.transact(lambda tx: tx.update("Sensor", 999, change)) == 0
    after = await database.read(lambda tx: tx.one("SELECT * FROM Sensor"))
    assert after is not None
    assert (after["name"], after["createdAt"]) == ("b", NOON)
    assert after["updatedAt"] > NOON


@pytest.mark.parametrize("given", ['["on","off"]', ["on", "off"]])
async def test_allowed_values_are_always_json_text(database: Database, given: object) -> None:
    device = await inserted(database, "Device", {"name": "d"})
    values = {"deviceId": device["id"], "stateName": "power", "allowedValues": given}
    row = await inserted(database, "DeviceState", values)
    assert row["allowedValues"] == '["on","off"]'
    raw = "SELECT CONCAT(allowedValues, '') FROM DeviceState"
    if database.dialect.name == "sqlite":
        raw = "SELECT allowedValues || '' FROM DeviceState"
    # Compat: a JSON string whose text is a JSON array, as the original stores it.
    assert await database.read(lambda tx: tx.value(raw)) == '"[\\"on\\",\\"off\\"]"'


async def test_aliases_are_decoded_by_their_last_part(database: Database) -> None:
    await inserted(database, "Device", {"name": "d", "isCritical": False, "lastHeartbeat": NOON})
    row = await database.read(
        lambda tx: tx.one(
            "SELECT d.isCritical AS `device.isCritical`, MAX(d.lastHeartbeat) AS lastHeartbeat,"
            " SUM(d.id) AS total, COUNT(*) AS n FROM Device d GROUP BY d.isCritical"
        )
    )
    assert row == {"device.isCritical": False, "lastHeartbeat": NOON, "total": 1, "n": 1}
    assert type(row["device.isCritical"]) is bool
    assert type(row["lastHeartbeat"]) is Instant


async def test_times_compare_and_sort_to_the_millisecond(database: Database) -> None:
    variable = await database.transact(plant)
    times = [Instant(NOON + offset) for offset in (0, 1, 999, 1000)]
    rows = [(str(number), variable, at) for number, at in enumerate(times)]
    columns = ("value", "telemetryDataId", "recievedAt")
    await database.transact(lambda tx: tx.insert_rows("DataStream", columns, rows))
    after = "SELECT value FROM DataStream WHERE recievedAt > %s ORDER BY recievedAt DESC"
    found = await database.read(lambda tx: tx.all(after, (times[1],)))
    assert [row["value"] for row in found] == ["3", "2"]


async def test_per_cent_signs_are_doubled_in_sql_and_plain_in_values(database: Database) -> None:
    await inserted(database, "Sensor", {"name": "100%s"})
    query = "SELECT name FROM Sensor WHERE name LIKE '100%%' AND name = %s"
    assert await database.read(lambda tx: tx.value(query, ("100%s",))) == "100%s"
    bare = "SELECT COUNT(*) FROM Sensor WHERE name LIKE '1%%'"
    assert await database.read(lambda tx: tx.value(bare)) == 1


async def test_in_takes_a_mark_for_each_value(database: Database) -> None:
    wanted = ("Viewer", "Supervisor")
    query = f"SELECT name FROM Role WHERE name IN ({marks(wanted)}) ORDER BY name"
    rows = await database.read(lambda tx: tx.all(query, wanted))
    assert [row["name"] for row in rows] == ["Supervisor", "Viewer"]


async def test_an_upsert_changes_the_row_that_is_there(database: Database) -> None:
    def put(tx: Transaction, status: str, metadata: object) -> None:
        values = {"uuid": "u", "status": status, "metadata": metadata}
        tx.upsert("device_status", ["uuid"], {**values, "reported_at": NOON, "last_seen_at": NOON})

    await database.transact(put, "online", {"a": 1})
    await database.transact(put, "offline", None)
    rows = await database.read(
        lambda tx: tx.all("SELECT uuid, status, metadata FROM device_status")
    )
    assert rows == [{"uuid": "u", "status": "offline", "metadata": None}]


@pytest.mark.parametrize(
    ("table", "values", "text"),
    [
        ("Sensor", {"name": "x" * 51}, "name is too long"),
        ("Sensor", {"description": "x" * 65_536}, "description is too long"),
        ("Sensor", {"status": "broken"}, "status is not an allowed value"),
        ("Role", {"name": None}, "name is missing"),
        ("Role", {}, "name is missing"),
        ("RuleChain", {"name": "c", "priority": 2**31}, "priority is out of range"),
        ("Device", {"deviceType": "toaster"}, "deviceType is not an allowed value"),
    ],
)
async def test_values_that_do_not_fit_are_refused_by_name(
    database: Database, table: str, values: dict[str, Any], text: str
) -> None:
    with pytest.raises(RowRefused) as raised:
        await database.transact(lambda tx: tx.insert(table, values))
    assert str(raised.value) == text
    assert type(raised.value) is RowRefused


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("Sensor", {"name": "🚰" * 50, "description": "é" * 32_767}),
        ("RuleChain", {"name": "c", "priority": -(2**31)}),
        ("DeviceToken", {"token": "a" * 64, "expiresAt": Instant.parse("9999-12-31T23:59:59Z")}),
    ],
)
async def test_values_that_just_fit_are_taken(
    database: Database, table: str, values: dict[str, Any]
) -> None:
    if table == "DeviceToken":
        values = {**values, "sensorId": (await inserted(database, "Sensor", {}))["id"]}
    row = await inserted(database, table, values)
    assert {name: row[name] for name in values} == values


async def test_text_that_a_column_cannot_hold_is_looked_for_without_an_outage(
    database: Database,
) -> None:
    """MySQL refuses to compare, SQLite finds nothing; the database is there in either case."""
    sql = "SELECT * FROM writer_mark WHERE node = %s"
    with contextlib.suppress(RowRefused):
        assert await database.read(lambda tx: tx.one(sql, ("é",))) is None


async def test_a_duplicate_names_the_column(database: Database) -> None:
    await inserted(database, "User", {"email": "a@x.example"})
    with pytest.raises(DuplicateRow) as raised:
        await inserted(database, "User", {"email": "A@x.example"})
    assert raised.value.index == "email"
    assert "a@x" not in str(raised.value).lower()


async def test_a_reference_to_nothing_is_refused_both_ways(database: Database) -> None:
    with pytest.raises(MissingReference):
        await database.transact(lambda tx: tx.insert("TelemetryData", {"sensorId": 5}))
    await database.transact(plant)
    with pytest.raises(MissingReference):
        await database.transact(lambda tx: tx.execute("DELETE FROM Sensor"))


async def test_deleting_an_owner_takes_what_belongs_to_it(database: Database) -> None:
    organization = await inserted(database, "Organization", {"name": "o"})
    area = await inserted(database, "Area", {"organizationId": organization["id"]})
    sensor = await inserted(database, "Sensor", {})
    place = {"areaId": area["id"], "sensorId": sensor["id"]}
    await database.transact(lambda tx: tx.insert("AreaSensor", place))
    await database.transact(lambda tx: tx.execute("DELETE FROM Organization"))
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM AreaSensor")) == 0
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM Sensor")) == 1


async def test_what_a_transaction_raises_rolls_it_back(database: Database) -> None:
    def fail(tx: Transaction) -> None:
        tx.insert("Sensor", {"name": "gone"})
        raise NotFound("something")

    with pytest.raises(NotFound):
        await database.transact(fail)
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM Sensor")) == 0


async def test_after_the_stop_everything_fails_and_nothing_hangs(database_url: str) -> None:
    stopped = open_database(reactor, settings_for(database_url))
    await stopped.start()
    await stopped.stop()
    with pytest.raises(StorageUnavailable):
        await stopped.transact(plant)
    with pytest.raises(StorageUnavailable):
        await stopped.ping()


async def test_an_unknown_column_is_a_mistake_of_ours(database: Database) -> None:
    with pytest.raises(ValueError, match="Sensor has no column colour"):
        await database.transact(lambda tx: tx.insert("Sensor", {"colour": "red"}))


async def test_readers_cannot_write_on_sqlite(database: Database) -> None:
    if database.dialect.name != "sqlite":
        pytest.skip("MySQL's pool writes as well")
    with pytest.raises(Exception, match="readonly"):
        await database.read(lambda tx: tx.insert("Sensor", {}))


async def test_rows_larger_than_a_packet_are_sent_in_several(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.dialect.name == "mysql":
        monkeypatch.setattr(database.dialect, "_max_packet", 5000)
    variable = await database.transact(plant)
    rows = [(str(number), variable, Instant(NOON + number)) for number in range(500)]

    def insert(tx: Transaction) -> tuple[list[int], list[Row]]:
        ids = tx.insert_rows("DataStream", ("value", "telemetryDataId", "recievedAt"), rows)
        return list(ids), tx.all("SELECT id, value FROM DataStream ORDER BY id")

    ids, stored = await database.transact(insert)
    assert [(row["id"], row["value"]) for row in stored] == [
        (row_id, row[0]) for row_id, row in zip(ids, rows, strict=True)
    ]


async def test_a_row_larger_than_a_packet_is_refused(database: Database) -> None:
    if database.dialect.name != "mysql":
        pytest.skip("SQLite has no packets")
    columns = ("topic", "payload", "created_at")
    row = ("t", bytes(20 * 1024 * 1024), NOON)
    with pytest.raises(RowRefused, match="max_allowed_packet"):
        await database.transact(lambda tx: tx.insert_rows("mqtt_message", columns, [row]))


async def test_bytes_come_back_as_bytes(database: Database) -> None:
    every = bytes(range(256)) * 2
    columns = ("topic", "payload", "created_at")
    await database.transact(
        lambda tx: tx.insert_rows("mqtt_message", columns, [("t", every, NOON)])
    )
    assert await database.read(lambda tx: tx.value("SELECT payload FROM mqtt_message")) == every
