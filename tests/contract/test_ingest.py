"""A data-stream message from any door: judged, stored, answered after the commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aemos.config import schema
from aemos.config.schema import Ingest
from aemos.messages.router import Router
from aemos.model import (
    ANONYMOUS,
    Along,
    Burst,
    BurstDone,
    Code,
    Instant,
    Kind,
    Message,
    Principal,
    PrincipalKind,
    Verdict,
)
from aemos.services.catalogue import Catalogue
from aemos.services.command_messages import CommandMessages
from aemos.services.commands import Commands
from aemos.services.events import (
    Events,
    IdentityChanged,
    MessageRefused,
    ReadingsCommitted,
    ReadingsStored,
    StatusStored,
)
from aemos.services.ledger import Ledger
from aemos.services.passed_on import PassedOn
from aemos.services.status import StatusIngest
from aemos.services.telemetry import ReadingIngest
from aemos.storage.database import Database
from aemos.storage.mqtt_changes import SESSION_CHANGES, Created, SessionRow
from aemos.storage.transaction import Transaction

TOKEN = "a" * 64
NOW = Instant.parse("2026-11-24T10:00:00.123Z")


def plant(tx: Transaction) -> dict[str, int]:
    """One organization with a sensor of two variables and a token, and a second, bare sensor."""
    organization = tx.insert("Organization", {"name": "Farm", "status": "active"})
    area = tx.insert(
        "Area",
        {"name": "Field", "organizationId": organization, "uuid": "area-1", "status": "active"},
    )
    sensor = tx.insert("Sensor", {"name": "S1", "uuid": "sensor-1", "status": "active"})
    other = tx.insert("Sensor", {"name": "S2", "uuid": "sensor-2", "status": "active"})
    tx.insert("AreaSensor", {"areaId": area, "sensorId": sensor})
    temperature = tx.insert(
        "TelemetryData", {"variableName": "temperature", "datatype": "float", "sensorId": sensor}
    )
    humidity = tx.insert(
        "TelemetryData", {"variableName": "humidity", "datatype": "float", "sensorId": sensor}
    )
    foreign = tx.insert(
        "TelemetryData", {"variableName": "ph", "datatype": "float", "sensorId": other}
    )
    tx.insert("DeviceToken", {"token": TOKEN, "sensorId": sensor, "status": "active"})
    tx.insert("DeviceToken", {"token": "b" * 64, "sensorId": other, "status": "active"})
    return {
        "organization": organization,
        "sensor": sensor,
        "temperature": temperature,
        "humidity": humidity,
        "foreign": foreign,
    }


class Bench:
    """The rooms from router to writer over a real database."""

    def __init__(self, database: Database, ids: dict[str, int]) -> None:
        self.database, self.ids = database, ids
        self.events = Events()
        self.published: list[object] = []
        settings = Ingest()
        writer = self.database.writer
        self.catalogue = Catalogue(self.database, self.events, settings, reactor)
        self.ledger = Ledger(writer, self.events, settings)
        self.commands = Commands(database, self.events, schema.Commands(), reactor)
        orders = CommandMessages(self.catalogue, writer, self.ledger, self.commands)
        passed_on = PassedOn(self.ledger)
        self.readings = ReadingIngest(self.catalogue, writer, self.events, self.ledger, settings)
        self.router = Router(
            {
                Kind.DATASTREAM: self.readings.handle,
                Kind.STATUS: StatusIngest(self.catalogue, writer, self.events, self.ledger).handle,
                Kind.COMMAND: orders.command,
                Kind.COMMAND_ACK: orders.acknowledged,
                Kind.BROADCAST: passed_on.broadcast,
            },
            self.ledger,
            {Kind.DATASTREAM: self.readings.handle_burst},
        )
        for event in (MessageRefused, StatusStored):
            self.events.subscribe(event, self.published.append)
        self.events.subscribe(
            ReadingsCommitted, lambda event: self.published.extend(event.messages)
        )
        self.sensor = Principal(
            PrincipalKind.SENSOR,
            "sensor-1",
            self.ids["sensor"],
            {self.ids["organization"]: frozenset()},
        )

    def send(
        self,
        body: Any,
        *,
        kind: Kind = Kind.DATASTREAM,
        principal: Principal | None = None,
        subject: str = "sensor-1",
        qos: int = 1,
    ) -> tuple[Message, Deferred[Verdict]]:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = Message(
            kind,
            principal or self.sensor,
            subject,
            payload,
            NOW,
            "mqtt",
            f"devices/{subject}/x",
            qos,
        )
        answered: Deferred[Verdict] = Deferred()
        self.router.handle(message, answered.callback)
        return message, answered

    async def verdict(self, body: Any, **how: Any) -> Verdict:
        return await self.send(body, **how)[1]

    async def code(self, body: Any, **how: Any) -> Code:
        return (await self.verdict(body, **how)).code

    async def rows(self) -> list[tuple[str, int, str]]:
        stored = await self.database.read(
            lambda tx: tx.all(
                "SELECT value, telemetryDataId, recievedAt FROM DataStream ORDER BY id"
            )
        )
        return [(row["value"], row["telemetryDataId"], row["recievedAt"].iso()) for row in stored]


@pytest.fixture
def bench(database: Database) -> Iterator[Bench]:
    ids = pytest_twisted.blockon(database.transact(plant))
    bench = Bench(database, ids)
    yield bench
    bench.commands.stop()


async def test_a_reading_named_by_id_is_stored_before_it_is_accepted(bench: Bench) -> None:
    message, answered = bench.send(
        {"value": "25.6", "telemetryDataId": bench.ids["temperature"], "token": TOKEN}
    )
    assert (await answered).code is Code.ACCEPTED
    assert await bench.rows() == [("25.6", bench.ids["temperature"], NOW.iso())]
    (reading,) = message.result
    assert reading.id > 0
    (event,) = bench.published
    assert isinstance(event, ReadingsStored)
    assert (event.sensor_uuid, event.organization_id) == ("sensor-1", bench.ids["organization"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (False, "false"),
        (True, "true"),
        (25.0, "25"),
        (25.6, "25.6"),
        ("x" * 50, "x" * 50),
        (-1e-7, "-1e-7"),
    ],
)
async def test_any_json_scalar_is_stored_as_javascript_writes_it(
    bench: Bench, value: Any, text: str
) -> None:
    assert await bench.code({"value": value, "variableName": "humidity"}) is Code.ACCEPTED
    assert [row[0] for row in await bench.rows()] == [text]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"25.6", Code.INVALID_PAYLOAD),
        (b"not json", Code.VALIDATION_ERROR),
        (b'{"value":NaN,"variableName":"humidity"}', Code.VALIDATION_ERROR),
        (b"\xff\xfe", Code.VALIDATION_ERROR),
        (b"", Code.VALIDATION_ERROR),
        (b'{"value":' * 2000 + b"1" + b"}" * 2000, Code.INVALID_DATA_STREAM),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Code.VALIDATION_ERROR),
        (b"[]", Code.INVALID_PAYLOAD),
        ({"variableName": "humidity"}, Code.INVALID_DATA_STREAM),
        ({"value": None, "variableName": "humidity"}, Code.INVALID_DATA_STREAM),
        ({"value": "", "variableName": "humidity"}, Code.INVALID_DATA_STREAM),
        ({"value": "x" * 51, "variableName": "humidity"}, Code.INVALID_DATA_STREAM),
        ({"value": {}, "variableName": "humidity"}, Code.INVALID_DATA_STREAM),
        ({"value": 1}, Code.INVALID_DATA_STREAM),
        ({"value": 1, "variableName": "nope"}, Code.TELEMETRY_NOT_FOUND),
        ({"value": 1, "telemetryDataId": 99999}, Code.TELEMETRY_NOT_FOUND),
        ({"value": 1, "telemetryDataId": "9" * 5000}, Code.TELEMETRY_NOT_FOUND),
        (
            {"value": 1, "variableName": "humidity", "deviceUuid": "sensor-2"},
            Code.INVALID_DEVICE_UUID,
        ),
        ({"value": 1, "variableName": "humidity", "token": "b" * 64}, Code.AUTHENTICATION_FAILED),
        ({"value": 1, "variableName": "humidity", "token": 7}, Code.AUTHENTICATION_FAILED),
        (
            {"dataStreams": [{"value": 1, "variableName": "humidity"}, {"value": 2}]},
            Code.INVALID_DATA_STREAM,
        ),
        (
            {"dataStreams": [{"value": 1, "variableName": "humidity"}] * 1001},
            Code.INVALID_DATA_STREAM,
        ),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_its_code_and_stores_nothing(
    bench: Bench, body: Any, code: Code
) -> None:
    verdict = await bench.verdict(body)
    assert verdict.code is code
    assert verdict.reason
    assert await bench.rows() == []
    assert bench.ledger.refused[code] == 1
    (event,) = bench.published
    assert isinstance(event, MessageRefused)


async def test_the_variable_of_another_sensor_is_not_found(bench: Bench) -> None:
    code = await bench.code({"value": 1, "telemetryDataId": bench.ids["foreign"]})
    assert code is Code.TELEMETRY_NOT_FOUND


async def test_an_unknown_id_falls_back_to_the_name(bench: Bench) -> None:
    assert (
        await bench.code({"value": 1, "telemetryDataId": 99999, "variableName": "humidity"})
        is Code.ACCEPTED
    )
    assert [row[1] for row in await bench.rows()] == [bench.ids["humidity"]]


async def test_a_batch_is_stored_as_a_whole_in_order(bench: Bench) -> None:
    items = [
        {
            "telemetryDataId": bench.ids["temperature"],
            "value": "1",
            "recievedAt": "2026-01-01T00:00:00Z",
        },
        {"variableName": "humidity", "value": 2},
    ]
    assert await bench.code({"dataStreams": items}) is Code.ACCEPTED
    assert await bench.rows() == [
        ("1", bench.ids["temperature"], "2026-01-01T00:00:00.000Z"),
        ("2", bench.ids["humidity"], NOW.iso()),
    ]


async def test_an_empty_batch_is_accepted_and_stores_nothing(bench: Bench) -> None:
    assert await bench.code({"dataStreams": []}) is Code.ACCEPTED
    assert await bench.rows() == []


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000Z"),
        (1767225600000, "2026-01-01T00:00:00.000Z"),
        (1767225600, "2026-01-01T00:00:00.000Z"),
        ("rubbish", NOW.iso()),
        (10**30, NOW.iso()),
        (True, NOW.iso()),
    ],
)
async def test_the_event_time_is_taken_when_usable_else_now(
    bench: Bench, given: Any, stored: str
) -> None:
    assert (
        await bench.code({"value": 1, "variableName": "humidity", "recievedAt": given})
        is Code.ACCEPTED
    )
    assert [row[2] for row in await bench.rows()] == [stored]


async def test_a_repeat_is_acknowledged_and_not_stored_again(bench: Bench) -> None:
    body = {"value": 1, "variableName": "humidity", "recievedAt": "2026-11-24T09:59:59Z"}
    assert [await bench.code(body), await bench.code(body)] == [Code.ACCEPTED, Code.DUPLICATE]
    marked = {"value": 1, "variableName": "humidity", "messageId": "m-1"}
    assert [await bench.code(marked), await bench.code(marked)] == [Code.ACCEPTED, Code.DUPLICATE]
    assert len(await bench.rows()) == 2
    assert bench.ledger.refused[Code.DUPLICATE] == 2


@pytest.mark.parametrize("time", [None, "1970-01-01T00:00:09Z", "2027-11-24T00:00:00Z"])
async def test_readings_without_a_trustworthy_time_are_never_merged(
    bench: Bench, time: str | None
) -> None:
    body = {"value": 1, "variableName": "humidity", "recievedAt": time}
    assert [await bench.code(body), await bench.code(body)] == [Code.ACCEPTED, Code.ACCEPTED]
    assert len(await bench.rows()) == 2


@pytest.mark.parametrize(
    ("thresholds", "urgent"),
    [
        ({"min": 20, "max": 30}, False),
        ({"max": 25}, True),
        ({"min": 26}, True),
        ("high", False),
        ({"min": "26"}, False),
    ],
)
async def test_thresholds_decide_the_priority(bench: Bench, thresholds: Any, urgent: bool) -> None:
    message, answered = bench.send(
        {"value": "25.6C", "variableName": "humidity", "thresholds": thresholds}
    )
    await answered
    assert [reading.urgent for reading in message.result] == [urgent]


async def test_an_anonymous_sender_needs_the_token_of_the_device(bench: Bench) -> None:
    body = {"value": 1, "variableName": "humidity"}
    assert await bench.code(body, principal=ANONYMOUS) is Code.AUTHENTICATION_FAILED
    assert await bench.code({**body, "token": TOKEN}, principal=ANONYMOUS) is Code.ACCEPTED
    assert await bench.code({**body, "accessToken": TOKEN}, principal=ANONYMOUS) is Code.ACCEPTED


async def test_a_user_needs_the_permission_in_the_sensors_organization(bench: Bench) -> None:
    body = {"value": 1, "variableName": "humidity"}
    here, elsewhere = (
        Principal(PrincipalKind.USER, "u@x", 1, {organization: frozenset({"sensor.update"})})
        for organization in (bench.ids["organization"], bench.ids["organization"] + 1)
    )
    assert await bench.code(body, principal=here) is Code.ACCEPTED
    assert await bench.code(body, principal=elsewhere) is Code.NOT_AUTHORIZED


async def test_a_revoked_token_stops_counting_at_once(bench: Bench) -> None:
    body = {"value": 1, "variableName": "humidity", "token": TOKEN}
    assert await bench.code(body) is Code.ACCEPTED
    await bench.database.transact(
        lambda tx: tx.execute("UPDATE DeviceToken SET status = 'revoked'")
    )
    bench.events.publish(IdentityChanged("sensor-1"))
    assert await bench.code(body) is Code.AUTHENTICATION_FAILED


async def test_a_new_variable_is_found_after_its_announcement(bench: Bench) -> None:
    body = {"value": 1, "variableName": "ec"}
    assert await bench.code(body) is Code.TELEMETRY_NOT_FOUND
    await bench.database.transact(
        lambda tx: tx.insert(
            "TelemetryData",
            {"variableName": "ec", "datatype": "float", "sensorId": bench.ids["sensor"]},
        )
    )
    bench.events.publish(IdentityChanged("sensor-1"))
    assert await bench.code(body) is Code.ACCEPTED


async def test_messages_of_a_sensor_keep_their_order_while_it_is_read(bench: Bench) -> None:
    answered = [bench.send({"value": n, "variableName": "humidity"})[1] for n in range(5)]
    bench.events.publish(IdentityChanged("sensor-1"))
    answered += [bench.send({"value": n, "variableName": "humidity"})[1] for n in range(5, 10)]
    for one in answered:
        await one
    assert [row[0] for row in await bench.rows()] == [str(n) for n in range(10)]


async def test_an_unknown_sensor_is_refused(bench: Bench) -> None:
    assert (
        await bench.code({"value": 1, "variableName": "x"}, subject="nobody")
        is Code.INVALID_DEVICE_UUID
    )


async def test_refusals_are_written_to_the_senders_ledger_without_its_token(bench: Bench) -> None:
    await bench.verdict({"value": "", "variableName": "humidity", "token": TOKEN})
    await bench.code({"value": 1, "variableName": "humidity"})  # committed after it
    entries = await bench.database.read(lambda tx: tx.all("SELECT * FROM ledger"))
    assert [(e["device_uuid"], e["code"]) for e in entries] == [("sensor-1", "INVALID_DATA_STREAM")]
    assert TOKEN not in entries[0]["payload"]
    assert entries[0]["reason"]


async def test_a_status_is_stored_with_its_metadata_and_moves_the_sensors_status(
    bench: Bench,
) -> None:
    body = {
        "status": "offline",
        "timestamp": "2026-11-24T09:00:00Z",
        "metadata": {"battery": 85},
        "token": TOKEN,
    }
    assert await bench.code(body, kind=Kind.STATUS) is Code.ACCEPTED
    row = await bench.database.read(lambda tx: tx.one("SELECT * FROM device_status"))
    assert (row["uuid"], row["status"]) == ("sensor-1", "offline")
    sensor = await bench.database.read(
        lambda tx: tx.one("SELECT status FROM Sensor WHERE uuid = %s", ("sensor-1",))
    )
    assert sensor["status"] == "disconnected"
    assert isinstance(bench.published[-1], StatusStored)


@pytest.mark.parametrize(
    "body",
    [{}, {"status": ""}, {"status": 5}, {"status": "s" * 51}, {"status": "ok", "metadata": [1]}],
)
async def test_a_malformed_status_is_refused(bench: Bench, body: Any) -> None:
    assert await bench.code(body, kind=Kind.STATUS) is Code.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"command": "restart", "parameters": {"delay": 5}}, Code.ACCEPTED),
        ({"command": {"name": "restart"}}, Code.ACCEPTED),
        ({"command": ""}, Code.COMMAND_ERROR),
        ({"parameters": {}}, Code.COMMAND_ERROR),
        (b"restart", Code.VALIDATION_ERROR),
        ({"command": "restart", "token": "b" * 64}, Code.AUTHENTICATION_FAILED),
    ],
)
async def test_commands_are_validated(bench: Bench, body: Any, code: Code) -> None:
    assert await bench.code(body, kind=Kind.COMMAND) is code


async def test_a_broadcast_needs_device_update_in_its_organization(bench: Bench) -> None:
    organization = str(bench.ids["organization"])
    admin = Principal(
        PrincipalKind.USER, "u@x", 1, {bench.ids["organization"]: frozenset({"device.update"})}
    )
    send = {"kind": Kind.BROADCAST, "principal": admin}
    assert await bench.code({"text": "frost"}, subject=organization, **send) is Code.ACCEPTED
    assert await bench.code({"text": "frost"}, subject="9999", **send) is Code.NOT_AUTHORIZED
    for no_id in ("x", "²", "9" * 5000):
        assert await bench.code({"text": "frost"}, subject=no_id, **send) is Code.INVALID_ORG_ID


async def test_qos_0_is_dropped_and_counted_while_the_writer_is_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"value": 1, "variableName": "humidity"}
    assert await bench.code(body, qos=0) is Code.ACCEPTED
    monkeypatch.setattr(bench.database.writer, "_max_queue", 0)
    waiting = bench.send(body)[1]
    assert await bench.code(body, qos=0) is Code.QUOTA_EXCEEDED
    assert (await waiting).code is Code.ACCEPTED
    assert bench.ledger.refused[Code.QUOTA_EXCEEDED] == 1


async def test_identities_are_answered_from_memory_once_known(bench: Bench) -> None:
    assert bench.catalogue.held("sensor-1") is None
    assert await bench.code({"value": 1, "variableName": "humidity"}) is Code.ACCEPTED
    found: list[object] = []
    bench.catalogue.find("sensor-1", found.append)
    assert found == [bench.catalogue.held("sensor-1")]
    bench.events.publish(IdentityChanged("sensor-1"))
    assert bench.catalogue.held("sensor-1") is None


async def test_who_needs_a_newer_identity_is_not_answered_with_the_same_again(bench: Bench) -> None:
    """Also where telling all who wait takes longer than an unknown variable stays unknown."""
    clock, first, second = Clock(), Deferred[object](), Deferred[object]()
    catalogue = Catalogue(bench.database, Events(), Ingest(), clock)

    def found(identity: Any) -> None:
        clock.advance(60)
        assert catalogue.find_again(identity, second.callback)
        first.callback(identity)

    catalogue.find("sensor-1", found)
    assert await first is not await second


async def test_a_name_that_is_longer_than_any_is_unknown_without_a_look_up(bench: Bench) -> None:
    answers: list[object] = []
    bench.catalogue.find("x" * 60_000, answers.append)
    assert answers == [None]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.DATASTREAM, {"value": 1, "variableName": "humidity"}),
        (Kind.STATUS, {"status": "online"}),
    ],
)
async def test_what_the_door_wants_stored_along_is_in_the_same_unit(
    bench: Bench, kind: Kind, body: Any
) -> None:
    row = SessionRow("sensor:sensor-1", "c")
    along = Along(((SESSION_CHANGES, [Created(row)]),))
    message = Message(
        kind, bench.sensor, "sensor-1", json.dumps(body).encode(), NOW, "mqtt", along=along
    )
    answered: Deferred[Verdict] = Deferred()
    batches = bench.database.writer.batches
    bench.router.handle(message, answered.callback)
    assert (await answered).code is Code.ACCEPTED
    assert along.stored
    assert bench.database.writer.batches == batches + 1
    assert row.id > 0


async def together(bench: Bench, *bodies: Any, **how: Any) -> list[Code]:
    """Send messages as one burst. @return: the codes of their verdicts, in order."""
    principal = how.get("principal", bench.sensor)
    payloads = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    message = Message(
        Kind.DATASTREAM, principal, "sensor-1", payloads[0], NOW, "mqtt", "devices/sensor-1/x", 1
    )
    answered: Deferred[list[Verdict]] = Deferred()
    bench.router.handle_burst(Burst(message, payloads), answered.callback)
    return [verdict.code for verdict in await answered]


def humidity(value: Any, **more: Any) -> dict[str, Any]:
    return {"value": value, "variableName": "humidity", **more}


async def known(bench: Bench) -> None:
    """Have the sensor in the catalogue."""
    assert await bench.code(humidity("known")) is Code.ACCEPTED


async def test_messages_of_a_burst_are_stored_in_order_by_one_transaction(bench: Bench) -> None:
    await known(bench)
    before = bench.database.writer.batches
    codes = await together(bench, *(humidity(n, token=TOKEN) for n in range(30)))
    assert codes == [Code.ACCEPTED] * 30
    assert [row[0] for row in await bench.rows()][1:] == [str(n) for n in range(30)]
    assert bench.database.writer.batches == before + 1
    event = bench.published[-1]
    assert isinstance(event, ReadingsStored)
    assert (event.messages, event.new, len(event.readings)) == (30, 30, 30)


async def test_a_burst_of_a_sensor_not_read_yet_waits_for_it(bench: Bench) -> None:
    assert await together(bench, humidity(1), humidity(2)) == [Code.ACCEPTED] * 2
    assert [row[0] for row in await bench.rows()] == ["1", "2"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"not json", Code.VALIDATION_ERROR),
        (b"[]", Code.INVALID_PAYLOAD),
        (humidity(""), Code.INVALID_DATA_STREAM),
        ({"value": 1, "variableName": "nope"}, Code.TELEMETRY_NOT_FOUND),
        (humidity(1, token="b" * 64), Code.AUTHENTICATION_FAILED),
        (humidity(1, token=7), Code.AUTHENTICATION_FAILED),
        (humidity(1, accessToken="wrong"), Code.AUTHENTICATION_FAILED),
        (humidity(1, deviceUuid="sensor-2"), Code.INVALID_DEVICE_UUID),
        ({"dataStreams": [humidity(1), humidity("")]}, Code.INVALID_DATA_STREAM),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_bad_message_of_a_burst_is_refused_alone(
    bench: Bench, bad: Any, code: Code, place: int
) -> None:
    await known(bench)
    bodies = [humidity("a", token=TOKEN), humidity("b", token=TOKEN)]
    bodies.insert(place, bad)
    expected = [Code.ACCEPTED] * 2
    expected.insert(place, code)
    assert await together(bench, *bodies) == expected
    assert [row[0] for row in await bench.rows()][1:] == ["a", "b"]
    assert bench.ledger.refused == {code: 1}


async def test_batches_of_readings_may_be_among_the_messages_of_a_burst(bench: Bench) -> None:
    await known(bench)
    batch = humidity("ignored", dataStreams=[humidity(2), humidity(3)])
    assert await together(bench, humidity(1), batch, humidity(4)) == [Code.ACCEPTED] * 3
    assert [row[0] for row in await bench.rows()][1:] == ["1", "2", "3", "4"]


async def test_repeats_within_and_across_bursts_are_told_from_new_readings(bench: Bench) -> None:
    await known(bench)
    one, two, three = (humidity(n, messageId=f"m-{n}") for n in range(3))
    new, again = Code.ACCEPTED, Code.DUPLICATE
    assert await together(bench, one, two, one) == [new, new, again]
    assert await together(bench, two, three) == [again, new]
    assert [row[0] for row in await bench.rows()][1:] == ["0", "1", "2"]
    assert bench.ledger.refused == {Code.DUPLICATE: 2}
    event = bench.published[-1]
    assert isinstance(event, ReadingsStored)
    assert (event.messages, event.new) == (1, 1)


async def test_what_the_database_refuses_of_a_burst_is_refused_alone(bench: Bench) -> None:
    await known(bench)
    await bench.database.transact(
        lambda tx: tx.execute("DELETE FROM TelemetryData WHERE variableName = 'temperature'")
    )  # behind the back of the catalogue
    gone = {"value": 2, "variableName": "temperature"}
    codes = await together(bench, humidity(1), gone, humidity(3))
    assert codes == [Code.ACCEPTED, Code.DATA_STREAM_ERROR, Code.ACCEPTED]
    assert [row[0] for row in await bench.rows()][1:] == ["1", "3"]


async def test_a_burst_of_an_expired_sender_is_refused(bench: Bench) -> None:
    await known(bench)
    expired = Principal(
        PrincipalKind.SENSOR, "sensor-1", bench.ids["sensor"], expires_at=Instant(NOW - 1)
    )
    codes = await together(bench, humidity(1), humidity(2), principal=expired)
    assert codes == [Code.AUTHENTICATION_FAILED] * 2


async def test_a_stranger_cannot_hide_behind_the_token_of_the_message_before(bench: Bench) -> None:
    await known(bench)
    codes = await together(bench, humidity(1, token=TOKEN), humidity(2), principal=ANONYMOUS)
    assert codes == [Code.ACCEPTED, Code.AUTHENTICATION_FAILED]
    assert [row[0] for row in await bench.rows()][1:] == ["1"]


async def test_a_fault_of_ours_in_a_burst_leaves_each_message_its_own_chance(
    bench: Bench, hygiene: list[str]
) -> None:
    await known(bench)

    def faulty(burst: Burst, done: BurstDone, apart: Callable[[], None]) -> None:
        raise ZeroDivisionError

    handlers = {Kind.DATASTREAM: bench.readings.handle}
    bench.router = Router(handlers, bench.ledger, {Kind.DATASTREAM: faulty})
    assert await together(bench, humidity(1), humidity(2)) == [Code.ACCEPTED] * 2
    assert "handling of {count} messages failed" in hygiene.pop()
