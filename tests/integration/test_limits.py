"""The server defends itself against real clients, and survives running out of sockets."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.device import NOT_AUTHORIZED, Device
from tests.integration.server import PASSWORD, Server, until

ADMIN = "root@example.org"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make_server(*wrapper: str, **mqtt: Any) -> Server:
        url = f"sqlite:///{tmp_path / 'aemos.sqlite'}"
        admin = {"admin_email": ADMIN, "admin_password": PASSWORD}
        server = Server(tmp_path, url, mqtt=mqtt, auth=admin)
        server.wrapper = list(wrapper)
        servers.append(server)
        return server

    yield make_server
    for each in servers:
        each.close()


def signed_in(server: Server) -> str:
    """@return: the web token of the administrator."""
    credentials = {"email": ADMIN, "password": PASSWORD}
    status, body = server.request("POST", "/api/v1/auth/login", credentials)
    assert status == 200, body
    token: str = body["data"]["token"]
    return token


def attempt(server: Server, name: str, password: str) -> int:
    """@return: what paho makes of the answer to one CONNECT."""
    client = Device(server, name, password)
    code = client.connect()
    client.leave()
    return code


def test_a_user_connects_with_the_password_and_hears_how_the_server_is(
    make: Callable[..., Server],
) -> None:
    server = make(sys_interval=0.2).start()
    token = signed_in(server)
    assert attempt(server, ADMIN, "wrong") == NOT_AUTHORIZED
    for secret in (PASSWORD, token):
        client = Device(server, ADMIN, secret)
        assert client.connect() == 0
        assert client.subscribe("$SYS/broker/uptime") == 1
        assert client.hear().payload.endswith(b" seconds")
        client.leave()
    status, body = server.request("GET", "/api/v1/mqtt/clients?connected=false", None, token)
    assert status == 200
    assert {client["disconnectReason"] for client in body["data"]["clients"]} == {"disconnect"}


def test_an_address_that_guesses_is_banned_until_the_ban_is_lifted(
    make: Callable[..., Server],
) -> None:
    server = make(max_failed_logins=3, refusal_time=0, trusted_networks=[]).start()
    sensor = server.add_sensor()
    token = signed_in(server)
    for guess in range(3):
        assert attempt(server, sensor.uuid, f"{guess}" * 64) == NOT_AUTHORIZED
    with socket.create_connection(("127.0.0.1", server.ports["mqtt"]), timeout=10) as client:
        assert client.recv(1) == b""
    status, body = server.request("GET", "/api/v1/mqtt/bans", None, token)
    (ban,) = body["data"]["bans"]
    assert (status, ban["kind"], ban["name"]) == (200, "address", "127.0.0.1")
    assert server.request("DELETE", f"/api/v1/mqtt/bans/{ban['id']}", None, token)[0] == 204
    assert attempt(server, sensor.uuid, sensor.token) == 0


def test_out_of_sockets_the_server_turns_clients_away_and_goes_on(
    make: Callable[..., Server],
) -> None:
    # 40 to start with, raised by the server to what it is allowed: 100.
    server = make("prlimit", "--nofile=40:100").start()
    sensor = server.add_sensor()
    first = Device.of(server, sensor)
    where = ("127.0.0.1", server.ports["mqtt"])
    crowd = [socket.create_connection(where, timeout=10) for _ in range(150)]
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["100", "100"]
    turned_away = until(lambda: closed if (closed := _closed(crowd)) >= 50 else 0, "some must go")
    variable = sensor.variables["temperature"]
    first.publish(sensor.datastream, {"value": 1, "telemetryDataId": variable})
    assert turned_away <= _closed(crowd) < 110
    for client in crowd:
        client.close()
    until(lambda: attempt(server, sensor.uuid, sensor.token) == 0, "a client comes in again")
    assert len(server.stored(sensor)) == 1
    first.leave()


def _closed(clients: Sequence[socket.socket]) -> int:
    """@return: how many were closed by the server, which says nothing to who says nothing."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    return len(poll.poll(0))
