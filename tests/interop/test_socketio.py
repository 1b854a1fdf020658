"""The real socket.io-client, as the dashboard and the test pages use it."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jwt
import pytest
import socketio

from aemos.realtime.client_script import SCRIPTS
from tests.integration.device import Device
from tests.integration.server import ROOT, Sensor, Server
from tests.parts import missing, need

_PACKAGES = ROOT / "aemos" / "web" / "node_modules"
_WAIT = 15.0  # seconds

TELEMETRY = {"transports": ["websocket"], "reconnectionAttempts": 5}
"""How the dashboard's sensor page connects, and SocketTester: without a token."""
DASHBOARD = {"transports": ["websocket", "polling"], "reconnectionAttempts": 10}
"""How its other pages do, with one."""


class Clients:
    """Node with any number of clients in it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [need("node"), str(Path(__file__).with_name("socketio.js"))],
            env={"NODE_PATH": str(_PACKAGES)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put(json.loads(line))

    def do(self, command: str, name: str, *args: object) -> None:
        """Send a command of socketio.js."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, name, *args]) + "\n")

    def connect(self, name: str, path: str = "", **options: Any) -> dict[str, Any]:
        """@return: what "connect" told."""
        self.begin(name, path, **options)
        return self.hear(name, "connect")

    def begin(self, name: str, path: str = "", **options: Any) -> None:
        """Connect without waiting."""
        url = f"http://127.0.0.1:{self._server.ports['http']}{path}"
        self.do("connect", name, url, options)

    def join(self, name: str, *rooms: str) -> None:
        """Join, and wait until the server has dealt with it."""
        self.do("ask", name, "join", list(rooms))
        assert self.hear(name, "answer")["answer"]["rooms"] == list(rooms)

    def hear(self, name: str, what: str, **also: object) -> dict[str, Any]:
        """Wait for the next thing of that kind, passing over others of this client."""
        deadline = time.monotonic() + _WAIT
        while True:
            for index, each in enumerate(self._kept):
                if {"socket": name, "what": what, **also}.items() <= each.items():
                    later = self._kept[index + 1 :]
                    others = [other for other in self._kept[:index] if other["socket"] != name]
                    self._kept = others + later
                    return each
            try:
                self._kept.append(self._heard.get(timeout=max(0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no {what} {also} at {name}: {self._kept}") from None

    def value(self, name: str) -> str:
        """@return: the value of the next new-datastream."""
        heard = self.hear(name, "event", event="new-datastream")
        value: str = heard["data"]["dataStream"]["value"]
        return value

    def silent(self, name: str, what: str) -> bool:
        """@return: whether nothing of that kind has come so far."""
        while not self._heard.empty():
            self._kept.append(self._heard.get())
        return not any(each["socket"] == name and each["what"] == what for each in self._kept)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that pings often, where sockets without a token may watch the first organization."""
    if not (_PACKAGES / "socket.io-client").is_dir():
        missing("the npm packages of aemos/web are not installed (make web)")
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Server(
        folder,
        f"sqlite:///{folder / 'aemos.sqlite'}",
        http={"port": port},
        realtime={
            "anonymous": ["1"],
            "socket_io": {
                "ping_interval_ms": 400,
                "ping_timeout_ms": 600,
                "notification_interval_ms": 200,
            },
        },
    )
    try:
        server.start()
        assert server.add_sensor(organization="north").organization == 1
        yield server
    finally:
        server.close()


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    clients = Clients(server)
    yield clients
    clients.close()


@pytest.fixture
def publish(server: Server) -> Iterator[Callable[..., None]]:
    """Publishes values of a sensor, each acknowledged, a range of them in one message."""
    devices: dict[str, Device] = {}

    def publish(sensor: Sensor, *values: object, variable: str = "temperature") -> None:
        device = devices.get(sensor.uuid)
        if device is None or not device.connected:
            device = devices[sensor.uuid] = Device.of(server, sensor)
        for value in values:
            several = value if isinstance(value, range) else ()
            streams = [{"value": each, "variableName": variable} for each in several]
            one = {"value": value, "variableName": variable}
            device.publish(sensor.datastream, {"dataStreams": streams} if streams else one)

    yield publish
    for device in devices.values():
        device.leave()


def room(sensor: Sensor, variable: str = "temperature") -> str:
    return f"telemetry-{sensor.variables[variable]}"


# The four kinds of clients


def test_the_sensor_page_without_a_token_sees_live_values(server, clients, publish):
    sensor = server.add_sensor("temperature", "humidity")
    clients.begin("page", **TELEMETRY)
    assert clients.hear("page", "open")["transport"] == "websocket"
    clients.hear("page", "connect")
    for variable in sensor.variables:
        clients.do("emit", "page", "join", room(sensor, variable))
    clients.join("page", *map(lambda v: room(sensor, v), sensor.variables))
    publish(sensor, 25.4)
    publish(sensor, 60, variable="humidity")
    first = clients.hear("page", "event", event="new-datastream")["data"]
    assert first["dataStream"]["telemetryDataId"] == sensor.variables["temperature"]
    assert (first["dataStream"]["value"], type(first["dataStream"]["id"])) == ("25.4", int)
    for moment in (first["timestamp"], first["dataStream"]["recievedAt"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert clients.value("page") == "60"
    clients.do("emit", "page", "leave", room(sensor))
    clients.do("emit", "page", "send-telemetry", {"room": room(sensor), "data": {}})
    clients.join("page", room(sensor, "humidity"))
    publish(sensor, 26)
    publish(sensor, 61, variable="humidity")
    assert clients.value("page") == "61"


def test_the_telemetry_page_with_a_token_sees_values_and_states(server, clients, publish):
    sensor, device = server.add_sensor(), add_device(server)
    token = server.sign_in()
    clients.connect("page", **DASHBOARD, auth={"token": token})
    clients.join("page", room(sensor), f"device-uuid-{device['uuid']}", f"device-{device['id']}")
    publish(sensor, 1)
    assert clients.value("page") == "1"
    set_state(server, device, "on", token)
    change = clients.hear("page", "event", event="device-state-change")["data"]
    assert change["metadata"]["deviceUuid"] == device["uuid"]
    assert (change["metadata"]["stateName"], change["metadata"]["newValue"]) == ("power", "on")
    assert (change["priority"], change["metadata"]["oldValue"]) == ("high", None)
    set_state(server, device, "off", token)
    change = clients.hear("page", "event", event="device-state-change")["data"]
    assert change["metadata"]["newValue"] == "off"  # the first one came once


def test_the_device_page_uses_the_path_of_the_api_as_a_namespace(server, clients):
    device, token = add_device(server), server.sign_in()
    clients.connect("page", "/api/v1", **DASHBOARD, auth={"token": token})
    clients.join("page", f"device-{device['id']}")
    set_state(server, device, "on", token)
    assert clients.hear("page", "event")["event"] == "device-state-change"


def test_the_test_pages_with_default_options_begin_with_polling_and_move(server, clients, publish):
    sensor = server.add_sensor()
    clients.begin("page")
    assert clients.hear("page", "open")["transport"] == "polling"
    assert clients.hear("page", "upgrade")["transport"] == "websocket"
    clients.join("page", room(sensor))
    publish(sensor, 1)
    assert clients.value("page") == "1"


def test_a_busy_variable_comes_as_batches_with_the_latest_value(server, clients, publish):
    sensor = server.add_sensor()
    clients.connect("page", **TELEMETRY)
    clients.join("page", room(sensor))
    publish(sensor, range(1, 40))
    assert clients.value("page") == "1"
    batch = clients.hear("page", "event", event="datastream-batch")["data"]
    assert batch["telemetryDataId"] == sensor.variables["temperature"]
    assert (batch["count"], batch["min"], batch["max"]) == (38, 2, 39)
    assert batch["latest"]["value"] == clients.value("page") == "39"


# Transports


def test_a_client_that_only_polls_sees_everything_in_order(server, clients, publish):
    sensor = server.add_sensor()
    clients.connect("page", transports=["polling"])
    clients.join("page", room(sensor))
    publish(sensor, 1)
    assert clients.value("page") == "1"
    clients.do("binary", "page")
    clients.hear("page", "ping")
    clients.hear("page", "ping")
    publish(sensor, 2)
    assert clients.value("page") == "2"
    assert clients.silent("page", "disconnect")


def test_nothing_is_lost_or_reordered_while_clients_move_to_websocket(server, clients, publish):
    sensors = [server.add_sensor() for _ in range(4)]
    names = [f"client{number}" for number in range(6)]
    for name in names:
        clients.begin(name)
    for name in names:
        clients.hear(name, "connect")
        for sensor in sensors:
            clients.do("emit", name, "join", room(sensor))
        clients.do("ask", name, "join", room(sensors[0]))
    for name in names:
        clients.hear(name, "answer")
    for sensor in sensors:
        publish(sensor, sensor.id)
    for name in names:
        assert [clients.value(name) for _ in sensors] == [str(sensor.id) for sensor in sensors]


def test_two_tabs_hear_the_same(server, clients, publish):
    sensor = server.add_sensor()
    ids = {clients.connect(name, **TELEMETRY)["id"] for name in ("one", "two")}
    assert len(ids) == 2
    for name in ("one", "two"):
        clients.join(name, room(sensor))
    publish(sensor, 7)
    assert [clients.value(name) for name in ("one", "two")] == ["7", "7"]
    clients.do("disconnect", "one")
    assert clients.hear("one", "disconnect")["reason"] == "io client disconnect"
    publish(sensor, 8)
    assert clients.value("two") == "8"
    assert clients.silent("one", "event")


def test_the_server_pings_and_drops_who_does_not_answer(server, clients):
    clients.connect("page", **TELEMETRY)
    clients.hear("page", "ping")
    clients.do("deaf", "page")
    assert clients.hear("page", "disconnect")["reason"] == "transport close"
    clients.hear("page", "connect")


def test_the_client_of_python_hears_events_with_one_argument(server, publish):
    sensor, heard = server.add_sensor(), queue.Queue()
    client = socketio.Client(reconnection=False)
    client.on("new-datastream", lambda data: heard.put(data["dataStream"]["value"]))
    client.connect(f"http://127.0.0.1:{server.ports['http']}", transports=["polling"])
    try:
        assert client.call("join", room(sensor)) == {"rooms": [room(sensor)], "refused": []}
        publish(sensor, 1)
        assert heard.get(timeout=_WAIT) == "1"
        client.emit("binary", {"bytes": b"123"})
        assert client.call("leave", [room(sensor)]) == {"rooms": [room(sensor)]}
    finally:
        client.disconnect()


# Who may come in, and stay


def test_a_bad_token_is_refused(server, clients):
    clients.begin("page", **DASHBOARD, auth={"token": "forged"})
    error = clients.hear("page", "connect_error")
    assert (error["data"]["code"], error["active"]) == ("unauthenticated", False)


def test_an_unknown_namespace_is_refused(server, clients):
    clients.begin("page", "/admin", **TELEMETRY)
    assert clients.hear("page", "connect_error")["message"] == "Invalid namespace"


def test_rooms_of_others_are_refused(server, clients, publish):
    mine, theirs = server.add_sensor(), server.add_sensor(organization="south")
    clients.connect("stranger", **TELEMETRY)
    clients.connect("member", **DASHBOARD, auth={"token": server.sign_in("south")})
    for name, wanted, granted in (
        ("stranger", [room(mine), room(theirs)], [room(mine)]),
        ("member", [room(mine), room(theirs)], [room(theirs)]),
    ):
        clients.do("ask", name, "join", wanted)
        assert clients.hear(name, "answer")["answer"]["rooms"] == granted


def test_logout_ends_the_session_and_the_old_token_is_refused(server, clients):
    token = server.sign_in()
    clients.connect("page", **DASHBOARD, auth={"token": token})
    assert server.post("/api/v1/auth/logout", {}, token)[0] == 200
    assert clients.hear("page", "disconnect")["reason"] == "transport close"
    assert clients.hear("page", "connect_error")["active"] is False


# Coming back


def test_a_client_whose_network_was_cut_misses_nothing(server, clients, publish):
    sensor = server.add_sensor()
    before = clients.connect("page", **TELEMETRY, reconnectionDelay=700, randomizationFactor=0)
    clients.join("page", room(sensor))
    publish(sensor, 1)
    assert clients.value("page") == "1"
    clients.do("cut", "page")
    clients.hear("page", "disconnect")
    publish(sensor, 2)
    after = clients.hear("page", "connect")
    assert (after["recovered"], after["id"]) == (True, before["id"])
    assert clients.value("page") == "2"
    publish(sensor, 3)
    assert clients.value("page") == "3"


@pytest.mark.parametrize("options", [TELEMETRY, {"transports": ["polling"]}])
def test_clients_come_back_after_the_server_has_started_anew(server, clients, publish, options):
    sensor = server.add_sensor()
    clients.connect("page", **options, reconnectionDelay=800, reconnectionDelayMax=2000)
    clients.join("page", room(sensor))
    assert server.terminate() == 0
    # Not "io server disconnect": after that a client stays away.
    assert clients.hear("page", "disconnect")["reason"] in ("transport close", "transport error")
    server.start()
    assert clients.hear("page", "connect")["recovered"] is False
    clients.join("page", room(sensor))
    publish(sensor, 5)
    assert clients.value("page") == "5"


def test_a_client_with_a_newer_token_comes_back_when_the_old_one_expires(server, clients, publish):
    sensor = server.add_sensor()
    short, token = sign_in_for(server, 3), server.sign_in()
    before = clients.connect("page", **DASHBOARD, tokens=[short, token])
    clients.join("page", room(sensor))
    publish(sensor, 1)
    assert clients.value("page") == "1"
    assert clients.hear("page", "disconnect")["reason"] == "transport close"
    after = clients.hear("page", "connect")
    assert (after["recovered"], after["id"]) == (True, before["id"])
    publish(sensor, 2)
    assert clients.value("page") == "2"


# HTTP around it


def fetch(server: Server, method: str, path: str, **headers: str) -> tuple[Any, bytes]:
    """@return: the response, read, and its body."""
    connection = HTTPConnection("127.0.0.1", server.ports["http"], timeout=10)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        return response, response.read()


def test_pages_of_other_ports_may_use_it(server):
    path, origin = "/socket.io/?EIO=4&transport=polling", "http://localhost:5173"
    response, body = fetch(server, "GET", path, Origin=origin)
    assert response.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert json.loads(body[1:])["pingInterval"] == 400
    response, _ = fetch(
        server, "OPTIONS", path, Origin=origin, Access_Control_Request_Method="POST"
    )
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Methods"] == "GET,POST"


@pytest.mark.parametrize("form", ["", ".min", ".esm.min", ".msgpack.min"])
def test_the_client_library_is_where_pages_expect_it(server, form):
    if not SCRIPTS.is_dir():
        missing("the browser libraries are not installed (make web)")
    response, body = fetch(server, "GET", f"/socket.io/socket.io{form}.js")
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert body.startswith(b"/*!\n * Socket.IO v4.8")
    response, body = fetch(server, "GET", f"/socket.io/socket.io{form}.js.map")
    assert json.loads(body)["version"] == 3


@pytest.mark.parametrize("name", ["..%2f..%2fdocs.html", "socket.io.ts", "x/socket.io.js"])
def test_other_names_below_are_not_served(server, name):
    assert fetch(server, "GET", f"/socket.io/{name}")[0].status == 404


def test_the_health_page_and_the_figures_tell_about_it(server, clients):
    clients.connect("page", **TELEMETRY)
    fetch(server, "GET", "/socket.io/?EIO=4&transport=polling")
    figures = server.get("/api/v1/health")[1]["services"]["socketio"]
    assert figures["connections"] >= 2
    text = fetch(server, "GET", "/api/v1/metrics/prometheus")[1].decode()
    assert f"aemos_socketio_connections {figures['connections']}.0" in text
    assert f'notifications_sent_total{{protocol="socket"}} {figures["events"]}.0' in text
    assert 'route="/socket.io"' not in text  # as long polls would look like slow requests


def add_device(server: Server) -> dict[str, Any]:
    """Make an actuator with a state, in the first organization."""
    name = str(uuid.uuid4())

    def write(tx: Any) -> dict[str, Any]:
        area = tx.value("SELECT id FROM Area WHERE organizationId = %s", (1,))
        row = {"name": "Pump", "uuid": name, "status": "active", "deviceType": "actuator"}
        number = tx.insert("Device", row)
        tx.insert("AreaDevice", {"areaId": area, "deviceId": number})
        state = {"deviceId": number, "stateName": "power", "dataType": "string", "status": "active"}
        tx.insert("DeviceState", state)
        return {"id": number, "uuid": name}

    return server.sql(write)


def set_state(server: Server, device: dict[str, Any], value: str, token: str) -> None:
    body = {"deviceUuid": device["uuid"], "stateName": "power", "value": value}
    status, answer = server.post("/api/v1/device-state-instances", body, token)
    assert status == 201, answer


def sign_in_for(server: Server, seconds: int) -> str:
    """@return: a web token of the administrator of the first organization that ends so soon."""
    secret = (server.folder / "data" / "jwt-secret").read_text().strip()
    claims = jwt.decode(server.sign_in(), options={"verify_signature": False})
    claims["exp"] = int(time.time()) + seconds
    return jwt.encode(claims, secret, algorithm="HS256")
