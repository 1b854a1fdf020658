"""The demo farm on both databases: made once, in an empty database only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import bcrypt
import pytest
from twisted.internet import reactor

from aemos.config.schema import Auth, Realtime, Settings
from aemos.errors import ConfigurationError
from aemos.services import demo
from aemos.services.passwords import Passwords
from aemos.storage.database import Database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path / "data"), auth=Auth(bcrypt_cost=4))


@pytest.fixture
def passwords(settings: Settings) -> Iterator[Passwords]:
    passwords = Passwords(settings.auth, reactor)
    passwords.start()
    yield passwords
    passwords.stop()


async def count(database: Database, table: str) -> int:
    number = await database.read(lambda tx: tx.value(f"SELECT COUNT(*) FROM {table}"))
    return int(number)


async def test_an_empty_database_gets_a_farm(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    farm = await demo.create(settings, database, passwords)
    assert farm is not None
    climate, tank = farm.credentials.sensors
    assert list(farm.variables[climate.uuid]) == ["temperature", "humidity"]
    assert list(farm.variables[tank.uuid]) == ["ph", "ec", "water_level"]
    variables = [id for ids in farm.variables.values() for id in ids.values()]
    assert len(set(variables)) == await count(database, "TelemetryData") == 5
    tokens = await database.read(lambda tx: tx.all("SELECT token, status FROM DeviceToken"))
    assert {row["token"] for row in tokens} == {climate.token, tank.token}


async def test_there_is_a_user_of_every_role_who_can_sign_in(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    farm = await demo.create(settings, database, passwords)
    assert farm is not None
    rows = await database.read(
        lambda tx: tx.all(
            "SELECT u.email, u.password, r.name AS role, m.organizationId FROM User u"
            " JOIN OrganizationUser m ON m.userId = u.id JOIN Role r ON r.id = m.role"
        )
    )
    known = {user.email: user for user in farm.credentials.users}
    assert {row["role"] for row in rows} == {"System Admin", "Org Admin", "Supervisor", "Viewer"}
    for row in rows:
        user = known[row["email"]]
        assert row["role"] == user.role
        assert row["organizationId"] == farm.organization_id
        assert bcrypt.checkpw(user.password.encode(), row["password"].encode())


async def test_the_pump_is_off_and_may_be_switched_on(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    farm = await demo.create(settings, database, passwords)
    assert farm is not None
    state = await database.read(
        lambda tx: tx.one(
            "SELECT d.deviceType, s.stateName, s.allowedValues, i.value, i.toTimestamp,"
            " a.organizationId FROM Device d JOIN DeviceState s ON s.deviceId = d.id"
            " JOIN DeviceStateInstance i ON i.deviceStateId = s.id"
            " JOIN AreaDevice x ON x.deviceId = d.id JOIN Area a ON a.id = x.areaId"
            " WHERE d.uuid = %s",
            (farm.credentials.pump.uuid,),
        )
    )
    assert state == {
        "deviceType": "actuator",
        "stateName": "power",
        "allowedValues": '["on","off"]',
        "value": "off",
        "toTimestamp": None,
        "organizationId": farm.organization_id,
    }


async def test_the_second_start_finds_the_farm_of_the_first(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    first = await demo.create(settings, database, passwords)
    assert first == await demo.create(settings, database, passwords)
    assert await count(database, "Organization") == 1


async def test_a_database_with_an_organization_is_left_alone(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    await database.transact(lambda tx: tx.insert("Organization", {"name": "real"}))
    assert await demo.create(settings, database, passwords) is None
    assert await count(database, "User") == 0
    assert demo.read_credentials(settings) is None


async def test_a_database_with_a_user_is_left_alone(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    await database.transact(lambda tx: tx.insert("User", {"email": "a@b.example"}))
    assert await demo.create(settings, database, passwords) is None
    assert await count(database, "Organization") == 0


async def test_credentials_that_were_written_before_the_rows_are_used_again(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    """As after a stop between the two, or when the database was thrown away."""
    farm = await demo.create(settings, database, passwords)
    assert farm is not None
    await database.transact(
        lambda tx: [
            tx.execute(f"DELETE FROM {table}")
            for table in [
                "DeviceStateInstance",
                "DeviceState",
                "AreaDevice",
                "Device",
                "DeviceToken",
                "TelemetryData",
                "AreaSensor",
                "Sensor",
                "Area",
                "OrganizationUser",
                "User",
                "Organization",
            ]
        ]
    )
    again = await demo.create(settings, database, passwords)
    assert again is not None
    assert again.credentials == farm.credentials


async def test_the_credentials_are_only_for_the_owner(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    await demo.create(settings, database, passwords)
    path = demo.credentials_path(settings)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(settings.data_dir).st_mode) == 0o700
    assert os.listdir(settings.data_dir) == [os.path.basename(path)]


def test_credentials_that_cannot_be_understood_are_named(settings: Settings) -> None:
    os.makedirs(settings.data_dir)
    with open(demo.credentials_path(settings), "w") as file:
        file.write('{"users": []}')
    with pytest.raises(ConfigurationError, match=r"demo-credentials\.json"):
        demo.read_credentials(settings)


async def test_the_farm_may_be_watched_without_signing_in_unless_told_otherwise(
    database: Database, settings: Settings, passwords: Passwords
) -> None:
    farm = await demo.create(settings, database, passwords)
    assert farm is not None
    opened = demo.with_open_telemetry(settings, farm)
    assert opened.realtime.anonymous == (str(farm.organization_id),)
    chosen = attrs.evolve(settings, realtime=Realtime(anonymous=("all",)))
    assert demo.with_open_telemetry(chosen, farm) == chosen
