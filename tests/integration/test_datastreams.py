"""Every form of a data-stream message over MQTT, taken and refused (spec/mqtt.md 5.1 and 5.2)."""

from __future__ import annotations

import json
import re
from urllib.request import urlopen

import pytest

from aemos.mqtt.packets import ConnAck, PubAck, Publish
from tests.integration.server import until
from tests.integration.wire import Wire, hello

ID = object()
"""Stands for the id of the sensor's variable `temperature`."""
TOKEN = object()
"""Stands for the sensor's token."""
UUID = object()
"""Stands for the sensor's uuid."""


def _name(form):
    text = form.decode("latin-1") if isinstance(form, bytes) else json.dumps(form, default=str)
    return re.sub("<object[^>]*>", "...", text)[:60] if isinstance(form, (bytes, dict)) else None


def _fill(form, sensor):
    if isinstance(form, dict):
        return {key: _fill(value, sensor) for key, value in form.items()}
    if isinstance(form, list):
        return [_fill(value, sensor) for value in form]
    names = {ID: sensor.variables["temperature"], TOKEN: sensor.token, UUID: sensor.uuid}
    return names.get(form, form) if type(form) is object else form


TAKEN = [
    ({"value": "25.6", "telemetryDataId": ID, "token": TOKEN}, ["25.6"]),
    ({"value": "25.6", "variableName": "temperature", "token": TOKEN}, ["25.6"]),
    ({"value": "25.6", "telemetryDataId": ID}, ["25.6"]),
    ({"value": "25.6", "telemetryDataId": ID, "accessToken": TOKEN}, ["25.6"]),
    ({"value": "25.6", "telemetryDataId": ID, "deviceUuid": UUID}, ["25.6"]),
    ({"value": 0, "telemetryDataId": ID}, ["0"]),
    ({"value": False, "telemetryDataId": ID}, ["false"]),
    ({"value": 25.0, "telemetryDataId": ID}, ["25"]),
    ({"value": -1.5e-7, "telemetryDataId": ID}, ["-1.5e-7"]),
    ({"value": "x" * 50, "telemetryDataId": ID}, ["x" * 50]),
    ({"value": "\u00e9\U0001f331", "telemetryDataId": ID}, ["\u00e9\U0001f331"]),
    ({"value": "1", "telemetryDataId": ID, "recievedAt": "nonsense"}, ["1"]),
    ({"value": "1", "telemetryDataId": ID, "colour": {"deep": [1]}}, ["1"]),
    (
        {
            "value": "99",
            "telemetryDataId": ID,
            "urgent": True,
            "thresholds": {"min": 1, "max": 2},
            "skipRuleChainTrigger": True,
        },
        ["99"],
    ),
    (
        {
            "dataStreams": [
                {"telemetryDataId": ID, "value": "25.5", "recievedAt": "2026-01-01T00:00:00Z"},
                {"variableName": "humidity", "value": 30},
            ],
            "token": TOKEN,
        },
        ["25.5", "30"],
    ),
    ({"dataStreams": [{"variableName": "temperature", "value": 1}], "value": "9"}, ["1"]),
    ({"dataStreams": [], "token": TOKEN}, []),
]

REFUSED = [
    (b"\xff\xfe", "VALIDATION_ERROR"),
    (b"{", "VALIDATION_ERROR"),
    (b"", "VALIDATION_ERROR"),
    (b"25.6", "INVALID_PAYLOAD"),
    (b"[]", "INVALID_PAYLOAD"),
    ({"telemetryDataId": ID}, "INVALID_DATA_STREAM"),
    ({"value": None, "telemetryDataId": ID}, "INVALID_DATA_STREAM"),
    ({"value": "", "telemetryDataId": ID}, "INVALID_DATA_STREAM"),
    ({"value": {"celsius": 1}, "telemetryDataId": ID}, "INVALID_DATA_STREAM"),
    ({"value": "x" * 51, "telemetryDataId": ID}, "INVALID_DATA_STREAM"),
    ({"value": "1"}, "INVALID_DATA_STREAM"),
    ({"value": "1", "variableName": "pressure"}, "TELEMETRY_NOT_FOUND"),
    ({"value": "1", "telemetryDataId": 999_999}, "TELEMETRY_NOT_FOUND"),
    ({"value": "1", "telemetryDataId": ID, "token": "0" * 64}, "AUTHENTICATION_FAILED"),
    ({"value": "1", "telemetryDataId": ID, "deviceUuid": "somebody"}, "INVALID_DEVICE_UUID"),
    (
        {"dataStreams": [{"telemetryDataId": ID, "value": 1}, {"telemetryDataId": ID}]},
        "INVALID_DATA_STREAM",
    ),
    (
        {"dataStreams": [{"telemetryDataId": ID, "value": 1}, {"value": 1, "variableName": "x"}]},
        "TELEMETRY_NOT_FOUND",
    ),
]


@pytest.mark.parametrize(("form", "values"), TAKEN, ids=_name)
def test_a_good_message_is_stored_before_it_is_acknowledged(server, device, form, values):
    sensor = server.add_sensor("temperature", "humidity")
    device(sensor).publish(sensor.datastream, _fill(form, sensor))
    assert [row["value"] for row in server.stored(sensor)] == values


@pytest.mark.parametrize(("form", "code"), REFUSED, ids=_name)
def test_a_bad_message_is_acknowledged_explained_and_not_stored(server, device, form, code):
    sensor = server.add_sensor("temperature", "humidity")
    publisher, listener = device(sensor), device(sensor)
    # Not `#`: below it there is also the presence of the sensor.
    for topic in (sensor.datastream, f"devices/{sensor.uuid}/errors"):
        assert listener.subscribe(topic) == 1
    payload = form if isinstance(form, bytes) else _fill(form, sensor)
    publisher.publish(sensor.datastream, payload)
    message = listener.hear()
    assert message.topic == f"devices/{sensor.uuid}/errors"
    error = json.loads(message.payload)
    assert (error["code"], error["topic"]) == (code, sensor.datastream)
    assert error["message"]
    assert sensor.token not in message.payload.decode()
    assert server.stored(sensor) == []
    # The connection goes on, and nothing of the refused message was forwarded before.
    publisher.publish(sensor.datastream, {"value": "1", "variableName": "temperature"})
    assert listener.hear().topic == sensor.datastream


def test_the_refusal_is_in_the_ledger_of_the_device(server, device):
    sensor = server.add_sensor()
    device(sensor).publish(sensor.datastream, {"value": "1", "variableName": "pressure"})
    rows = until(
        lambda: server.sql(
            lambda tx: tx.all("SELECT * FROM ledger WHERE device_uuid = %s", (sensor.uuid,))
        ),
        "the refusal is written down",
    )
    assert [row["code"] for row in rows] == ["TELEMETRY_NOT_FOUND"]


def test_a_variable_of_another_sensor_is_not_found(server, device):
    sensor, other = server.add_sensor(), server.add_sensor()
    message = {"value": "1", "telemetryDataId": other.variables["temperature"]}
    device(sensor).publish(sensor.datastream, message)
    assert (server.stored(sensor), server.stored(other)) == ([], [])


def test_tokens_are_not_forwarded_and_the_announcement_follows(server, device):
    sensor = server.add_sensor()
    publisher, listener = device(sensor), device(sensor)
    listener.subscribe(sensor.datastream)
    publisher.publish(
        sensor.datastream,
        {
            "value": "7",
            "variableName": "temperature",
            "recievedAt": "2026-01-01T00:00:00Z",
            "token": sensor.token,
        },
    )
    heard = [listener.hear_json() for _ in range(2)]
    [announced] = [each for each in heard if each.get("type") == "data_stream"]
    [forwarded] = [each for each in heard if "type" not in each]
    assert forwarded == {
        "value": "7",
        "variableName": "temperature",
        "recievedAt": "2026-01-01T00:00:00Z",
    }
    [row] = server.stored(sensor)
    assert announced == {
        "type": "data_stream",
        "deviceUuid": sensor.uuid,
        "telemetryDataId": sensor.variables["temperature"],
        "value": "7",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "metadata": {"id": row["id"]},
    }


def test_a_message_id_is_stored_once_however_often_it_comes(server, device):
    sensor = server.add_sensor()
    publisher = device(sensor)
    for _ in range(3):
        message = {"value": "1", "variableName": "temperature", "messageId": "m-1"}
        publisher.publish(sensor.datastream, message)
    assert len(server.stored(sensor)) == 1


def test_a_status_is_stored_with_its_metadata(server, device):
    sensor = server.add_sensor()
    device(sensor).publish(
        f"devices/{sensor.uuid}/status",
        {"status": "online", "metadata": {"battery": 85}, "token": sensor.token},
    )
    status = server.sql(
        lambda tx: tx.value("SELECT status FROM Sensor WHERE id = %s", (sensor.id,))
    )
    [reported] = server.sql(
        lambda tx: tx.all("SELECT * FROM device_status WHERE uuid = %s", (sensor.uuid,))
    )
    assert status == "active"
    assert (reported["status"], reported["metadata"]) == ("online", {"battery": 85})


def accepted(server):
    """@return: how many messages the metrics say were accepted by MQTT."""
    with urlopen(f"http://127.0.0.1:{server.ports['http']}/api/v1/metrics/prometheus") as answer:
        text = answer.read().decode()
    found = re.search(r'^aemos_messages_total\{code="ACCEPTED",door="mqtt"\} (\S+)', text, re.M)
    return float(found[1]) if found else 0


def test_a_backlog_sent_at_once_is_stored_acknowledged_and_counted_one_by_one(server):
    sensor = server.add_sensor()
    before = accepted(server)
    bodies = [{"value": n, "variableName": "temperature", "messageId": n} for n in range(1, 301)]
    bodies[100]["value"] = ""  # refused
    bodies[200]["messageId"] = 200  # a repeat of the one before, but for its value
    bodies[201] = bodies[199]
    backlog = [
        Publish(sensor.datastream, json.dumps(body).encode(), 1, packet_id=number).encode()
        for number, body in enumerate(bodies, 1)
    ]
    with Wire.to(server) as wire:
        wire.send(hello(sensor), backlog[0])  # from then on its rights and variables are known
        assert wire.read(8) == ConnAck(0).encode() + PubAck(1).encode()
        wire.send(*backlog[1:])
        acknowledged = wire.read(4 * 299)
    assert acknowledged == b"".join(PubAck(number).encode() for number in range(2, 301))
    values = [row["value"] for row in server.stored(sensor)]
    expected = [str(n) for n in range(1, 301) if n not in (101, 202)]
    assert sorted(values, key=int) == expected
    assert until(lambda: accepted(server) - before, "the metrics") == 298
