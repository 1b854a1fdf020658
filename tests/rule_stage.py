"""The rules of a server over a real database, with two small farms and a way to send readings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aemos import json
from aemos.config.rules import Rules
from aemos.config.schema import Ingest
from aemos.messages.router import Router
from aemos.model import Instant, Kind, Message, Principal, PrincipalKind, Verdict
from aemos.services.catalogue import Catalogue
from aemos.services.events import DeviceStateChanged, Events, RuleRan
from aemos.services.ledger import Ledger
from aemos.services.rules.machinery import RuleMachinery
from aemos.services.telemetry import ReadingIngest
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Unit
from tests.rows import until

NORTH, SOUTH = 1, 2
SENSOR = {
    NORTH: "11111111-1111-4111-8111-111111111111",
    SOUTH: "22222222-2222-4222-8222-222222222222",
}
PUMP = {
    NORTH: "aaaaaaaa-1111-4111-8111-111111111111",
    SOUTH: "aaaaaaaa-2222-4222-8222-222222222222",
}
VARIABLES = ("t", "h")
"""Variables of every sensor; the id of one is ten times the organization plus its place."""

ROOT = Principal(PrincipalKind.USER, "root", 1, administrator=True)


def sow(tx: Transaction) -> None:
    """Two organizations with a sensor of the variables t and h, and a pump (on, off)."""
    for organization in (NORTH, SOUTH):
        tx.insert("Organization", {"id": organization, "name": "farm", "status": "active"})
        tx.insert("Area", {"id": organization, "name": "a", "organizationId": organization})
        tx.insert("Sensor", {"id": organization, "uuid": SENSOR[organization]})
        tx.insert("AreaSensor", {"areaId": organization, "sensorId": organization})
        for place, name in enumerate(VARIABLES):
            variable = {"id": 10 * organization + place, "variableName": name}
            tx.insert("TelemetryData", {**variable, "sensorId": organization, "datatype": "float"})
        device = {"id": organization, "uuid": PUMP[organization], "deviceType": "actuator"}
        tx.insert("Device", device)
        tx.insert("AreaDevice", {"areaId": organization, "deviceId": organization})
        for place, state in enumerate(("power", "valve")):
            row = {"id": 10 * organization + place, "deviceId": organization, "stateName": state}
            tx.insert("DeviceState", {**row, "allowedValues": ["on", "off"], "status": "active"})


def leaf(key: str, operator: str, value: object, **more: object) -> dict[str, Any]:
    """@return: a condition on the sensor of the north."""
    condition = {"sourceType": "sensor", "UUID": SENSOR[NORTH], "key": key}
    return {**condition, "operator": operator, "value": value, **more}


def all_of(*members: object) -> dict[str, Any]:
    return {"type": "AND", "expressions": list(members)}


def any_of(*members: object) -> dict[str, Any]:
    return {"type": "OR", "expressions": list(members)}


def of_pump(value: str, state: str = "power") -> dict[str, Any]:
    """@return: a condition on the pump of the north."""
    source = {"sourceType": "device", "UUID": PUMP[NORTH], "key": state}
    return {**source, "operator": "==", "value": value}


def set_pump(value: str, state: str = "power", organization: int = NORTH) -> dict[str, Any]:
    command = {"deviceUuid": PUMP[organization], "stateName": state, "value": value}
    return {"type": "DEVICE_COMMAND", "command": command}


@attrs.define
class RuleStage:
    """Rules as the server has them. `told` are the changes of states, `ran` the runs, in order."""

    database: Database
    events: Events
    rules: RuleMachinery
    router: Router
    told: list[DeviceStateChanged] = attrs.field(factory=list)
    ran: list[RuleRan] = attrs.field(factory=list)

    async def chain(self, *configs: Mapping[str, Any], **columns: Any) -> int:
        """Make a chain whose nodes follow each other. @return: its id."""
        chains = self.rules.chains
        row = {"name": "c", "organizationId": NORTH, **columns}
        owner = row["organizationId"]
        chain_id: int = (await chains.create(ROOT, row))["id"]
        following = None
        for number, config in reversed(list(enumerate(configs))):
            kind = "action" if "command" in config else "filter"
            node = {"ruleChainId": chain_id, "name": f"n{number}", "type": kind}
            row = {**node, "config": config, "nextNodeId": following}
            following = (await chains.create_node(ROOT, owner, row))["id"]
        return chain_id

    def send(self, *readings: Mapping[str, Any], organization: int = NORTH) -> Deferred[Verdict]:
        """Publish readings in one message. @return: fires after the commit."""
        payload = json.encode({"dataStreams": readings})
        now = Instant.of(reactor.seconds())
        sender = Principal(PrincipalKind.SENSOR, SENSOR[organization], organization)
        message = Message(Kind.DATASTREAM, sender, sender.name, payload, now, "mqtt")
        answered: Deferred[Verdict] = Deferred()
        self.router.handle(message, answered.callback)
        return answered

    async def publish(self, value: object, name: str = "t", **more: object) -> None:
        """Publish one reading of the sensor of the north, and wait for the commit."""
        verdict = await self.send({"value": value, "variableName": name, **more})
        assert verdict.accepted, verdict

    async def settled(self) -> None:
        """Wait until nothing is to be done, and all that was done is forgotten."""
        queue = self.rules.queue

        async def left() -> int:
            return len(await self.rows("SELECT id FROM rule_trigger"))

        written: Deferred[Any] = Deferred()
        self.database.writer.submit(Unit((), written.callback))
        await written
        await until(lambda: queue.pending == 0)
        while await left():
            await until(lambda: queue.pending == 0)

    async def rows(self, sql: str, *params: object) -> list[dict[str, Any]]:
        return await self.database.read(lambda tx: tx.all(sql, params))

    async def run(self, sql: str, *params: object) -> None:
        await self.database.transact(lambda tx: tx.execute(sql, params))

    async def pump(self, state: int = 10) -> Sequence[str]:
        """@return: all values that a state (default: power, of the north) has had, in order."""
        rows = await self.rows(
            "SELECT value FROM DeviceStateInstance WHERE deviceStateId = %s ORDER BY id", state
        )
        return [row["value"] for row in rows]


@asynccontextmanager
async def rule_stage(
    database: Database, settings: Rules | None = None, *, start: bool = True
) -> AsyncIterator[RuleStage]:
    """Wire the rooms as the server does. The rows of `sow` must be there."""
    events = Events()
    rules = RuleMachinery(database, events, reactor, settings or Rules())
    ingest = Ingest()
    catalogue = Catalogue(database, events, ingest, reactor)
    ledger = Ledger(database.writer, events, ingest)
    readings = ReadingIngest(catalogue, database.writer, events, ledger, ingest, rules.engine.watch)
    router = Router(
        {Kind.DATASTREAM: readings.handle}, ledger, {Kind.DATASTREAM: readings.handle_burst}
    )
    stage = RuleStage(database, events, rules, router)
    events.subscribe(DeviceStateChanged, stage.told.append)
    events.subscribe(RuleRan, stage.ran.append)
    if start:
        await rules.start()
    try:
        yield stage
    finally:
        await rules.stop()
