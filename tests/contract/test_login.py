"""Who signs in over MQTT, and for how long (docs/access.rst), over real rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from aemos.config.schema import Ingest, Mqtt
from aemos.errors import AemosError, Unauthenticated
from aemos.model import ANONYMOUS, Instant, Principal, PrincipalKind
from aemos.services.catalogue import Catalogue
from aemos.services.device_login import DeviceLogin
from aemos.services.events import UserChanged
from aemos.services.login import Login
from aemos.services.user_login import UserLogin
from aemos.storage.database import Database
from tests.accounts import NORTH, PASSWORD, Accounts, open_accounts

TOKEN = "a1" * 32
UUID = "11111111-1111-4111-8111-111111111111"
EMAIL = "north-admin@x.example"


@attrs.define
class SignIn:
    """The login of the MQTT door over the rows of `tests.accounts`, and a sensor with a token."""

    accounts: Accounts
    catalogue: Catalogue

    async def __call__(
        self,
        name: str | None,
        secret: str | bytes | None,
        *,
        private: bool = True,
        **settings: Any,
    ) -> Principal | AemosError:
        answer: Deferred[Principal | AemosError] = Deferred()
        raw = secret.encode() if isinstance(secret, str) else secret
        self.login(**settings).authenticate(name, raw, private, answer.callback)
        return await answer

    async def refresh(self, principal: Principal) -> Principal | AemosError:
        answer: Deferred[Principal | AemosError] = Deferred()
        self.login().refresh(principal, answer.callback)
        return await answer

    def login(self, **settings: Any) -> Login:
        clock = self.accounts.clock
        devices = DeviceLogin(self.catalogue, clock, lambda identity, credential: None)
        return Login(devices, UserLogin(self.accounts.authentication, clock), Mqtt(**settings))


@pytest_twisted.async_yield_fixture
async def sign_in(database: Database) -> AsyncIterator[SignIn]:
    accounts, close = await open_accounts(database)
    values = {"name": "s", "uuid": UUID, "status": "active"}
    sensor = await database.transact(lambda tx: tx.insert("Sensor", values))
    token = {"token": TOKEN, "sensorId": sensor, "status": "active"}
    await database.transact(lambda tx: tx.insert("DeviceToken", token))
    yield SignIn(accounts, Catalogue(database, accounts.events, Ingest(), accounts.clock))
    await close()


async def test_a_device_signs_in_with_its_token_on_any_connection(sign_in: SignIn) -> None:
    principal = await sign_in(UUID, TOKEN, private=False)
    assert isinstance(principal, Principal)
    assert (principal.kind, principal.name) == (PrincipalKind.SENSOR, UUID)
    assert isinstance(await sign_in(UUID, "b" * 64), Unauthenticated)
    assert isinstance(await sign_in(UUID, TOKEN, token_auth=False), Unauthenticated)


async def test_a_user_signs_in_with_a_web_token_on_any_connection(sign_in: SignIn) -> None:
    token = await sign_in.accounts.token("north-admin")
    principal = await sign_in("North-Admin@x.example", token, private=False)
    assert isinstance(principal, Principal)
    assert principal.key == f"user:{EMAIL}"
    assert principal.may("device.update", NORTH)
    now = Instant.of(sign_in.accounts.clock.seconds())
    assert principal.expires_at is not None
    assert 86_390_000 < principal.expires_at - now <= 86_400_000


async def test_a_web_token_is_good_for_its_own_user_only(sign_in: SignIn) -> None:
    token = await sign_in.accounts.token("north-admin")
    assert isinstance(await sign_in("root@x.example", token), Unauthenticated)
    assert isinstance(await sign_in(EMAIL, token + "x"), Unauthenticated)


async def test_a_user_signs_in_with_the_password_where_nobody_can_read_it(sign_in: SignIn) -> None:
    principal = await sign_in(EMAIL, PASSWORD)
    assert isinstance(principal, Principal)
    assert (principal.key, principal.expires_at) == (f"user:{EMAIL}", None)
    refused = await sign_in(EMAIL, PASSWORD, private=False)
    assert isinstance(refused, Unauthenticated)
    assert "TLS" in str(refused)


@pytest.mark.parametrize("secret", ["wrong", b"\xff\xfe", "x" * 9000, "ey.a.b"])
async def test_a_wrong_password_is_refused(sign_in: SignIn, secret: str | bytes) -> None:
    assert isinstance(await sign_in(EMAIL, secret), Unauthenticated)


async def test_unknown_user_and_wrong_password_look_the_same(sign_in: SignIn) -> None:
    unknown = await sign_in("who@x.example", PASSWORD)
    wrong = await sign_in(EMAIL, "wrong")
    assert str(unknown) == str(wrong)


async def test_a_session_ends_with_its_token(sign_in: SignIn) -> None:
    principal = await sign_in(EMAIL, await sign_in.accounts.token("north-admin"))
    assert isinstance(principal, Principal)
    assert await sign_in.refresh(principal) == principal
    sign_in.accounts.clock.ahead = 86_401
    assert isinstance(await sign_in.refresh(principal), Unauthenticated)


async def test_a_sign_out_ends_the_session_of_its_token(sign_in: SignIn) -> None:
    principal = await sign_in(EMAIL, await sign_in.accounts.token("north-admin"))
    by_password = await sign_in(EMAIL, PASSWORD)
    assert isinstance(principal, Principal)
    assert isinstance(by_password, Principal)
    await sign_in.accounts.authentication.logout(principal)
    assert isinstance(await sign_in.refresh(principal), Unauthenticated)
    assert await sign_in.refresh(by_password) == by_password


async def test_a_changed_user_keeps_the_session_with_new_rights_or_none(sign_in: SignIn) -> None:
    principal = await sign_in(EMAIL, PASSWORD)
    assert isinstance(principal, Principal)
    changed = UserChanged(principal.id)
    await sign_in.accounts.run(
        "UPDATE OrganizationUser SET status = 'inactive' WHERE userId = %s", principal.id
    )
    sign_in.accounts.events.publish(changed)
    narrowed = await sign_in.refresh(principal)
    assert isinstance(narrowed, Principal)
    assert narrowed.organizations == frozenset()
    await sign_in.accounts.run("UPDATE User SET status = 0 WHERE id = %s", principal.id)
    sign_in.accounts.events.publish(changed)
    assert isinstance(await sign_in.refresh(principal), Unauthenticated)


@pytest.mark.parametrize(("name", "secret"), [(None, None), ("", "x"), (UUID, None), (UUID, "")])
async def test_without_credentials_only_the_switch_opens(
    sign_in: SignIn, name: str | None, secret: str | None
) -> None:
    assert isinstance(await sign_in(name, secret), Unauthenticated)
    assert await sign_in(name, secret, allow_unauthenticated=True) is ANONYMOUS


async def test_credentials_that_are_given_count_even_where_none_are_needed(
    sign_in: SignIn,
) -> None:
    for name, secret in ((UUID, "wrong"), (EMAIL, "wrong")):
        refused = await sign_in(name, secret, allow_unauthenticated=True)
        assert isinstance(refused, Unauthenticated)
        assert await sign_in(name, secret, auth_enabled=False) is ANONYMOUS
