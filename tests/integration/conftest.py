"""A running server for the tests that do not harm it, one per module and kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.certificates import Authority
from tests.conftest import migrated
from tests.integration.device import Device
from tests.integration.server import Sensor, Server


@pytest.fixture(scope="module", params=["sqlite", "mysql"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A started server; each test makes its own sensors in it. Topics `free/#` are open to all.

    It listens in every way that clients of others can reach it.
    """
    folder = tmp_path_factory.mktemp("server")
    authority = Authority(folder)
    pair = authority.issue("server")
    with migrated(request, folder) as url:
        server = Server(
            folder,
            url,
            mqtt={
                "acl": {"rules": [{"allow": "both", "topic": "free/#"}]},
                "tls": {
                    "endpoint": "tcp:0:interface=127.0.0.1",
                    "websocket_endpoint": "tcp:0:interface=127.0.0.1",
                    "cert": pair.cert_path,
                    "key": pair.key_path,
                    "ca": authority.path,
                },
            },
        )
        server.authority = authority
        try:
            yield server.start()
        finally:
            server.close()


@pytest.fixture
def device(server: Server) -> Iterator[Callable[..., Device]]:
    """Signs clients in as sensors; those that are connected at the end of the test leave."""
    devices: list[Device] = []

    def sign_in(sensor: Sensor, **options: Any) -> Device:
        devices.append(Device.of(server, sensor, **options))
        return devices[-1]

    yield sign_in
    for each in devices:
        each.leave()
