"""Presence and live events of a running server, over a restart of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.integration.device import Device
from tests.integration.server import Server, until

# Whenever its loop starts again, paho drops the two sockets that woke the last one.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that is impatient with devices."""
    patience = {"grace": 0.5, "settle": 3.0}
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'aemos.sqlite'}", presence=patience)
    try:
        yield server.start()
    finally:
        server.close()


@contextlib.contextmanager
def stream(server: Server, token: str, query: str) -> Iterator[HTTPResponse]:
    """A stream of Server-Sent Events."""
    connection = HTTPConnection("127.0.0.1", server.ports["http"], timeout=15)
    headers = {"Authorization": f"Bearer {token}"}
    with contextlib.closing(connection):
        connection.request("GET", f"/api/v1/events?{query}", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield response


def event(response: HTTPResponse) -> dict[str, Any]:
    """@return: the data of the next event."""
    while not (line := response.readline()).startswith(b"data: "):
        assert line, "the stream has ended"
    data: dict[str, Any] = json.loads(line[6:])
    return data


def test_a_restart_changes_the_presence_of_those_only_who_do_not_come_back(server: Server) -> None:
    stays, leaves = server.add_sensor(), server.add_sensor()
    token = server.sign_in()
    clients = [Device.of(server, sensor) for sensor in (stays, leaves)]
    since = {}
    for sensor, client in zip((stays, leaves), clients, strict=True):
        client.subscribe(f"devices/{sensor.uuid}/presence")
        told = client.hear_json()
        assert (told["presence"], told["deviceUuid"]) == ("online", sensor.uuid)
        since[sensor.uuid] = told["since"]

    query = f"rooms=organization-{stays.organization}&events=presence"
    with stream(server, token, query) as response:
        last = event(response)
        assert last["type"] == "subscribed"
        assert server.terminate() == 0
        assert event(response)["code"] == "going_away"
        assert response.read().strip() == b""
    for client in clients:
        client.wait_until_lost()
        client.cut()

    server.start()
    with stream(server, token, f"{query}&after={'0' * 14}") as response:
        assert [event(response)["type"], event(response)["type"]] == ["subscribed", "gap"]
        back = Device.of(server, stays)
        back.subscribe(f"devices/{stays.uuid}/presence")
        assert back.hear_json()["since"] == since[stays.uuid]
        change = event(response)["data"]
        assert (change["deviceUuid"], change["before"], change["presence"]) == (
            leaves.uuid,
            "online",
            "offline",
        )
    assert back.silent()
    status, body = server.get("/api/v1/presence", token)
    assert status == 200
    [counts] = body["data"]["organizations"]
    assert (counts["online"], counts["offline"]) == (1, 1)
    back.leave()
    until(
        lambda: (
            server.get("/api/v1/presence", token)[1]["data"]["organizations"][0]["offline"] == 2
        ),
        "gone for the grace",
    )
