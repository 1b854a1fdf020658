"""docs/rules.rst: every request and message in it works, and has the consequences it shows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aemos import json
from aemos.model import Instant, Kind, Message, Principal, PrincipalKind, Verdict
from aemos.services.events import DeviceStateChanged
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from tests.farm import NORTH
from tests.rows import until
from tests.whole import Whole, open_whole, sow_whole

PAGE = Path(__file__).parents[2] / "docs" / "rules.rst"
SENSOR = "5e1f0000-0000-4000-8000-000000000001"
PUMP = "b0b00000-0000-4000-8000-000000000001"
_REQUEST = re.compile(r"(GET|POST|PATCH|DELETE) (/\S+)")
_MESSAGE = re.compile(r"([<>]) devices/(\S+)/\w+ (\{.*\})")


def steps() -> Iterator[tuple[str, str, Any]]:
    """@return: the examples in order: method, path and body, or `>` or `<`, uuid and body."""
    lines = [line.removeprefix("    ") for line in PAGE.read_text().splitlines()]
    while lines:
        line = lines.pop(0)
        if request := _REQUEST.fullmatch(line):
            text = ""
            while lines and re.match(r"[{ ]", lines[0]):
                text += lines.pop(0)
            yield request[1], request[2], json.decode(text) if text else None
        elif message := _MESSAGE.fullmatch(line):
            yield message[1], message[2], json.decode(message[3])


def _greenhouse(tx: Transaction) -> None:
    sensor = tx.insert("Sensor", {"uuid": SENSOR, "name": "greenhouse", "status": "active"})
    tx.insert("AreaSensor", {"areaId": NORTH, "sensorId": sensor})
    for name in ("moisture", "temperature"):
        variable = {"variableName": name, "datatype": "float", "sensorId": sensor}
        tx.insert("TelemetryData", variable)
    pump = tx.insert("Device", {"uuid": PUMP, "name": "pump", "deviceType": "actuator"})
    tx.insert("AreaDevice", {"areaId": NORTH, "deviceId": pump})
    for name in ("power", "valve"):
        state = {"deviceId": pump, "stateName": name, "allowedValues": ["on", "off"]}
        tx.insert("DeviceState", {**state, "status": "active", "createdAt": tx.now})


@pytest_twisted.async_yield_fixture
async def whole(database: Database) -> AsyncIterator[Whole]:
    await database.transact(sow_whole)
    await database.transact(_greenhouse)
    opened, close = await open_whole(database)
    await opened.services.rules.start()
    yield opened
    await close()


def publish(whole: Whole, uuid: str, reading: Any) -> Deferred[Verdict]:
    sender = Principal(PrincipalKind.SENSOR, uuid, 0)
    now = Instant.of(reactor.seconds())
    answered: Deferred[Verdict] = Deferred()
    message = Message(Kind.DATASTREAM, sender, uuid, json.encode(reading), now, "mqtt")
    whole.services.router.handle(message, answered.callback)
    return answered


async def test_the_examples_do_what_the_page_says(whole: Whole) -> None:
    told: list[DeviceStateChanged] = []
    whole.services.events.subscribe(DeviceStateChanged, told.append)
    token, _ = await whole.sign_in("Org Admin")
    counts = {"request": 0, ">": 0, "<": 0}
    runs: Any = None
    for what, where, body in steps():
        if what == ">":
            verdict = await publish(whole, where, body)
            assert verdict.accepted, verdict
        elif what == "<":
            await until(lambda: told)
            event = told.pop(0)
            shown = {
                "stateName": event.state,
                "oldValue": event.old,
                "newValue": event.new,
                "initiatedBy": event.initiated_by,
            }
            assert event.device_uuid == where
            assert body.items() <= shown.items()
        else:
            await until(lambda: whole.services.rules.queue.pending == 0)
            assert told == [], (what, where)
            reply = await whole.call(what, f"/api/v1{where}", token, body)
            assert reply.status in (200, 201), (what, where, reply.body)
            runs = reply.data
        counts[what if what in counts else "request"] += 1
    assert counts == {"request": 15, ">": 6, "<": 5}
    # The last request of the page asks for what the chain in shadow mode would have done.
    assert (runs[0]["mode"], runs[0]["actions"][0]["applied"]) == ("shadow", False)
    assert told == []
