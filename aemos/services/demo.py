"""The demo farm: something to publish to, read from and look at on an empty server.

Its uuids, tokens and passwords are random, made once and kept in `demo-credentials.json` in the
data folder, which only its owner may read. The farm is made only in a database without
organizations and users, so a real one is never touched.
"""

from __future__ import annotations

import os
import secrets
import shlex
import uuid
from collections.abc import Mapping

import attrs
from twisted.logger import Logger

from aemos import json
from aemos.config.schema import Settings
from aemos.errors import ConfigurationError
from aemos.services.passwords import Passwords
from aemos.storage import demo_farm
from aemos.storage.database import Database
from aemos.storage.demo_farm import NewPump, NewSensor, NewUser
from aemos.storage.transaction import Transaction

ORGANIZATION, AREA = "Demo farm", "Greenhouse 1"

_ROLES = ("System Admin", "Org Admin", "Supervisor", "Viewer")
_SENSORS = {
    "Climate sensor": ("temperature", "humidity"),
    "Nutrient tank": ("ph", "ec", "water_level"),
}
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
_log = Logger()


@attrs.frozen
class SignIn:
    """A user of the demo farm and its password."""

    role: str
    email: str
    password: str


@attrs.frozen
class Credentials:
    """What is secret or random about the demo farm: the content of `demo-credentials.json`."""

    users: tuple[SignIn, ...]
    sensors: tuple[NewSensor, ...]
    pump: NewPump


@attrs.frozen
class Farm:
    """The demo farm as it is in the database. `variables`: sensor uuid -> name -> id."""

    organization_id: int
    credentials: Credentials
    variables: Mapping[str, Mapping[str, int]]


def credentials_path(settings: Settings) -> str:
    """@return: the file with the credentials of the demo farm."""
    return os.path.join(settings.data_dir, "demo-credentials.json")


def read_credentials(settings: Settings) -> Credentials | None:
    """@return: the credentials, None where no demo farm was made.

    @raise ConfigurationError: the file is there and cannot be understood.
    """
    path = credentials_path(settings)
    try:
        with open(path, "rb") as file:
            return json.decoder(Credentials)(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.MalformedJson, json.WrongShape) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def mqtt_address(settings: Settings) -> tuple[str, int]:
    """@return: host and port where a server with these settings takes MQTT on this machine.

    A running server leaves the ports it bound in `ports.json`; without that file, or where it was
    left by a server that is gone, the configured port is as good a guess as any.
    """
    try:
        with open(os.path.join(settings.data_dir, "ports.json"), "rb") as file:
            port = json.decode(file.read()).get("mqtt")
    except (OSError, json.MalformedJson, AttributeError):
        port = None
    return _reachable(settings.mqtt.host), port if isinstance(port, int) else settings.mqtt.port


async def create(settings: Settings, database: Database, passwords: Passwords) -> Farm | None:
    """Make the demo farm if the database is empty, or find the one that was made before.

    @return: None when the database holds something else.
    """
    credentials = read_credentials(settings)
    if credentials is not None:
        farm = await database.read(_find, credentials)
        if farm is not None:
            return farm
    if not await database.read(demo_farm.is_empty):
        _log.warn("there is no demo farm: the database is not empty")
        return None
    if credentials is None:
        credentials = _new_credentials()
        # Before the rows: whoever stops in between has credentials to start again with.
        _write(credentials_path(settings), credentials)
    users = [
        NewUser(user.role, user.email, await passwords.hash(user.password))
        for user in credentials.users
    ]
    return await database.transact(_create, credentials, users)


def with_open_telemetry(settings: Settings, farm: Farm) -> Settings:
    """@return: settings under which the farm's telemetry may be watched without signing in.

    Existing pages need it; an operator's own choice of `realtime.anonymous` stays.
    """
    if settings.realtime.anonymous:
        return settings
    realtime = attrs.evolve(settings.realtime, anonymous=(str(farm.organization_id),))
    return attrs.evolve(settings, realtime=realtime)


def banner(settings: Settings, farm: Farm, ports: Mapping[str, int]) -> str:
    """What an operator needs to try the farm out, ready to paste into a shell.

    @param ports: those bound: `http`, `mqtt` and `mqtt_websocket`, as far as they are.
    """
    web, broker = _reachable(settings.http.host), _reachable(settings.mqtt.host)
    sensor, user = farm.credentials.sensors[0], farm.credentials.users[1]
    lines = ["", "aemos is running with a demo farm.", ""]
    if "http" in ports:
        lines.append(f"  console    http://{web}:{ports['http']}/")
        lines.append(f"  guides     http://{web}:{ports['http']}/docs")
        lines.append(f"  REST       http://{web}:{ports['http']}/api/v1")
        lines.append(f"  live       ws://{web}:{ports['http']}/ws/v1")
    if "mqtt" in ports:
        lines.append(f"  MQTT       mqtt://{broker}:{ports['mqtt']}")
    if "mqtt_websocket" in ports:
        lines.append(f"  MQTT       ws://{broker}:{ports['mqtt_websocket']}")
    lines += [
        f"  sign in    {user.email}  password {user.password}",
        f"  sensor     {sensor.uuid}  ({sensor.name}: {', '.join(sensor.variables)})",
        f"  its token  {sensor.token}",
        f"  all users and tokens are in {credentials_path(settings)}",
    ]
    if "mqtt" in ports:
        lines += _mqtt_examples(sensor, broker, ports["mqtt"])
    if "http" in ports:
        lines += _http_examples(farm, f"http://{web}:{ports['http']}/api/v1")
    lines += ["", "Readings all the time: make demo, or aemos simulate", ""]
    return "\n".join(lines)


def _mqtt_examples(sensor: NewSensor, host: str, port: int) -> list[str]:
    topic, reading = f"devices/{sensor.uuid}/datastream", _reading(sensor)
    to_server = ["-h", host, "-p", str(port), "-u", sensor.uuid, "-P", sensor.token, "-q", "1"]
    python = (
        "import paho.mqtt.publish as p; "
        f"p.single({_quoted(topic)}, {_quoted(reading)}, qos=1, hostname={_quoted(host)}, "
        f"port={port}, "
        f'auth={{"username": {_quoted(sensor.uuid)}, "password": {_quoted(sensor.token)}}}); '
        'print("stored")'
    )
    return [
        *_example(
            "Publish a reading; mosquitto_pub returns when it is stored:",
            ["mosquitto_pub", *to_server, "-t", topic, "-m", reading],
        ),
        *_example("The same with Python (pip install paho-mqtt):", ["python3", "-c", python]),
        *_example(
            "Watch what the sensor publishes:",
            ["mosquitto_sub", *to_server, "-t", f"devices/{sensor.uuid}/#", "-v"],
        ),
    ]


def _http_examples(farm: Farm, api: str) -> list[str]:
    sensor, user = farm.credentials.sensors[0], farm.credentials.users[1]
    curl = ["curl", "-s", "-H", "Content-Type: application/json"]
    bearer = ["-H", f"Authorization: Bearer {sensor.token}"]
    sign_in = json.encode({"email": user.email, "password": user.password}).decode()
    login = shlex.join([*curl, "-d", sign_in, f"{api}/auth/login"])
    found = r"""sed 's/.*"token":"\([^"]*\)".*/\1/'"""
    variable, variable_id = next(iter(farm.variables[sensor.uuid].items()))
    return [
        *_example(
            "Publish a reading over HTTP:",
            [*curl, *bearer, "-d", _reading(sensor), f"{api}/datastreams/token"],
        ),
        "",
        f"Read the {variable} back, signed in as {user.role}:",
        f'  curl -s -H "Authorization: Bearer $({login} | {found})" '
        f"{api}/datastreams/telemetry/{variable_id}",
    ]


def _reading(sensor: NewSensor) -> str:
    return json.encode({"variableName": sensor.variables[0], "value": 21.5}).decode()


def _example(title: str, command: list[str]) -> list[str]:
    return ["", title, "  " + shlex.join(command)]


def _quoted(text: str) -> str:
    """A string that Python reads, in double quotes: the shell has the single ones."""
    return json.encode(text).decode()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in _EVERYWHERE else host


def _find(tx: Transaction, credentials: Credentials) -> Farm | None:
    organization_id = demo_farm.organization_of(tx, credentials.sensors[0].uuid)
    if organization_id is None:
        return None
    variables = {
        sensor.uuid: demo_farm.variables_of(tx, sensor.uuid) for sensor in credentials.sensors
    }
    return Farm(organization_id, credentials, variables)


def _create(tx: Transaction, credentials: Credentials, users: list[NewUser]) -> Farm | None:
    demo_farm.create(tx, ORGANIZATION, AREA, users, credentials.sensors, credentials.pump)
    return _find(tx, credentials)


def _new_credentials() -> Credentials:
    return Credentials(
        users=tuple(
            SignIn(
                role,
                f"{role.lower().replace(' ', '-')}@demo.aemos.example",
                secrets.token_urlsafe(12),
            )
            for role in _ROLES
        ),
        sensors=tuple(
            NewSensor(name, str(uuid.uuid4()), secrets.token_hex(32), variables)
            for name, variables in _SENSORS.items()
        ),
        pump=NewPump("Pump", str(uuid.uuid4()), "power"),
    )


def _write(path: str, credentials: Credentials) -> None:
    """Write the file as a whole or not at all, for its owner only."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        draft = f"{path}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(json.encode(credentials))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
