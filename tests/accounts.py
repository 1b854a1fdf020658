"""Users with every role in two organizations behind a real HTTP port, with real sign-in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import bcrypt
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from aemos import json
from aemos.config.rules import Rules
from aemos.config.schema import Auth, Http, Ingest
from aemos.http.auth import Authenticator
from aemos.http.endpoint import Api
from aemos.http.routes.auth import AuthRoutes
from aemos.http.routes.health import HealthRoutes, TestRoutes
from aemos.http.routes.insomnia import InsomniaRoutes
from aemos.http.routes.metrics import MetricsRoutes
from aemos.http.routes.organizations import OrganizationRoutes
from aemos.http.routes.permissions import PermissionRoutes
from aemos.http.routes.reports import ReportRoutes
from aemos.http.routes.roles import RoleRoutes
from aemos.http.routes.rule_chains import RuleChainRoutes
from aemos.http.routes.rule_trials import RuleTrialRoutes
from aemos.http.routes.user_roles import UserRoleRoutes
from aemos.http.routing import Group
from aemos.http.site import Site, build_site
from aemos.observability.health import Health
from aemos.services.auth import Authentication
from aemos.services.catalogue import Catalogue
from aemos.services.events import DeviceStateChanged, Events, UserChanged
from aemos.services.memberships import Memberships
from aemos.services.organizations import Organizations
from aemos.services.outbox import Mailer, Outbox
from aemos.services.passwords import Passwords
from aemos.services.recovery import Recovery
from aemos.services.reports import Reports
from aemos.services.roles import Roles
from aemos.services.rules.machinery import RuleMachinery
from aemos.services.sign_in_limits import SignInLimits
from aemos.services.web_tokens import WebTokens
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from tests.farm import Reply

SECRET = "a secret of the tests, long enough"
PASSWORD = "correct horse"
NORTH, SOUTH, NORTH_CHILD, SOUTH_CHILD = 1, 2, 3, 4
"""Organization ids; the children belong to nobody but a System Admin and the admin of `NORTH`."""

MEMBERS = {
    "root": [(NORTH, "System Admin", "active")],
    "north-admin": [(NORTH, "Org Admin", "active"), (NORTH_CHILD, "Viewer", "active")],
    "south-admin": [(SOUTH, "Org Admin", "active")],
    "north-viewer": [(NORTH, "Viewer", "active")],
    # Rights in one organization must not open the other.
    "mixed": [(NORTH, "Viewer", "active"), (SOUTH, "Org Admin", "active")],
    "suspended": [(NORTH, "Org Admin", "inactive")],
    "nobody": [],
}
SETTINGS = Auth(bcrypt_cost=4)


class Clock:
    """The reactor's clock, which tests put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.ahead

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        return reactor.callLater(delay, function, *args, **kw)

    def getDelayedCalls(self) -> Any:
        return reactor.getDelayedCalls()

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        return reactor.callFromThread(function, *args, **kw)


@attrs.define
class Accounts:
    """The server under test."""

    database: Database
    events: Events
    clock: Clock
    passwords: Passwords
    tokens: WebTokens
    authentication: Authentication
    health: Health
    outbox: Outbox
    site: Site
    url: str
    client: HTTPClient
    observed: list[tuple[str, str, int, float]]
    rules: RuleMachinery
    groups: Sequence[Group] = ()
    happened: list[object] = attrs.field(factory=list)
    signed_in: dict[str, str] = attrs.field(factory=dict)
    congested: bool = False

    async def call(
        self, method: str, path: str, who: str | None = None, body: object = None, **headers: str
    ) -> Reply:
        """@param who: a name in `MEMBERS`, or a token.

        @param path: below `/api/v1`, or with a dot in front an absolute one.
        @param body: sent as JSON, bytes as they are.
        """
        if who in MEMBERS:
            who = await self.token(who)
        if who is not None:
            headers["Authorization"] = f"Bearer {who}"
        content = None
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            content = body if isinstance(body, bytes) else json.encode(body)
        target = self.url + (f"/api/v1{path}" if path.startswith("/") else path.removeprefix("."))
        response = await self.client.request(method, target, headers=headers, data=content)
        raw = await response.content()
        answered = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        is_json = answered.get("content-type", "").startswith("application/json")
        return Reply(response.code, answered, json.decode(raw) if raw and is_json else raw)

    async def login(self, name: str, password: str = PASSWORD) -> Reply:
        return await self.call("POST", "/auth/login", body=credentials(name, password))

    async def token(self, name: str) -> str:
        if name not in self.signed_in:
            self.signed_in[name] = (await self.login(name)).data["token"]
        return self.signed_in[name]

    async def user_id(self, name: str) -> int:
        """@param name: in `MEMBERS`."""
        rows = await self.rows("SELECT id FROM User WHERE userName = %s", name)
        return int(rows[0]["id"])

    def changed(self) -> list[int]:
        """@return: the ids of users told by `UserChanged` since the last question."""
        ids = [event.user_id for event in self.happened if isinstance(event, UserChanged)]
        self.happened.clear()
        return ids

    async def run(self, sql: str, *params: Any) -> None:
        """Change the database directly."""
        await self.database.transact(lambda tx: tx.execute(sql, params))

    async def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        """Ask the database directly."""
        return await self.database.read(lambda tx: tx.all(sql, params))


def credentials(name: str, password: str = PASSWORD) -> dict[str, str]:
    """@return: a body for `POST /auth/login`."""
    return {"email": f"{name}@x.example", "password": password}


def _sow(tx: Transaction) -> None:
    for organization, name, parent in (
        (NORTH, "north", None),
        (SOUTH, "south", None),
        (NORTH_CHILD, "north child", NORTH),
        (SOUTH_CHILD, "south child", NORTH),
    ):
        values = {"id": organization, "name": name, "parentId": parent, "status": "active"}
        tx.insert("Organization", values)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    for name, memberships in MEMBERS.items():
        user = {"userName": name, "email": f"{name}@x.example", "password": hashed}
        user_id = tx.insert("User", user)
        for organization, role, status in memberships:
            role_id = tx.value("SELECT id FROM Role WHERE name = %s", (role,))
            key = {"userId": user_id, "organizationId": organization}
            tx.insert("OrganizationUser", {**key, "role": role_id, "status": status})


async def open_accounts(
    database: Database, settings: Http | None = None, mailer: Mailer | None = None
) -> tuple[Accounts, Any]:
    """Sow the rows, wire the rooms as the server does, open a port.

    @param mailer: None = there is no mail server.
    @return: the server, and an async function that closes it.
    """
    settings = settings or Http(rate_limit=False)
    await database.transact(_sow)
    events, clock, ingest = Events(), Clock(), Ingest(catalogue_refresh=60.0)
    passwords = Passwords(SETTINGS, reactor)
    passwords.start()
    tokens = WebTokens(SECRET, SETTINGS, clock)
    authentication = Authentication(
        database,
        events,
        passwords,
        tokens,
        clock,
        ingest.catalogue_refresh,
        SignInLimits(SETTINGS, clock),
    )
    authenticator = Authenticator(authentication, Catalogue(database, events, ingest, clock), clock)
    health = Health(reactor)
    health.add("database", database.ping)
    observed: list[tuple[str, str, int, float]] = []
    accounts: Accounts
    outbox = Outbox(database, mailer, clock)
    recovery = Recovery(database, events, passwords, outbox, "https://farm.example/")
    rules = RuleMachinery(database, events, clock, Rules())
    await rules.start()
    roles, memberships = Roles(database, events), Memberships(database, events)
    groups: list[Group] = [
        AuthRoutes(authentication, recovery),
        RoleRoutes(roles),
        PermissionRoutes(roles, memberships),
        UserRoleRoutes(memberships),
        RuleChainRoutes(rules.chains, rules.runs),
        RuleTrialRoutes(rules.journal, rules.replays),
        MetricsRoutes(lambda: b"", rules.queue),
        ReportRoutes(Reports(database)),
        OrganizationRoutes(Organizations(database)),
        HealthRoutes(
            health,
            clock,
            congested=lambda: accounts.congested,
            figures={"mqtt": lambda: {"clients": 3}},
        ),
        TestRoutes(),
    ]
    groups.append(InsomniaRoutes(groups, clock))
    site = build_site(
        Api(groups, authenticator),
        settings,
        reactor,
        observe=lambda *figures: observed.append(figures),
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    pool = HTTPConnectionPool(reactor, persistent=False)
    accounts = Accounts(
        database=database,
        events=events,
        clock=clock,
        passwords=passwords,
        tokens=tokens,
        authentication=authentication,
        health=health,
        outbox=outbox,
        site=site,
        url=f"http://127.0.0.1:{port.getHost().port}",
        client=HTTPClient(Agent(reactor, pool=pool)),
        observed=observed,
        rules=rules,
        groups=groups,
    )
    for event in (DeviceStateChanged, UserChanged):
        events.subscribe(event, accounts.happened.append)

    async def close() -> None:
        await rules.stop()
        await outbox.stop()
        await port.stopListening()
        await site.drain()
        await pool.closeCachedConnections()
        passwords.stop()

    return accounts, close
