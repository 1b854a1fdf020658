"""Tokens as the command line makes them (aemos.services.tokens)."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from aemos.errors import BadRequest, Conflict, NotFound
from aemos.model import SERVER, Instant, PrincipalKind
from aemos.services.catalogue import digest
from aemos.services.events import Events, IdentityChanged
from aemos.services.tokens import DeviceTokens, Holder, expiry
from aemos.storage.database import Database

NOW = Instant.parse("2026-11-24T10:00:00Z")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("30d", "2026-12-24T10:00:00Z"),
        (" 12h ", "2026-11-24T22:00:00Z"),
        ("45m", "2026-11-24T10:45:00Z"),
        ("90s", "2026-11-24T10:01:30Z"),
        ("2027-01-01", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:00+01:00", "2026-12-31T23:00:00Z"),
    ],
)
def test_an_end_is_a_duration_or_a_time(text: str, at: str) -> None:
    assert expiry(text, NOW) == Instant.parse(at)


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "0d", "1y", "yesterday", "2026-11-24T10:00:00Z", "999999999d"]
)
def test_an_end_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        expiry(text, NOW)


async def test_the_command_line_makes_a_token_by_uuid(database: Database) -> None:
    await database.transact(lambda tx: tx.insert("Sensor", {"uuid": "uuid-1", "name": "S"}))
    clock, events, told = Clock(), Events(), []
    clock.advance(NOW / 1000)
    events.subscribe(IdentityChanged, told.append)
    tokens = DeviceTokens(database, events, clock, lambda: "t" * 64)
    row = await tokens.create_for(PrincipalKind.SENSOR, "uuid-1", "1d")
    assert (row["token"], row["deviceUuid"]) == ("t" * 64, "uuid-1")
    assert row["expiresAt"] == Instant.parse("2026-11-25T10:00:00Z")
    (stored,) = await database.read(lambda tx: tx.all("SELECT * FROM DeviceToken"))
    assert (stored["token"], stored["status"]) == ("t" * 64, "active")
    assert [event.uuid for event in told] == ["uuid-1"]


async def test_the_command_line_makes_a_token_for_a_device_and_keeps_its_digest(
    database: Database,
) -> None:
    await database.transact(lambda tx: tx.insert("Device", {"uuid": "uuid-1", "name": "D"}))
    tokens = DeviceTokens(database, Events(), Clock(), lambda: "t" * 64)
    row = await tokens.create_for(PrincipalKind.DEVICE, "uuid-1", None)
    assert (row["token"], row["deviceUuid"], row["expiresAt"]) == ("t" * 64, "uuid-1", None)
    (stored,) = await database.read(lambda tx: tx.all("SELECT * FROM device_credential"))
    assert (stored["digest"], stored["status"]) == (digest("t" * 64), "active")


async def test_the_command_line_makes_no_token_for_what_is_unknown(database: Database) -> None:
    tokens = DeviceTokens(database, Events(), Clock())
    for kind, text in ((PrincipalKind.SENSOR, "Sensor"), (PrincipalKind.DEVICE, "Device")):
        with pytest.raises(NotFound, match=f"{text} not found"):
            await tokens.create_for(kind, "uuid-9", None)


async def test_a_device_that_shares_its_uuid_with_a_sensor_gets_no_token(
    database: Database,
) -> None:
    """On MQTT the name would be the sensor's, and the token never be good for anything."""
    await database.transact(lambda tx: tx.insert("Sensor", {"uuid": "uuid-1"}))
    await database.transact(lambda tx: tx.insert("Device", {"uuid": "uuid-1"}))
    await database.transact(lambda tx: tx.insert("Device", {"uuid": None, "name": "nameless"}))
    tokens = DeviceTokens(database, Events(), Clock())
    with pytest.raises(Conflict, match="sensor has the same uuid"):
        await tokens.create_for(PrincipalKind.DEVICE, "uuid-1", None)
    nameless = await database.read(lambda tx: tx.value("SELECT id FROM Device WHERE uuid IS NULL"))
    with pytest.raises(Conflict, match="no uuid"):
        await tokens.create(SERVER, Holder(PrincipalKind.DEVICE, nameless))
