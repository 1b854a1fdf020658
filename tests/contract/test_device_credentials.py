"""Tokens of sensors and devices on live MQTT sessions: rights, rotation, revocation (P4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from aemos.config.schema import Acl, Ingest, Mqtt
from aemos.model import SERVER, PrincipalKind
from aemos.mqtt.packets import ConnAck, Connect, Publish, SubAck
from aemos.services.authorization import Authorization
from aemos.services.catalogue import Catalogue
from aemos.services.device_login import DeviceLogin
from aemos.services.events import Events
from aemos.services.login import Login
from aemos.services.tokens import DeviceTokens, Holder
from aemos.storage import device_tokens
from aemos.storage.database import Database
from tests.farm import NORTH, PUMPS, SOUTH, UUIDS, sow
from tests.mqtt_stage import Client, Stage

KINDS = [PrincipalKind.SENSOR, PrincipalKind.DEVICE]
NAMES = {PrincipalKind.SENSOR: UUIDS[NORTH], PrincipalKind.DEVICE: PUMPS[NORTH]}


@attrs.define
class Farm:
    """A broker that asks the real services about the rows of `tests.farm`."""

    stage: Stage
    tokens: DeviceTokens
    catalogue: Catalogue
    database: Database

    async def sign_in(self, kind: PrincipalKind, token: str, client_id: str = "c") -> Client | None:
        """@return: the client, None = it was refused."""
        client = self.stage.open()
        client.send(Connect(client_id, username=NAMES[kind], password=token.encode()))
        answers: list[Any] = []
        await eventually(lambda: bool(answers.extend(client.packets()) or answers))
        return client if answers == [ConnAck(0, False)] else None

    async def make(self, kind: PrincipalKind) -> dict[str, Any]:
        return await self.tokens.create(SERVER, Holder(kind, NORTH))


async def eventually(condition: Callable[[], object]) -> None:
    """Let the threads of the database do their work until this is true."""
    deadline = reactor.seconds() + 10
    while not condition():
        assert reactor.seconds() < deadline, "not in time"
        await deferLater(reactor, 0, lambda: None)


@pytest_twisted.async_yield_fixture
async def farm(database: Database) -> AsyncIterator[Farm]:
    await database.transact(sow)
    clock, events = Clock(), Events()
    catalogue = Catalogue(database, events, Ingest(), clock)
    devices = DeviceLogin(catalogue, clock, lambda identity, credential: None)
    stage = Stage(
        events=events,
        login=Login(devices, None, Mqtt()),  # type: ignore[arg-type]
        rights=Authorization(catalogue, database, clock, Acl()),
        clock=clock,
    )
    yield Farm(stage, DeviceTokens(database, events, clock), catalogue, database)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_revoked_token_ends_its_session_and_no_other(
    farm: Farm, kind: PrincipalKind
) -> None:
    first, second = await farm.make(kind), await farm.make(kind)
    one = await farm.sign_in(kind, first["token"], "one")
    two = await farm.sign_in(kind, second["token"], "two")
    assert one
    assert two
    await farm.tokens.revoke(SERVER, first["id"])
    await eventually(lambda: one.closed)
    assert not two.closed
    assert await farm.sign_in(kind, first["token"]) is None
    await farm.tokens.delete(SERVER, second["id"])
    await eventually(lambda: two.closed)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rotated_token_keeps_its_session_until_the_overlap_is_over(
    farm: Farm, kind: PrincipalKind
) -> None:
    old = await farm.make(kind)
    client = await farm.sign_in(kind, old["token"], "old")
    assert client
    new = await farm.tokens.rotate(SERVER, old["id"], 60)
    await eventually(lambda: all(live.identity.expires_at for live in farm.stage.broker.clients()))
    successor = await farm.sign_in(kind, new["token"], "new")
    assert successor
    farm.stage.clock.advance(59)
    assert not client.closed
    farm.stage.clock.advance(2)
    await eventually(lambda: client.closed)
    assert not successor.closed
    assert await farm.sign_in(kind, old["token"]) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_what_another_process_revoked_ends_with_the_next_look(
    farm: Farm, kind: PrincipalKind
) -> None:
    made = await farm.make(kind)
    client = await farm.sign_in(kind, made["token"])
    assert client
    await farm.catalogue.sweep()
    farm.stage.turn()
    assert not client.closed
    tokens = device_tokens.of_kind(kind)
    await farm.database.transact(lambda tx: tokens.revoke(tx, made["id"]))
    await farm.catalogue.sweep()
    await eventually(lambda: client.closed)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_token_of_another_kind_does_not_sign_in(farm: Farm, kind: PrincipalKind) -> None:
    other = KINDS[1 - KINDS.index(kind)]
    token = await farm.make(other)
    assert await farm.sign_in(kind, token["token"]) is None


async def test_a_device_reads_and_writes_what_is_its_own_and_nothing_else(farm: Farm) -> None:
    token = await farm.make(PrincipalKind.DEVICE)
    pump = await farm.sign_in(PrincipalKind.DEVICE, token["token"])
    assert pump
    own, other, sensor = PUMPS[NORTH], PUMPS[SOUTH], UUIDS[NORTH]
    filters = {
        f"devices/{own}/commands": 1,
        f"devices/{own}/state": 1,
        f"devices/{own}/errors": 1,
        f"organizations/{NORTH}/broadcast": 1,
        f"organizations/{NORTH}/#": 0x80,
        f"organizations/{SOUTH}/broadcast": 0x80,
        f"devices/{other}/commands": 0x80,
        f"devices/{sensor}/datastream": 0x80,
        "devices/+/commands": 0x80,
        "#": 0x80,
    }
    assert pump.subscribe(*((name, 1) for name in filters)) == [SubAck(1, tuple(filters.values()))]
    topics = {
        f"devices/{own}/status": True,
        f"devices/{own}/state": True,
        f"devices/{own}/commands/ack": True,
        f"devices/{own}/commands": False,
        f"devices/{own}/datastream": False,
        f"devices/{other}/status": False,
        f"devices/{sensor}/status": False,
        f"organizations/{NORTH}/broadcast": False,
    }
    for number, (topic, allowed) in enumerate(topics.items(), 2):
        before = farm.stage.broker.totals().denied
        pump.send(Publish(topic, b"{}", 1, packet_id=number))
        assert (farm.stage.broker.totals().denied == before) is allowed, topic
    assert not pump.closed
