"""All routes of the server as `assembly` makes them, behind a real HTTP port, with real sign-in."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

import attrs
import bcrypt
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from aemos import json
from aemos.assembly import Doors, Services
from aemos.config import schema
from aemos.observability.logs import Observer, text_line
from aemos.services.events import Events
from aemos.services.passwords import Passwords
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from tests.farm import NORTH, SOUTH, Reply, sow

SECRET = "a secret of the tests, long enough"
PASSWORD = "correct horse"
MEMBERS = {
    "System Admin": NORTH,
    "Org Admin": NORTH,
    "Supervisor": NORTH,
    "Viewer": NORTH,
    "stranger": SOUTH,
    "nobody": None,
}
"""User -> organization; the name is that of the role. The stranger administers `SOUTH`."""


@attrs.define
class Whole:
    """The server under test; the rows are those of `tests.farm`."""

    services: Services
    doors: Doors
    url: str
    client: HTTPClient

    async def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: object = None,
        **headers: str,
    ) -> Reply:
        """@param path: absolute. @param body: sent as JSON, bytes as they are."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            content = body if isinstance(body, bytes) else json.encode(body)
        response = await self.client.request(method, self.url + path, headers=headers, data=content)
        raw = await response.content()
        answered = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        is_json = answered.get("content-type", "").startswith("application/json")
        return Reply(response.code, answered, json.decode(raw) if raw and is_json else raw)

    async def sign_in(self, name: str) -> tuple[str, str]:
        """@return: the access and the refresh token of a user in `MEMBERS`."""
        session = await self.services.authentication.login(email(name), PASSWORD)
        return session.token, session.refresh_token

    async def key(self, name: str, organization: int, permissions: Sequence[str]) -> str:
        """@return: an API key that a user in `MEMBERS` has made for these permissions."""
        token, _ = await self.sign_in(name)
        body = {"organizationId": organization, "label": "k", "permissions": permissions}
        reply = await self.call("POST", "/api/v1/api-keys", token, body)
        assert reply.status == 201, reply.body
        key: str = reply.data["apiKey"]["key"]
        return key


def email(name: str) -> str:
    """@return: what a user in `MEMBERS` signs in with."""
    return f"{name.replace(' ', '-').lower()}@x.example"


def sow_whole(tx: Transaction) -> None:
    """Add the rows of the farm and the users."""
    sow(tx)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    for name, organization in MEMBERS.items():
        user = {"userName": name, "email": email(name), "password": hashed}
        user_id = tx.insert("User", user)
        if organization is not None:
            role = "Org Admin" if name == "stranger" else name
            role_id = tx.value("SELECT id FROM Role WHERE name = %s", (role,))
            key = {"userId": user_id, "organizationId": organization}
            tx.insert("OrganizationUser", {**key, "role": role_id, "status": "active"})


async def open_whole(database: Database) -> tuple[Whole, Any]:
    """Assemble the server, open its HTTP port.

    @return: the server, and an async function that closes it.
    """
    settings = schema.Settings(
        http=schema.Http(rate_limit=False), auth=schema.Auth(jwt_secret=SECRET, bcrypt_cost=4)
    )
    passwords = Passwords(settings.auth, reactor)
    passwords.start()
    services = Services(settings, reactor, Events(), database, passwords)
    doors = Doors(services, Observer(StringIO(), text_line))
    port = reactor.listenTCP(0, doors.site, interface="127.0.0.1")
    pool = HTTPConnectionPool(reactor)
    whole = Whole(
        services=services,
        doors=doors,
        url=f"http://127.0.0.1:{port.getHost().port}",
        client=HTTPClient(Agent(reactor, pool=pool)),
    )

    async def close() -> None:
        services.fail_safe.stop()
        await services.alarms.stop()
        services.commands.stop()
        await services.outbox.stop()
        await services.token_use.stop()
        await services.rules.stop()
        await port.stopListening()
        await pool.closeCachedConnections()
        await doors.site.drain()
        passwords.stop()

    return whole, close
