"""`twistd -n aemos` as a process of its own, on a database of either kind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar

import attrs
import bcrypt

from aemos.config import schema
from aemos.model import Instant
from aemos.storage.location import dialect_of
from aemos.storage.transaction import Transaction, in_transaction
from tests.certificates import Authority

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"
_START = 30.0  # seconds
_STOP = 20.0


def until(condition: Callable[[], T], what: str, timeout: float = 15.0) -> T:
    """Ask again and again until the answer is true.

    @return: that answer.
    @raise AssertionError: it was not in time.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {timeout:g} s: {what}")
        time.sleep(0.01)
    return answer


@attrs.frozen
class Sensor:
    """A sensor with a token; `variables` are names with their ids."""

    id: int
    uuid: str
    token: str
    organization: int
    variables: Mapping[str, int]

    @property
    def datastream(self) -> str:
        """The topic of its readings."""
        return f"devices/{self.uuid}/datastream"


class Server:
    """One server, started as often as a test likes; its data stays until the folder goes."""

    def __init__(self, folder: Path, url: str, **sections: Mapping[str, Any] | float) -> None:
        """@param sections: of the configuration, or keys of none, over those that suit tests.

        A command in `wrapper` starts the process, `taskset` for example. `authority` is the one
        that its TLS listeners trust, for whoever gave it some.
        """
        self.folder, self.url = folder, url
        self.log_path = folder / "server.log"
        self.ports: dict[str, int] = {}
        self.authority: Authority | None = None
        self.wrapper: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "aemos.yaml"
        self._areas: dict[str, tuple[int, int]] = {}
        self._ports_path = folder / "data" / "ports.json"
        configuration: dict[str, Any] = {
            "data_dir": str(folder / "data"),
            "database": {"url": url, "retry_delay": 0.1},
            "http": {"host": "127.0.0.1", "port": 0, "rate_limit": False},
            "mqtt": {
                "host": "127.0.0.1",
                "port": 0,
                "websocket_endpoint": "tcp:0:interface=127.0.0.1",
            },
            "auth": {"bcrypt_cost": 4},
            "log": {"format": "text"},
        }
        for name, section in sections.items():
            if isinstance(section, Mapping):
                configuration.setdefault(name, {}).update(section)
            else:
                configuration[name] = section
        self._config.write_text(json.dumps(configuration))  # JSON is YAML, too
        self._dialect = dialect_of(schema.Settings(database=schema.Database(url=url)))

    # The process

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has written, of all its runs."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """What the process inherits: no setting of whoever runs the tests."""
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        inherited = {name: os.environ[name] for name in kept if name in os.environ}
        return {**inherited, "PYTHONPATH": str(ROOT)}

    def command(self, *options: str) -> list[str]:
        """@return: what starts the server."""
        twistd = str(Path(sys.executable).with_name("twistd"))
        config = ["--config", str(self._config)]
        return [
            *self.wrapper,
            sys.executable,
            twistd,
            "--pidfile=",
            "-n",
            "aemos",
            *config,
            *options,
        ]

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for anything."""
        self._ports_path.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._process

    def start(self) -> Server:
        """Start it, and wait until all its ports are open and it says that it is ready."""
        process = self.launch()
        until(
            lambda: self._ports_path.exists() or process.poll() is not None,
            f"the server started\n{self.log}",
            _START,
        )
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}\n{self.log}")
        self.ports = json.loads(self._ports_path.read_text())
        until(lambda: self.get("/api/v1/health/readiness")[0] == 200, "the server is ready")
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_STOP)

    def terminate(self) -> int:
        """Ask it to stop. @return: its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP)

    def close(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)
            if self._process.poll() is None:
                self.kill()
                raise AssertionError(f"the server did not stop\n{self.log[-4000:]}")

    # The database, seen from beside the server

    def sql(self, function: Callable[..., T], *args: Any) -> T:
        """@return: what `function(tx, *args)` returns, run in a transaction of its own."""
        with contextlib.closing(self._dialect.connect(writing=True)) as connection:
            return in_transaction(
                connection, self._dialect, Instant.of(time.time()), function, *args
            )

    def stored(self, sensor: Sensor) -> list[dict[str, Any]]:
        """@return: the readings of a sensor, in the order of their ids."""
        return self.sql(_stored, sensor.id)

    def add_sensor(self, *variables: str, organization: str = "north") -> Sensor:
        """Make a sensor with an active token in an organization, which is made when it is new."""
        return self.sql(self._add_sensor, variables or ("temperature",), organization)

    def _add_sensor(self, tx: Transaction, variables: tuple[str, ...], name: str) -> Sensor:
        organization, area = self._area(tx, name)
        sensor_uuid, token = str(uuid.uuid4()), secrets.token_hex(32)
        sensor_id = tx.insert(
            "Sensor", {"name": f"sensor {sensor_uuid[:8]}", "uuid": sensor_uuid, "status": "active"}
        )
        tx.insert("AreaSensor", {"areaId": area, "sensorId": sensor_id})
        tx.insert("DeviceToken", {"token": token, "sensorId": sensor_id, "status": "active"})
        ids = {
            variable: tx.insert(
                "TelemetryData",
                {"variableName": variable, "datatype": "float", "sensorId": sensor_id},
            )
            for variable in variables
        }
        return Sensor(sensor_id, sensor_uuid, token, organization, ids)

    def _area(self, tx: Transaction, name: str) -> tuple[int, int]:
        if name not in self._areas:
            organization = tx.insert("Organization", {"name": name, "status": "active"})
            area = tx.insert(
                "Area", {"name": name, "organizationId": organization, "status": "active"}
            )
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
            user = tx.insert(
                "User",
                {
                    "userName": name,
                    "email": f"{name}@example.org",
                    "password": hashed,
                    "status": True,
                },
            )
            role = tx.value("SELECT id FROM Role WHERE name = %s", ("Org Admin",))
            tx.insert(
                "OrganizationUser",
                {
                    "userId": user,
                    "organizationId": organization,
                    "role": role,
                    "status": "active",
                },
            )
            self._areas[name] = (organization, area)
        return self._areas[name]

    # HTTP

    def get(self, path: str, token: str = "") -> tuple[int, Any]:
        """@return: status and decoded body (None = empty)."""
        return self.request("GET", path, token=token)

    def post(self, path: str, body: object, token: str = "") -> tuple[int, Any]:
        """@param body: sent as JSON; bytes as they are. @return: as `get`."""
        return self.request("POST", path, body, token)

    def request(
        self, method: str, path: str, body: object = None, token: str = ""
    ) -> tuple[int, Any]:
        """@return: status and decoded body (None = empty)."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = body if isinstance(body, bytes) else None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = content or json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.ports["http"], timeout=15)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, content, headers)
                response = connection.getresponse()
                raw = response.read()
            except (HTTPException, OSError) as error:
                code = None if self._process is None else self._process.poll()
                error.add_note(f"{method} {path}; exit code {code}\n{self.log[-4000:]}")
                raise
        return response.status, json.loads(raw) if raw else None

    def sign_in(self, organization: str = "north") -> str:
        """@return: the web token of that organization's administrator."""
        status, body = self.post(
            "/api/v1/auth/login",
            {"email": f"{organization}@example.org", "password": PASSWORD},
        )
        assert status == 200, body
        token: str = body["data"]["token"]
        return token


def _stored(tx: Transaction, sensor_id: int) -> list[dict[str, Any]]:
    return tx.all(
        "SELECT d.* FROM DataStream d JOIN TelemetryData t ON t.id = d.telemetryDataId"
        " WHERE t.sensorId = %s ORDER BY d.id",
        (sensor_id,),
    )
