"""A farm whose pump takes commands over MQTT: real services and database, all on one clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from aemos import json
from aemos.config import schema
from aemos.messages.router import Router
from aemos.model import Instant, Kind, Principal, PrincipalKind
from aemos.mqtt.packets import Publish, Subscribe
from aemos.services.catalogue import Catalogue
from aemos.services.command_messages import CommandMessages
from aemos.services.commands import Commands
from aemos.services.events import (
    ActuatorStopped,
    ActuatorStuck,
    CommandChanged,
    DeviceStateChanged,
    Events,
    MessageRefused,
)
from aemos.services.fail_safe import FailSafe
from aemos.services.ledger import Ledger
from aemos.services.state_changes import StateChanges
from aemos.services.state_reports import StateReportIngest
from aemos.storage.database import Database, open_database
from tests.conftest import settings_for
from tests.farm import NORTH, PUMPS, USERS, sow
from tests.mqtt_stage import Client, MemoryDatabase, Stage
from tests.rows import until

PUMP = PUMPS[NORTH]
TOPIC = f"devices/{PUMP}/commands"
ADMIN, VIEWER, STRANGER = USERS["north-admin"], USERS["north-viewer"], USERS["south-admin"]


def device(uuid: str = PUMP) -> Principal:
    """@return: the principal of a device of `NORTH`."""
    return Principal(PrincipalKind.DEVICE, uuid, NORTH, {NORTH: frozenset()})


class Timed:
    """The reactor, but for the time, which is that of a clock."""

    def __init__(self) -> None:
        self.clock = Clock()

    def seconds(self) -> float:
        return self.clock.seconds()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@attrs.define
class Yard:
    """The server; what clients of its stage publish is judged by the real services."""

    database: Database
    time: Timed
    events: Events
    stage: Stage
    commands: Commands
    changes: StateChanges
    fail_safe: FailSafe
    happened: list[object] = attrs.field(factory=list)

    @property
    def now(self) -> Instant:
        return Instant.of(self.stage.clock.seconds())

    def pump(self, client_id: str = "pump", *, clean: bool = True, present: bool = False) -> Client:
        """@return: the pump, connected."""
        return self.stage.client(client_id, user=PUMP, clean=clean, present=present)

    def user(self, principal: Principal = ADMIN) -> Client:
        """@return: a user, connected."""
        self.stage.login.known[principal.name] = principal
        return self.stage.client(principal.name, user=principal.name)

    def listen(self, client: Client, topic_filter: str, qos: int) -> None:
        """Subscribe; what comes with the SUBACK stays to be read."""
        client.send(Subscribe(1, ((topic_filter, qos),)))

    def again(self, at: float = 0.0, mqtt: MemoryDatabase | None = None) -> Yard:
        """@param at: seconds after the first start. @param mqtt: what was left of MQTT sessions.

        @return: the server when it is started once more on the same database.
        """
        return open_yard(self.database, self.time, at, mqtt)

    async def start(self) -> None:
        """Take up what an earlier yard has left in the database."""
        await self.result(self.commands.start())
        await self.result(self.fail_safe.start())

    def stop(self) -> None:
        """End; what is stored stays."""
        self.fail_safe.stop()
        self.commands.stop()

    async def see(self, condition: Callable[[], object]) -> None:
        """Wait for what the threads of the database bring about; no time passes."""

        def met() -> object:
            self.stage.turn()
            return condition()

        await until(met, 10)

    async def became(self, status: str, command_id: str | None = None) -> CommandChanged:
        """Wait until a command (of this id) has been told to be in this status."""

        def told() -> list[CommandChanged]:
            return [
                event
                for event in self.happened
                if isinstance(event, CommandChanged)
                and event.status == status
                and command_id in (None, event.command_id)
            ]

        await self.see(told)
        return told()[-1]

    async def received_by(self, client: Client) -> Publish:
        """@return: the next message that the client gets."""
        found: list[Publish] = []

        def arrived() -> bool:
            found.extend(client.publishes())
            return bool(found)

        await self.see(arrived)
        assert len(found) == 1, found
        return found[0]

    async def quiet(self, client: Client) -> bool:
        """@return: whether nothing more arrives when all that was written is written."""
        await self.idle()
        return not client.publishes()

    async def idle(self) -> None:
        """Wait until the database has stored what was submitted."""
        await self.see(lambda: not self.database.writer.queued)
        await self.database.read(lambda tx: tx.value("SELECT 1"))
        self.stage.turn()

    async def statuses(self, command_id: str) -> list[str]:
        """@return: every status that a command was in, as stored."""
        await self.idle()
        rows = await self.database.read(
            lambda tx: tx.all(
                "SELECT t.status FROM command_transition t JOIN command c ON c.id = t.command"
                " WHERE c.command_id = %s ORDER BY t.id",
                (command_id,),
            )
        )
        return [row["status"] for row in rows]

    def of(self, event: type[Any]) -> list[Any]:
        """@return: what has happened of one sort."""
        return [one for one in self.happened if type(one) is event]

    def say(self, client: Client, topic: str, body: Mapping[str, Any] | bytes, **how: Any) -> None:
        """Publish with QoS 1."""
        payload = body if isinstance(body, bytes) else json.encode(body)
        client.send(Publish(topic, payload, **{"qos": 1, "packet_id": 77, **how}))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.stage.clock.advance(seconds)
        self.stage.turn()

    async def result(self, answer: Any) -> Any:
        """Wait for a coroutine of a service while no time passes."""
        waiting: Deferred[Any] = ensureDeferred(answer)
        await self.see(lambda: waiting.called)
        return await waiting


@contextlib.asynccontextmanager
async def yard_on(url: str) -> AsyncIterator[Yard]:
    """A yard on a database of its own, with the rows of `tests.farm`."""
    time = Timed()
    database = open_database(time, settings_for(url))
    await database.start()
    await database.transact(sow)
    yard = open_yard(database, time)
    yield yard
    yard.stop()
    await database.stop()


def open_yard(
    database: Database, time: Timed, at: float = 0.0, mqtt: MemoryDatabase | None = None
) -> Yard:
    """@param time: of the database. @param at, mqtt: as for `Yard.again`."""
    events = Events()
    stage = Stage(mqtt, events)
    stage.clock.advance(at)
    time.clock = stage.clock
    stage.login.known[PUMP] = device()
    commands = Commands(database, events, schema.Commands(), stage.clock)
    commands.publisher = stage.broker
    catalogue = Catalogue(database, events, schema.Ingest(), stage.clock)
    ledger = Ledger(database.writer, events, schema.Ingest())
    messages = CommandMessages(catalogue, database.writer, ledger, commands)
    changes = StateChanges(database, events)
    states = StateReportIngest(catalogue, database.writer, events, ledger, changes, commands)
    stage.broker.router = Router(
        {
            Kind.COMMAND: messages.command,
            Kind.COMMAND_ACK: messages.acknowledged,
            Kind.STATE: states.handle,
        },
        ledger,
    )
    fail_safe = FailSafe(database, events, commands, changes, stage.clock)
    yard = Yard(database, time, events, stage, commands, changes, fail_safe)
    for event in (
        ActuatorStopped,
        ActuatorStuck,
        CommandChanged,
        DeviceStateChanged,
        MessageRefused,
    ):
        events.subscribe(event, yard.happened.append)
    return yard
