"""The farm behind its port, once for each test and database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from aemos.storage.database import Database
from tests.farm import Farm, open_farm


@pytest_twisted.async_yield_fixture
async def farm(database: Database) -> AsyncIterator[Farm]:
    """Two organizations with an area, a sensor, a variable and a token each, served over HTTP."""
    opened, close = await open_farm(database)
    yield opened
    await close()
