"""MQTT as clients use it: rights, QoS, retained messages, wills, sessions."""

from __future__ import annotations

import json
import uuid

import pytest
from paho.mqtt.client import MQTTv31, MQTTv311

from tests.integration.device import NOT_AUTHORIZED, REFUSED, Device, Will
from tests.integration.server import until


@pytest.mark.parametrize("token", ["0" * 64, "", "x" * 500])
def test_a_wrong_token_is_refused(server, token):
    sensor = server.add_sensor()
    client = Device(server, sensor.uuid, token)
    assert client.connect() == NOT_AUTHORIZED
    client.leave()


def test_the_token_of_another_sensor_is_refused(server):
    sensor, other = server.add_sensor(), server.add_sensor()
    client = Device(server, sensor.uuid, other.token)
    assert client.connect() == NOT_AUTHORIZED
    client.leave()


def test_without_credentials_nobody_connects(server):
    client = Device(server, None, None)
    assert client.connect() == NOT_AUTHORIZED
    client.leave()


def test_a_revoked_token_ends_the_connection(server, device):
    sensor = server.add_sensor()
    client = device(sensor)
    token_id = server.sql(
        lambda tx: tx.value("SELECT id FROM DeviceToken WHERE token = %s", (sensor.token,))
    )
    status, body = server.request(
        "PATCH", f"/api/v1/device-tokens/{token_id}", {}, server.sign_in()
    )
    assert status == 200, body
    client.wait_until_lost()
    again = Device(server, sensor.uuid, sensor.token)
    assert again.connect() == NOT_AUTHORIZED
    again.leave()


def test_a_device_signs_in_as_itself_until_its_token_is_rotated_away(server, device):
    sensor = server.add_sensor()
    pump_id, pump = server.sql(add_device, sensor)
    token = server.sign_in()
    status, body = server.request("POST", "/api/v1/device-tokens", {"deviceId": pump_id}, token)
    assert status == 200, body
    made = body["data"]
    client = Device(server, pump, made["token"])
    assert client.connect() == 0
    assert client.subscribe(f"devices/{pump}/commands") == 1
    assert client.subscribe(f"devices/{sensor.uuid}/datastream") == REFUSED
    device(sensor).subscribe(f"devices/{pump}/#")
    client.publish(f"devices/{pump}/status", {"status": "online"})
    until(lambda: server.sql(status_of, pump) == "online", "the status is stored")
    rotate = f"/api/v1/device-tokens/{made['id']}/rotate"
    status, body = server.request("POST", rotate, {"overlap": 0}, token)
    assert status == 200, body
    client.wait_until_lost()
    client.leave()
    again = Device(server, pump, body["data"]["token"])
    assert again.connect() == 0
    again.leave()


def add_device(tx, sensor):
    """@return: id and uuid of a new device beside a sensor."""
    area = tx.value("SELECT areaId FROM AreaSensor WHERE sensorId = %s", (sensor.id,))
    name = str(uuid.uuid4())
    device_id = tx.insert("Device", {"uuid": name, "name": "pump", "status": "active"})
    tx.insert("AreaDevice", {"areaId": area, "deviceId": device_id})
    return device_id, name


def status_of(tx, name):
    return tx.value("SELECT status FROM device_status WHERE uuid = %s", (name,))


def test_filters_within_ones_own_rights_are_granted_and_others_refused(server, device):
    sensor, other = server.add_sensor(), server.add_sensor()
    client = device(sensor)
    for own in (
        f"devices/{sensor.uuid}/#",
        f"devices/{sensor.uuid}/+",
        f"organizations/{sensor.organization}/#",
    ):
        assert client.subscribe(own) == 1, own
    for foreign in (
        "#",
        "+/#",
        "devices/#",
        "devices/+/datastream",
        f"devices/{other.uuid}/datastream",
        f"organizations/{sensor.organization + 1}/#",
        "organizations/#",
        "$SYS/#",
    ):
        assert client.subscribe(foreign) == REFUSED, foreign


def test_publishing_as_another_sensor_stores_and_delivers_nothing(server, device):
    sensor, other = server.add_sensor(), server.add_sensor()
    listener, thief = device(other), device(sensor)
    listener.subscribe(other.datastream)
    listener.subscribe(f"devices/{other.uuid}/commands")
    message = {"value": "1", "telemetryDataId": other.variables["temperature"]}
    thief.publish(other.datastream, message)
    thief.publish(other.datastream, {**message, "token": other.token})
    assert server.stored(other) == []
    listener.publish(f"devices/{other.uuid}/commands", b'{"command":"restart"}')
    assert listener.hear().topic == f"devices/{other.uuid}/commands"


@pytest.mark.parametrize("protocol", [MQTTv31, MQTTv311])
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_every_qos_go_in_and_out(server, device, qos, transport, protocol):
    sensor = server.add_sensor()
    client = device(
        sensor, transport=transport, protocol=protocol, client_id=f"c{qos}{transport[0]}{protocol}"
    )
    assert client.subscribe(sensor.datastream, qos) == qos
    for number in range(20):
        message = {"value": str(number), "variableName": "temperature", "messageId": number}
        client.publish(sensor.datastream, message, qos)
    until(lambda: len(server.stored(sensor)) == 20, "all are stored")
    heard = [client.hear() for _ in range(40)]
    assert {message.qos for message in heard} <= {qos, 1}
    raw = [message for message in heard if b"messageId" in message.payload]
    assert [message.qos for message in raw] == [qos] * 20
    assert [row["value"] for row in server.stored(sensor)] == [str(n) for n in range(20)]


def test_a_retained_message_is_given_to_later_subscribers_until_it_is_cleared(server, device):
    sensor = server.add_sensor()
    topic = f"free/{sensor.uuid}/mode"
    publisher = device(sensor)
    publisher.publish(topic, b"auto", retain=True)
    later = device(sensor)
    later.subscribe("free/+/mode")
    message = later.hear()
    assert (message.topic, message.payload, message.retain) == (topic, b"auto", True)
    publisher.publish(topic, b"", retain=True)
    assert (cleared := later.hear()).payload == b""
    assert not cleared.retain
    last = device(sensor)
    last.subscribe(topic)
    publisher.publish(topic, b"manual")
    message = last.hear()
    assert (message.payload, message.retain) == (b"manual", False)


def test_a_retained_reading_is_kept_without_its_token_and_a_refused_one_is_not(server, device):
    sensor = server.add_sensor()
    publisher = device(sensor)
    good = {"value": "1", "variableName": "temperature", "token": sensor.token}
    publisher.publish(sensor.datastream, good, retain=True)
    publisher.publish(sensor.datastream, {"value": "2"}, retain=True)
    later = device(sensor)
    later.subscribe(sensor.datastream)
    message = later.hear()
    assert message.retain
    assert json.loads(message.payload) == {"value": "1", "variableName": "temperature"}


def test_the_will_of_a_lost_client_is_published_without_its_token_and_stored(server, device):
    sensor = server.add_sensor()
    topic = f"devices/{sensor.uuid}/status"
    listener = device(sensor)
    listener.subscribe(topic)
    will = Will(topic, b'{"status":"offline","token":"%s"}' % sensor.token.encode())
    lost = Device.of(server, sensor, will=will)
    lost.cut()
    assert listener.hear_json() == {"status": "offline"}
    stored = server.sql(
        lambda tx: tx.value("SELECT status FROM Sensor WHERE id = %s", (sensor.id,))
    )
    assert stored == "disconnected"


def test_the_will_of_a_client_that_leaves_properly_is_not_published(server, device):
    sensor = server.add_sensor()
    topic = f"devices/{sensor.uuid}/status"
    listener = device(sensor)
    listener.subscribe(topic)
    Device.of(server, sensor, will=Will(topic, b'{"status":"offline"}')).leave()
    listener.publish(topic, b'{"status":"online"}')
    assert listener.hear_json() == {"status": "online"}


def test_the_same_client_id_takes_the_session_over(server, device):
    sensor = server.add_sensor()
    first = device(sensor, client_id=sensor.uuid)
    second = device(sensor, client_id=sensor.uuid)
    first.wait_until_lost()
    second.publish(sensor.datastream, {"value": 1, "variableName": "temperature"})
    assert len(server.stored(sensor)) == 1


def test_nobody_takes_over_the_session_of_another_identity(server, device):
    sensor, stranger = server.add_sensor(), server.add_sensor(organization="south")
    first = device(sensor, client_id="shared-name")
    device(stranger, client_id="shared-name")
    first.publish(sensor.datastream, {"value": 1, "variableName": "temperature"})
    assert first.connected


@pytest.mark.parametrize("qos", [1, 2])
def test_a_persistent_session_keeps_what_comes_while_its_client_is_away(server, device, qos):
    sensor = server.add_sensor()
    topic = f"devices/{sensor.uuid}/commands"
    away = Device.of(server, sensor, client_id="durable", clean=False)
    assert not away.session_present
    away.subscribe(topic, qos)
    away.leave()
    publisher = device(sensor)
    for number in range(10):
        publisher.publish(topic, b'{"command":"count","parameters":%d}' % number, qos)
    back = device(sensor, client_id="durable", clean=False)
    assert back.session_present
    assert [back.hear_json()["parameters"] for _ in range(10)] == list(range(10))


def test_a_clean_session_forgets(server, device):
    sensor = server.add_sensor()
    topic = f"devices/{sensor.uuid}/commands"
    before = Device.of(server, sensor, client_id="forgetful", clean=False)
    before.subscribe(topic)
    before.leave()
    client = device(sensor, client_id="forgetful", clean=True)
    assert not client.session_present
    device(sensor).publish(topic, b'{"command":"a"}')
    client.publish(topic, b'{"command":"b"}')
    assert client.silent()
