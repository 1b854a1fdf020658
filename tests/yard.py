"""A farm whose pump takes commands over MQTT: real services and database, all on one clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from aemos import json
from aemos.config import schema
from aemos.messages.router import Router
from aemos.model import Instant, Kind, Principal, PrincipalKind
from aemos.mqtt.packets import Publish, Subscribe
from aemos.services.catalogue import Catalogue
from aemos.services.command_messages import CommandMessages
from aemos.services.commands import Commands
from aemos.services.events import CommandChanged, Events, MessageRefused
from aemos.services.ledger import Ledger
from aemos.storage.database import Database
from tests.farm import NORTH, PUMPS, USERS
from tests.mqtt_stage import Client, MemoryDatabase, Stage
from tests.rows import until

PUMP = PUMPS[NORTH]
TOPIC = f"devices/{PUMP}/commands"
ADMIN, VIEWER, STRANGER = USERS["north-admin"], USERS["north-viewer"], USERS["south-admin"]


def device(uuid: str = PUMP) -> Principal:
    """@return: the principal of a device of `NORTH`."""
    return Principal(PrincipalKind.DEVICE, uuid, NORTH, {NORTH: frozenset()})


@attrs.define
class Yard:
    """The server; what clients of its stage publish is judged by the real services."""

    database: Database
    events: Events
    stage: Stage
    commands: Commands
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


def open_yard(
    database: Database, mqtt: MemoryDatabase | None = None, at: float = 0.0, **settings: Any
) -> Yard:
    """@param database: with the rows of `tests.farm`. @param mqtt: what an earlier yard left.

    @param at: seconds after the time at which an earlier yard began.
    """
    events = Events()
    stage = Stage(mqtt, events)
    stage.clock.advance(at)
    stage.login.known[PUMP] = device()
    commands = Commands(database, events, schema.Commands(**settings), stage.clock)
    commands.publisher = stage.broker
    catalogue = Catalogue(database, events, schema.Ingest(), stage.clock)
    ledger = Ledger(database.writer, events, schema.Ingest())
    messages = CommandMessages(catalogue, database.writer, ledger, commands)
    stage.broker.router = Router(
        {Kind.COMMAND: messages.command, Kind.COMMAND_ACK: messages.acknowledged}, ledger
    )
    yard = Yard(database, events, stage, commands)
    for event in (CommandChanged, MessageRefused):
        events.subscribe(event, yard.happened.append)
    return yard
