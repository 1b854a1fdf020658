"""The Socket.IO client library in a real browser, on a page of another origin, as the dashboard."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from playwright.sync_api import Page

from tests.integration.device import Device
from tests.integration.server import Sensor, Server, until

_PAGE = """
<!doctype html>
<script src="http://127.0.0.1:%d/socket.io/socket.io.min.js"></script>
<script>
  const told = [];
  function open(options) {
    const more = { reconnectionDelay: 100, reconnectionDelayMax: 300 };
    if (options.tokens) more.auth = (answer) => answer({ token: options.tokens.shift() });
    window.client = io("http://127.0.0.1:%d", { ...options, ...more });
    client.on("connect", () => told.push(["connect", client.recovered]));
    client.on("disconnect", (reason) => told.push(["disconnect", reason]));
    client.onAny((name, data) => told.push([name, data]));
  }
</script>
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that comes back at the port that it had."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Server(folder, f"sqlite:///{folder / 'aemos.sqlite'}", http={"port": port})
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def dashboard(server: Server) -> Iterator[str]:
    """Serves the page from a port of its own. @return: its address."""
    body = (_PAGE % (server.ports["http"], server.ports["http"])).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{pages.server_port}/"
        pages.shutdown()
        thread.join()


class Client:
    """The client in a page; `hear` gives what happened to it, one thing after the other."""

    def __init__(self, page: Page, **options: Any) -> None:
        self._page, self._heard = page, 0
        page.evaluate("options => open(options)", options)

    def hear(self, name: str) -> Any:
        """Wait for the next thing of that name, passing over others."""

        def found() -> list[Any] | None:
            for each in self._page.evaluate("from => told.slice(from)", self._heard):
                self._heard += 1
                if each[0] == name:
                    return [each[1]]
            return None

        (data,) = until(found, f"{name} in {self._page.evaluate('told')}") or [None]
        return data

    def value(self) -> str:
        text: str = self.hear("new-datastream")["dataStream"]["value"]
        return text

    def join(self, *rooms: str) -> None:
        joined = self._page.evaluate("rooms => client.emitWithAck('join', rooms)", list(rooms))
        assert joined["rooms"] == list(rooms)

    def run(self, script: str) -> None:
        self._page.evaluate(script)


@pytest.mark.parametrize("transports", [["websocket", "polling"], ["polling"]])
def test_a_page_sees_live_values_and_comes_back_whatever_happens(
    server, dashboard, chromium, transports
):
    sensor, device = server.add_sensor(), add_device(server)
    room, token = f"telemetry-{sensor.variables['temperature']}", server.sign_in()
    tokens = [ending_soon(server, token), token, token, token, token, token]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(dashboard)
    client = Client(page, transports=transports, tokens=tokens)
    assert client.hear("connect") is False
    client.join(room, f"device-uuid-{device}")
    publish(server, sensor, 1)
    assert client.value() == "1"
    body = {"deviceUuid": device, "stateName": "power", "value": "on"}
    assert server.post("/api/v1/device-state-instances", body, token)[0] == 201
    assert client.hear("device-state-change")["metadata"]["newValue"] == "on"

    client.hear("disconnect")  # the token has expired; the next one is good
    assert client.hear("connect") is True
    publish(server, sensor, 2)
    assert client.value() == "2"

    context.set_offline(True)
    client.run("client.io.engine.close()")
    client.hear("disconnect")
    publish(server, sensor, 3)
    context.set_offline(False)
    assert client.hear("connect") is True
    value = client.value()
    if value == "2":  # it was heard before the server knew that
        value = client.value()
    assert value == "3"

    assert server.terminate() == 0
    client.hear("disconnect")
    server.start()
    assert client.hear("connect") is False
    client.join(room)
    publish(server, sensor, 4)
    assert client.value() == "4"
    context.close()


def publish(server: Server, sensor: Sensor, value: object) -> None:
    device = Device.of(server, sensor)
    device.publish(sensor.datastream, {"value": value, "variableName": "temperature"})
    device.leave()


def add_device(server: Server) -> str:
    """Make an actuator with a state beside the sensors. @return: its uuid."""
    name = str(uuid.uuid4())

    def write(tx: Any) -> None:
        row = {"name": "Pump", "uuid": name, "status": "active", "deviceType": "actuator"}
        number = tx.insert("Device", row)
        area = tx.value("SELECT id FROM Area WHERE name = %s", ("north",))
        tx.insert("AreaDevice", {"areaId": area, "deviceId": number})
        state = {"deviceId": number, "stateName": "power", "dataType": "string", "status": "active"}
        tx.insert("DeviceState", state)

    server.sql(write)
    return name


def ending_soon(server: Server, token: str) -> str:
    """@return: the same web token, ending in some seconds."""
    secret = (server.folder / "data" / "jwt-secret").read_text().strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["exp"] = int(time.time()) + 5
    return jwt.encode(claims, secret, algorithm="HS256")
