"""Two organizations on a real database behind a real HTTP port, for the tests of routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from aemos import json
from aemos.config import schema
from aemos.config.schema import Http, Ingest
from aemos.errors import Unauthenticated
from aemos.http.adapter import Intake
from aemos.http.auth import Authenticator
from aemos.http.bulk import BulkIntake
from aemos.http.endpoint import Api
from aemos.http.routes.areas import AreaRoutes
from aemos.http.routes.broadcasts import BroadcastRoutes
from aemos.http.routes.commands import CommandRoutes
from aemos.http.routes.datastreams import DataStreamRoutes
from aemos.http.routes.device_state_instances import DeviceStateInstanceRoutes
from aemos.http.routes.device_states import DeviceStateRoutes
from aemos.http.routes.device_tokens import DeviceTokenRoutes
from aemos.http.routes.devices import DeviceRoutes
from aemos.http.routes.mqtt import MqttRoutes
from aemos.http.routes.queries import HistoryRoutes, LatestRoutes
from aemos.http.routes.retention import RetentionRoutes
from aemos.http.routes.sensors import SensorRoutes
from aemos.http.routes.telemetry import TelemetryRoutes
from aemos.http.routing import Group
from aemos.http.site import build_site
from aemos.messages.router import Router
from aemos.model import Instant, Kind, Principal, PrincipalKind
from aemos.mqtt.administration import Administration
from aemos.services.areas import Areas
from aemos.services.broadcasts import Broadcasts
from aemos.services.catalogue import Catalogue
from aemos.services.commands import Commands
from aemos.services.device_states import DeviceStates
from aemos.services.devices import Devices
from aemos.services.events import (
    DeviceStateChanged,
    Events,
    IdentityChanged,
    ReadingChanged,
    ReadingDeleted,
    ReadingsCommitted,
)
from aemos.services.history import History
from aemos.services.ledger import Ledger
from aemos.services.mqtt_clients import MqttClients
from aemos.services.queries import Queries
from aemos.services.retention import Policies
from aemos.services.sensors import Sensors
from aemos.services.state_changes import StateChanges
from aemos.services.telemetry import ReadingIngest
from aemos.services.token_use import TokenUse
from aemos.services.tokens import DeviceTokens
from aemos.services.variables import Variables
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from tests.mqtt_stage import Stage

NORTH, SOUTH = 1, 2
"""Organization ids."""

_VIEW = frozenset({"area.view", "sensor.view", "device.view"})
_ADMIN = _VIEW | {
    f"{resource}.{action}"
    for resource in ("area", "sensor", "device")
    for action in ("create", "update", "delete")
}

USERS: Mapping[str, Principal] = {
    "root": Principal(PrincipalKind.USER, "root@x.example", 1, {NORTH: _ADMIN}, administrator=True),
    "north-admin": Principal(PrincipalKind.USER, "na@x.example", 2, {NORTH: _ADMIN}),
    "south-admin": Principal(PrincipalKind.USER, "sa@x.example", 3, {SOUTH: _ADMIN}),
    "north-viewer": Principal(PrincipalKind.USER, "nv@x.example", 4, {NORTH: _VIEW}),
    # Rights in one organization must not open the other.
    "mixed": Principal(PrincipalKind.USER, "mx@x.example", 5, {NORTH: _VIEW, SOUTH: _ADMIN}),
    "member": Principal(PrincipalKind.USER, "mb@x.example", 6, {NORTH: frozenset()}),
    "nobody": Principal(PrincipalKind.USER, "no@x.example", 7),
}

UUIDS = {
    NORTH: "11111111-1111-4111-8111-111111111111",
    SOUTH: "22222222-2222-4222-8222-222222222222",
}
PUMPS = {
    NORTH: "aaaaaaaa-1111-4111-8111-111111111111",
    SOUTH: "aaaaaaaa-2222-4222-8222-222222222222",
}
"""The uuids of a device in each organization: its state `power` is `off` (of on, off)."""
TOKENS = {NORTH: "a1" * 32, SOUTH: "b2" * 32}


class _Users:
    """Takes a user's name in `USERS` for a JSON web token."""

    async def principal_for_token(self, token: str) -> Principal:
        if token not in USERS:
            raise Unauthenticated("Invalid token")
        return USERS[token]


@attrs.frozen
class Reply:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]


@attrs.define
class Farm:
    """The server under test; ids of rows are equal to the id of the organization that owns them."""

    database: Database
    events: Events
    token_use: TokenUse
    catalogue: Catalogue
    groups: Sequence[Group]
    url: str
    client: HTTPClient
    mqtt: Stage
    clients: MqttClients
    happened: list[object] = attrs.field(factory=list)

    async def call(
        self, method: str, path: str, who: str | None = None, body: object = None, **headers: str
    ) -> Reply:
        """@param who: a name in `USERS` or a device token. @param body: sent as JSON."""
        content = None
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            content = body if isinstance(body, bytes) else json.encode(body)
        reply = await self.raw(method, path, who, content, **headers)
        return attrs.evolve(reply, body=json.decode(reply.body) if reply.body else None)

    async def raw(
        self, method: str, path: str, who: str | None, content: bytes | None = None, **headers: str
    ) -> Reply:
        """@return: the answer with its body as bytes."""
        if who is not None:
            headers["Authorization"] = f"Bearer {who}"
        target = self.url + (path if path.startswith("/api") else f"/api/v1{path}")
        response = await self.client.request(method, target, headers=headers, data=content)
        answered = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(response.code, answered, await response.content())

    async def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        """Ask the database directly."""
        return await self.database.read(lambda tx: tx.all(sql, params))

    async def run(self, sql: str, *params: Any) -> None:
        """Change the database directly."""
        await self.database.transact(lambda tx: tx.execute(sql, params))

    def changed(self) -> list[str]:
        """@return: the uuids told by `IdentityChanged` since the last question."""
        uuids = [event.uuid for event in self.happened if isinstance(event, IdentityChanged)]
        self.happened.clear()
        return uuids


def sow(tx: Transaction) -> None:
    """Add the two organizations with all that is theirs."""
    for organization in (NORTH, SOUTH):
        name = "north" if organization == NORTH else "south"
        tx.insert("Organization", {"id": organization, "name": name, "status": "active"})
        tx.insert(
            "Area",
            {
                "id": organization,
                "name": f"{name} field",
                "organizationId": organization,
                "uuid": UUIDS[organization],
                "status": "active",
            },
        )
        tx.insert(
            "Sensor",
            {
                "id": organization,
                "name": f"{name} sensor",
                "uuid": UUIDS[organization],
                "status": "active",
            },
        )
        tx.insert("AreaSensor", {"areaId": organization, "sensorId": organization})
        tx.insert(
            "TelemetryData",
            {
                "id": organization,
                "variableName": "temperature",
                "datatype": "float",
                "sensorId": organization,
            },
        )
        tx.insert(
            "DeviceToken",
            {
                "id": organization,
                "token": TOKENS[organization],
                "sensorId": organization,
                "status": "active",
            },
        )
        _sow_pump(tx, organization, f"{name} pump")
        tx.insert(
            "retention_policy",
            {
                "id": organization,
                "organization_id": organization,
                "raw_days": 365,
                "created_at": tx.now,
                "updated_at": tx.now,
            },
        )


def _sow_pump(tx: Transaction, organization: int, name: str) -> None:
    tx.insert(
        "Device",
        {
            "id": organization,
            "name": name,
            "uuid": PUMPS[organization],
            "status": "active",
            "deviceType": "actuator",
            "isCritical": False,
        },
    )
    tx.insert("AreaDevice", {"areaId": organization, "deviceId": organization})
    tx.insert(
        "DeviceState",
        {
            "id": organization,
            "deviceId": organization,
            "stateName": "power",
            "dataType": "string",
            "defaultValue": "off",
            "allowedValues": ["on", "off"],
            "status": "active",
            "createdAt": tx.now,
        },
    )
    tx.insert(
        "DeviceStateInstance",
        {
            "id": organization,
            "deviceStateId": organization,
            "value": "off",
            "fromTimestamp": Instant(tx.now - 1000),
            "initiatedBy": "system",
        },
    )


async def open_farm(database: Database, settings: Http | None = None) -> tuple[Farm, Any]:
    """Sow the rows, wire the rooms as the server does, open a port.

    @return: the farm, and an async function that closes it.
    """
    settings = settings or Http(rate_limit=False)
    await database.transact(sow)
    events, ingest = Events(), Ingest()
    catalogue = Catalogue(database, events, ingest, reactor)
    ledger = Ledger(database.writer, events, ingest)
    readings = ReadingIngest(catalogue, database.writer, events, ledger, ingest)
    router = Router(
        {Kind.DATASTREAM: readings.handle}, ledger, {Kind.DATASTREAM: readings.handle_burst}
    )
    token_use = TokenUse(database, reactor)
    authenticator = Authenticator(_Users(), catalogue, reactor, token_use.used)
    tokens = DeviceTokens(database, events, reactor)
    changes = StateChanges(database, events)
    history, queries = History(database, events), Queries(database)
    stage = Stage(events=events)
    clients = MqttClients(database, events, reactor, Administration(stage.broker), limit=4)
    commands = Commands(database, events, schema.Commands(), reactor)
    commands.publisher = stage.broker
    groups: list[Group] = [
        AreaRoutes(Areas(database, events)),
        SensorRoutes(Sensors(database, events)),
        TelemetryRoutes(Variables(database, events)),
        DeviceTokenRoutes(tokens, authenticator),
        DeviceRoutes(Devices(database, events), changes, tokens),
        DeviceStateRoutes(DeviceStates(database, events)),
        DeviceStateInstanceRoutes(changes),
        CommandRoutes(commands),
        BroadcastRoutes(Broadcasts(database, events, stage.broker, stage.clock, 5.0)),
        DataStreamRoutes(
            Intake(router, ledger, database.writer, reactor, settings.store_timeout),
            history,
        ),
        HistoryRoutes(queries, BulkIntake(router, history, database.writer, reactor)),
        LatestRoutes(queries),
        MqttRoutes(clients),
        RetentionRoutes(Policies(database)),
    ]
    site = build_site(Api(groups, authenticator), settings, reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    pool = HTTPConnectionPool(reactor, persistent=False)
    farm = Farm(
        database=database,
        events=events,
        token_use=token_use,
        catalogue=catalogue,
        groups=groups,
        url=f"http://127.0.0.1:{port.getHost().port}",
        client=HTTPClient(Agent(reactor, pool=pool)),
        mqtt=stage,
        clients=clients,
    )
    for event in (
        DeviceStateChanged,
        IdentityChanged,
        ReadingChanged,
        ReadingDeleted,
    ):
        events.subscribe(event, farm.happened.append)
    events.subscribe(ReadingsCommitted, lambda event: farm.happened.extend(event.messages))

    async def close() -> None:
        commands.stop()
        await clients.stop()
        await token_use.stop()
        await port.stopListening()
        await site.drain()
        await pool.closeCachedConnections()

    return farm, close
