"""A commit that does not begin in time: 503, and the reading is not stored (promises P1 and P3)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aemos.config.schema import Http
from aemos.services.events import ReadingsStored
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Unit
from tests.contract.routes.conftest import clear
from tests.farm import NORTH, TOKENS, open_farm

TEMPERATURE = {"value": "1", "variableName": "temperature"}


class Held:
    """Rows whose batch lasts until the test lets go."""

    def __init__(self) -> None:
        self.begun: Deferred[None] = Deferred()
        self.let_go = threading.Event()

    def store(self, tx: Transaction, items: Any) -> None:
        reactor.callFromThread(self.begun.callback, None)
        self.let_go.wait(10)


@pytest.mark.parametrize("known", [True, False])
async def test_a_reading_behind_a_busy_writer_is_taken_back_and_answered_503(
    shared_database: Database, known: bool
) -> None:
    await shared_database.transact(clear)
    farm, close = await open_farm(shared_database, Http(rate_limit=False, store_timeout=1.0))
    if known:
        first = await farm.call("POST", "/datastreams/token", TOKENS[NORTH], TEMPERATURE)
        assert first.status == 201
    farm.happened.clear()
    held, freed = Held(), Deferred[Any]()
    shared_database.writer.submit(Unit(((held, [None]),), freed.callback))
    await held.begun
    try:
        reply = await farm.call("POST", "/datastreams/token", TOKENS[NORTH], TEMPERATURE)
    finally:
        held.let_go.set()
        await freed
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.body["status"] == "error"
    again = await farm.call("POST", "/datastreams/token", TOKENS[NORTH], TEMPERATURE)
    assert again.status == 201
    assert len(await farm.rows("SELECT id FROM DataStream")) == 1 + known
    assert len([event for event in farm.happened if isinstance(event, ReadingsStored)]) == 1
    noted = await farm.rows("SELECT code FROM ledger")
    assert [row["code"] for row in noted] == ["WITHDRAWN"]
    await close()
