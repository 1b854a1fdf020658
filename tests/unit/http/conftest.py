"""The server with users in two organizations."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from aemos.storage.database import Database
from tests.accounts import Accounts, open_accounts


@pytest_twisted.async_yield_fixture
async def accounts(database: Database) -> AsyncIterator[Accounts]:
    """On a database of either kind."""
    opened, close = await open_accounts(database)
    yield opened
    await close()
