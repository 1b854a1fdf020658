"""Servers behind their ports, for each test anew on one database of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor

from aemos.storage import seed
from aemos.storage.database import Database, open_database
from aemos.storage.transaction import Transaction
from tests.accounts import Accounts, open_accounts
from tests.conftest import migrated, settings_for
from tests.farm import Farm, open_farm
from tests.whole import Whole, open_whole, sow_whole

# In an order that foreign keys allow.
_TABLES = (
    "Ticket",
    "notification_read",
    "notification_origin",
    "Notification",
    "delivery",
    "notification_channel",
    "PaymentCard",
    "rule_applied",
    "rule_trigger",
    "RuleChainNode",
    "RuleChain",
    "ledger",
    "actuator_timer",
    "command_transition",
    "command",
    "mqtt_client",
    "presence",
    "alarm_event",
    "alarm",
    "alarm_definition",
    "reading_key",
    "DataStream",
    "reading_rollup",
    "retention_policy",
    "TelemetryData",
    "token_label",
    "DeviceToken",
    "device_credential",
    "AreaSensor",
    "AreaDevice",
    "DeviceStateInstance",
    "DeviceState",
    "Sensor",
    "Device",
    "Area",
    "OrganizationUser",
    "RolePermission",
    "Role",
    "mail_outbox",
    "account_token",
    "verified_email",
    "login_session",
    "api_key",
    "audit_log",
    "User",
    "Organization",
)


@pytest_twisted.async_yield_fixture(scope="module", params=["sqlite", "mysql"])
async def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Database]:
    """One database for the tests of a file; each clears what it is about to fill."""
    with migrated(request, tmp_path_factory.mktemp("routes")) as url:
        database = open_database(reactor, settings_for(url))
        await database.start()
        yield database
        await database.stop()


@pytest_twisted.async_yield_fixture
async def farm(shared_database: Database) -> AsyncIterator[Farm]:
    """Two organizations with an area, a sensor, a variable and a token each, served over HTTP."""
    await shared_database.transact(clear)
    opened, close = await open_farm(shared_database)
    yield opened
    await close()


@pytest_twisted.async_yield_fixture
async def accounts(shared_database: Database) -> AsyncIterator[Accounts]:
    """Users with every role in two organizations, served over HTTP."""
    await shared_database.transact(clear)
    opened, close = await open_accounts(shared_database)
    yield opened
    await close()


@pytest_twisted.async_yield_fixture
async def whole(shared_database: Database) -> AsyncIterator[Whole]:
    """Everything that the server serves over HTTP, with the rows of the farm and a user each."""
    await shared_database.transact(clear)
    await shared_database.transact(sow_whole)
    opened, close = await open_whole(shared_database)
    await opened.services.rules.start()
    await opened.services.alarms.start()
    yield opened
    await close()


def clear(tx: Transaction) -> None:
    """Empty the tables that are sown and that the routes fill; roles are as at the start."""
    tx.execute("UPDATE Area SET parentArea = NULL")
    tx.execute("UPDATE Organization SET parentId = NULL")
    for table in _TABLES:
        tx.execute(f"DELETE FROM {table}")
    seed.permissions_and_roles(tx)
