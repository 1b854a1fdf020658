"""Users, memberships and sign-in sessions in the database, and making the first administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from aemos.config.schema import Auth
from aemos.errors import BadRequest, DuplicateRow
from aemos.model import Instant
from aemos.services.events import Events, UserChanged
from aemos.services.passwords import Passwords
from aemos.services.users import Users
from aemos.storage import login_sessions, organizations, roles, users
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

PASSWORD = "long enough"


@pytest_twisted.async_yield_fixture
async def passwords() -> AsyncIterator[Passwords]:
    pool = Passwords(Auth(bcrypt_cost=4), reactor)
    pool.start()
    yield pool
    pool.stop()


async def test_an_email_is_unique_in_any_case_and_found_so(database: Database) -> None:
    first = await database.transact(users.create, {"email": "Ada@x.example"})
    row = await database.read(users.find_by_email, "aDA@x.example")
    assert row is not None
    assert (row["id"], row["email"], row["status"]) == (first, "Ada@x.example", True)
    with pytest.raises(DuplicateRow):
        await database.transact(users.create, {"email": "ada@X.example"})
    assert await database.read(users.find_by_email, "eve@x.example") is None


async def test_an_accent_makes_another_person(database: Database) -> None:
    await database.transact(users.create, {"email": "josé@x.example"})
    assert await database.read(users.find_by_email, "jose@x.example") is None


async def test_grants_are_those_of_active_memberships(database: Database) -> None:
    def sow(tx: Transaction) -> int:
        user = users.create(tx, {"email": "ada@x.example"})
        tx.insert("Role", {"name": "Empty"})
        for name, role, status in (
            ("a", "Viewer", "active"),
            ("b", "Org Admin", "inactive"),
            ("c", "Empty", "active"),
        ):
            key = {"userId": user, "organizationId": organizations.create(tx, {"name": name})}
            tx.insert("OrganizationUser", {**key, "role": roles.id_of(tx, role), "status": status})
        return user

    user = await database.transact(sow)
    granted = [
        (row["organizationId"], row["role"], row["permission"])
        for row in await database.read(users.grants, user)
    ]
    (a,) = {row[0] for row in granted if row[1] == "Viewer"}
    views = ("area.view", "device.view", "rule.view", "sensor.view")
    assert granted == [(a, "Viewer", name) for name in views] + [(a + 2, "Empty", None)]


async def test_a_role_is_found_by_its_exact_name(database: Database) -> None:
    assert await database.read(roles.id_of, "System Admin") is not None
    assert await database.read(roles.id_of, "system admin") is None


async def test_a_session_is_kept_until_it_is_over(database: Database) -> None:
    now = Instant.of(reactor.seconds())
    hour = 3_600_000
    user = await database.transact(users.create, {"email": "ada@x.example"})
    await database.transact(login_sessions.create, "a" * 32, user, Instant(now - hour))
    await database.transact(login_sessions.create, "b" * 32, user, Instant(now + hour))
    assert await database.read(login_sessions.find, "a" * 32) is None
    row = await database.read(login_sessions.find, "b" * 32)
    assert row is not None
    assert (row["user_id"], row["expires_at"], row["revoked_at"]) == (user, now + hour, None)


async def test_a_session_is_revoked_with_or_without_a_row(database: Database) -> None:
    end = Instant.of(reactor.seconds() + 60)
    user = await database.transact(users.create, {"email": "ada@x.example"})
    other = await database.transact(users.create, {"email": "eve@x.example"})
    await database.transact(login_sessions.create, "a" * 32, user, end)
    for session in ("a" * 32, "b" * 32):
        await database.transact(login_sessions.revoke, session, user, end)
        row = await database.read(login_sessions.find, session)
        assert row is not None
        assert row["revoked_at"] is not None
    await database.transact(login_sessions.create, "c" * 32, user, end)
    with pytest.raises(DuplicateRow):  # somebody else's
        await database.transact(login_sessions.revoke, "c" * 32, other, end)


async def created(database: Database, passwords: Passwords, **changes: str) -> Any:
    events, told = Events(), list[UserChanged]()
    events.subscribe(UserChanged, told.append)
    values = {"email": "ada@x.example", "password": PASSWORD} | changes
    administrator = await Users(database, events, passwords).create_admin(**values)
    assert [event.user_id for event in told] == [administrator.user_id]
    return administrator


async def memberships(database: Database, user_id: int) -> list[tuple[int, str, str]]:
    rows = await database.read(
        lambda tx: tx.all(
            "SELECT m.organizationId, r.name, m.status FROM OrganizationUser m"
            " JOIN Role r ON r.id = m.role WHERE m.userId = %s ORDER BY m.organizationId",
            (user_id,),
        )
    )
    return [(row["organizationId"], row["name"], row["status"]) for row in rows]


async def test_the_first_administrator_gets_a_root_organization(
    database: Database, passwords: Passwords
) -> None:
    administrator = await created(database, passwords)
    assert (administrator.created, administrator.promoted) == (True, False)
    row = await database.read(users.find, administrator.user_id)
    assert row is not None
    assert (row["email"], row["userName"]) == ("ada@x.example", "ada")
    assert await passwords.check(PASSWORD, row["password"])
    organization = await database.read(organizations.find, administrator.organization_id)
    assert organization is not None
    assert (organization["status"], organization["parentId"]) == ("active", None)
    expected = [(administrator.organization_id, "System Admin", "active")]
    assert await memberships(database, administrator.user_id) == expected


async def test_making_an_administrator_again_changes_nothing(
    database: Database, passwords: Passwords
) -> None:
    first = await created(database, passwords)
    before = await database.read(users.find, first.user_id)
    second = await created(database, passwords, email="ADA@x.example", password="another one")
    assert (second.created, second.promoted) == (False, False)
    assert (second.user_id, second.organization_id) == (first.user_id, first.organization_id)
    assert await database.read(users.find, first.user_id) == before
    assert len(await memberships(database, first.user_id)) == 1


async def test_a_member_becomes_administrator_in_the_oldest_root(
    database: Database, passwords: Passwords
) -> None:
    def sow(tx: Transaction) -> tuple[int, int]:
        archived = organizations.create(tx, {"name": "old", "status": "archived"})
        child = organizations.create(tx, {"name": "child", "parentId": archived})
        root = organizations.create(tx, {"name": "root"})
        assert archived < child < root
        user = users.create(tx, {"email": "ada@x.example", "password": "x"})
        key = {"userId": user, "organizationId": root, "status": "inactive"}
        tx.insert("OrganizationUser", {**key, "role": roles.id_of(tx, "Viewer")})
        return user, root

    user, root = await database.transact(sow)
    administrator = await created(database, passwords)
    assert (administrator.user_id, administrator.organization_id) == (user, root)
    assert (administrator.created, administrator.promoted) == (False, True)
    assert await memberships(database, user) == [(root, "System Admin", "active")]


async def test_a_missing_role_is_made(database: Database, passwords: Passwords) -> None:
    await database.transact(lambda tx: tx.execute("DELETE FROM Role"))
    administrator = await created(database, passwords)
    held = await memberships(database, administrator.user_id)
    assert [role for _, role, _ in held] == ["System Admin"]


async def test_what_makes_no_administrator_leaves_nothing(
    database: Database, passwords: Passwords
) -> None:
    service = Users(database, Events(), passwords)
    for email, password in (("nowhere", PASSWORD), ("ada@x.example", "short")):
        with pytest.raises(BadRequest):
            await service.create_admin(email, password)
    await database.transact(users.create, {"email": "eve@x.example", "status": False})
    with pytest.raises(BadRequest, match="inactive"):
        await service.create_admin("eve@x.example", PASSWORD)
    assert await database.read(lambda tx: tx.all("SELECT * FROM OrganizationUser")) == []
