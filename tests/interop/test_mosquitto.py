"""mosquitto_pub and mosquitto_sub, as operators paste them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.server import Sensor, Server
from tests.parts import need


def arguments(server: Server, sensor: Sensor, token: str = "") -> list[str]:
    return [
        *("-h", "127.0.0.1", "-p", str(server.ports["mqtt"])),
        *("-u", sensor.uuid, "-P", token or sensor.token),
    ]


def publish(server: Server, sensor: Sensor, *more: str, token: str = "") -> tuple[int, str]:
    """@return: exit code, and what it said."""
    done = subprocess.run(
        [need("mosquitto_pub"), *arguments(server, sensor, token), *more],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def subscribed(server: Server, sensor: Sensor, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A mosquitto_sub whose subscription was answered."""
    command = ["stdbuf", "-oL", need("mosquitto_sub"), "-d", "-W", "20"]
    process = subprocess.Popen(
        [*command, *arguments(server, sensor), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "SUBACK" in line or "Subscribed" in line:
                    break
            else:
                raise AssertionError("no SUBACK")
            yield process
        finally:
            process.terminate()


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_pasted_line_stores_a_reading(server, version, qos):
    sensor = server.add_sensor()
    variable = sensor.variables["temperature"]
    message = {"value": "25.6", "telemetryDataId": variable, "token": sensor.token}
    with subscribed(server, sensor, "-t", sensor.datastream, "-C", "2", "-q", "2") as listener:
        code, said = publish(
            server,
            sensor,
            *("-V", version, "-q", str(qos), "-t", sensor.datastream, "-m", json.dumps(message)),
        )
        assert code == 0, said
        out, _ = listener.communicate(timeout=30)
    assert [row["value"] for row in server.stored(sensor)] == ["25.6"]
    heard = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert {"value": "25.6", "telemetryDataId": variable} in heard
    assert "data_stream" in [each.get("type") for each in heard]
    assert sensor.token not in out


def test_many_lines_on_one_connection_are_all_stored(server):
    sensor = server.add_sensor()
    lines = [json.dumps({"value": number, "variableName": "temperature"}) for number in range(500)]
    done = subprocess.run(
        [
            need("mosquitto_pub"),
            *arguments(server, sensor),
            "-l",
            "-q",
            "1",
            "-t",
            sensor.datastream,
        ],
        input="\n".join(lines),
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert [row["value"] for row in server.stored(sensor)] == [str(n) for n in range(500)]


def test_a_wrong_token_is_connack_5(server):
    sensor = server.add_sensor()
    code, said = publish(
        server, sensor, "-t", sensor.datastream, "-m", "{}", "-q", "1", token="0" * 64
    )
    assert code == 5, said
    assert "not authorised" in said


def test_a_foreign_filter_is_refused_with_0x80(server):
    sensor = server.add_sensor()
    done = subprocess.run(
        [need("mosquitto_sub"), "-d", *arguments(server, sensor), "-t", "#", "-W", "5"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    said = done.stdout + done.stderr
    assert "Subscribed (mid: 1): 128" in said, said


def test_a_retained_status_is_given_to_a_later_subscriber(server):
    sensor = server.add_sensor()
    topic = f"devices/{sensor.uuid}/status"
    code, said = publish(server, sensor, "-r", "-q", "1", "-t", topic, "-m", '{"status":"online"}')
    assert code == 0, said
    done = subprocess.run(
        [need("mosquitto_sub"), *arguments(server, sensor), "-t", topic, "-C", "1", "-W", "20"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert json.loads(done.stdout) == {"status": "online"}


def test_a_line_over_tls_stores_a_reading(server):
    sensor = server.add_sensor()
    code, said = over_tls(
        server, sensor, *("-u", sensor.uuid, "-P", sensor.token), *reading(sensor, "1")
    )
    assert code == 0, said
    assert [row["value"] for row in server.stored(sensor)] == ["1"]


def test_a_client_certificate_takes_the_place_of_the_token(server):
    sensor = server.add_sensor()
    pair = server.authority.issue(sensor.uuid)
    shown = ["--cert", pair.cert_path, "--key", pair.key_path]
    code, said = over_tls(server, sensor, *shown, *reading(sensor, "2"))
    assert code == 0, said
    assert [row["value"] for row in server.stored(sensor)] == ["2"]


def reading(sensor: Sensor, value: str) -> list[str]:
    message = {"value": value, "variableName": "temperature"}
    return ["-q", "1", "-t", sensor.datastream, "-m", json.dumps(message)]


def over_tls(server: Server, sensor: Sensor, *more: str) -> tuple[int, str]:
    """@return: exit code of mosquitto_pub at the TLS port, and what it said."""
    assert server.authority is not None
    address = ["-h", "localhost", "-p", str(server.ports["mqtt_tls"])]
    done = subprocess.run(
        [need("mosquitto_pub"), *address, "--cafile", server.authority.path, *more],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr
