"""What cannot start says why in one line, and its exit code is not 0."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server import Server


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make_server(url: str = "", **sections: Any) -> Server:
        servers.append(Server(tmp_path, url or f"sqlite:///{tmp_path / 'a.sqlite'}", **sections))
        return servers[-1]

    yield make_server
    for each in servers:
        each.close()


def failure(server: Server) -> str:
    """Start it. @return: the one line about why it did not."""
    code = server.launch().wait(30)
    log = server.log
    assert code not in (0, None), log
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if "cannot start" in line or "aemos:" in line]
    assert len(lines) == 1, log
    return lines[0]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("door", ["http", "mqtt"])
def test_a_port_in_use_is_named(make, taken, door):
    assert str(taken) in failure(make(**{door: {"port": taken}}))


def test_the_port_of_mqtt_over_websocket_in_use_is_named(make, taken):
    endpoint = f"tcp:{taken}:interface=127.0.0.1"
    assert str(taken) in failure(make(mqtt={"websocket_endpoint": endpoint}))


def test_an_unreachable_database_is_named_without_its_password(make):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        line = failure(make(f"mysql://aemos:sesame@127.0.0.1:{port}/aemos"))
    assert "database" in line
    assert "sesame" not in line


def test_a_database_file_that_cannot_be_opened_is_an_error(make, tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"This is not a database, but a letter to one. " * 50)
    assert "database" in failure(make())


def test_a_wrong_password_of_the_database_is_an_error(make, mariadb):
    url = f"mysql://aemos:sesame@127.0.0.1:{mariadb.port}/nothing"
    assert "sesame" not in failure(make(url))


def test_a_wrong_key_is_named_with_its_line(make, tmp_path):
    server = make()
    path = tmp_path / "aemos.yaml"
    path.write_text("mqtt:\n  port: 0\n  prot: 1883\n")
    line = failure(server)
    assert "prot" in line
    assert "3" in line
    assert str(path) in line or "aemos.yaml" in line


def test_yaml_that_cannot_be_read_is_an_error(make, tmp_path):
    server = make()
    (tmp_path / "aemos.yaml").write_text("mqtt: [\n")
    assert "aemos.yaml" in failure(server)


def test_a_second_server_on_the_same_ports_leaves_the_first_alone(make, tmp_path):
    first = make().start()
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    second = Server(
        second_folder,
        f"sqlite:///{second_folder / 'b.sqlite'}",
        mqtt={"port": first.ports["mqtt"]},
    )
    try:
        assert str(first.ports["mqtt"]) in failure(second)
    finally:
        second.close()
    assert first.get("/api/v1/health/readiness")[0] == 200
    assert first.terminate() == 0
    assert first.log.rstrip().endswith("aemos has stopped")
    assert "has stopped" not in second.log


def test_a_file_that_cannot_be_written_is_named(make, tmp_path):
    (tmp_path / "data" / "ports.json.new").mkdir(parents=True)
    assert "ports.json cannot be written: Is a directory" in failure(make())


def test_a_stop_while_it_starts_is_no_fault(make):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        server = make(f"mysql://aemos:sesame@127.0.0.1:{silent.getsockname()[1]}/aemos")
        server.launch()
        connection, _ = silent.accept()
        with connection:
            assert server.terminate() == 0
    assert "stopped before everything was started" in server.log
    assert "Traceback" not in server.log


def test_check_config_shows_no_secret(make, tmp_path):
    server = make()
    config = json.loads((tmp_path / "aemos.yaml").read_text())
    config["auth"]["jwt_secret"] = "a secret of more than thirty-two characters"
    (tmp_path / "aemos.yaml").write_text(json.dumps(config))
    shown = subprocess.run(
        server.command("--check-config"), env=server.environment, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "bcrypt_cost" in shown.stdout
    assert "thirty-two" not in shown.stdout
