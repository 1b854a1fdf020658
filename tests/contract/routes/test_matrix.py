"""Every route x every caller: the table is made from the routes that are served.

A new route is in it as soon as it is declared. What a caller gets is derived from the declaration;
the few routes for which that does not suffice are named below, each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from aemos.http import openapi
from aemos.http.routing import Auth, Endpoint
from aemos.services.web_tokens import WebTokens
from aemos.storage.seed import ROLES
from aemos.storage.transaction import Transaction
from tests.farm import NORTH, SOUTH, TOKENS
from tests.whole import SECRET, Whole, email

NEW = "99999999-9999-4999-8999-999999999999"

OWN = {
    # Answer all who hold the permission somewhere (anybody, where there is none): for what is the
    # caller's own, or with an empty list.
    "AreaRoutes.list_all",  # the organization is demanded and does not narrow the list
    "AuthRoutes.logout",
    "AuthRoutes.me",
    "DataStreamRoutes.list_all",
    "EventRoutes.ticket",
    "PermissionRoutes.check_mine",
    "PresenceRoutes.list_things",
    "PresenceRoutes.summary",
    "RoleRoutes.get",  # the role is a system-wide one
    "RoleRoutes.list_permissions",
    "TelemetryRoutes.list_all",
    "UserRoleRoutes.list_mine",
    "UserRoleRoutes.list_of_user",  # those in the caller's organizations
}
TOKEN_IN_AN_OPEN_ROUTE = {"DeviceTokenRoutes.verify", "EventRoutes.stream"}


@attrs.frozen
class Asked:
    """One request that is valid in form: about the things of `NORTH`, which have the id 1."""

    endpoint: Endpoint
    path: str
    body: object

    @property
    def name(self) -> str:
        return self.endpoint.route.name

    @property
    def method(self) -> str:
        return self.endpoint.route.method


async def requests(whole: Whole) -> list[Asked]:
    """@return: a request for each route; what it needs is made up by its description."""
    ids = await whole.services.database.read(known_ids)
    made = []
    document = openapi.describe(whole.doors.api.endpoints)
    schemas = document["components"]["schemas"]
    # What deletes comes last, so that the rest finds what it asks for.
    order = ("GET", "POST", "PUT", "PATCH", "DELETE")
    for endpoint in sorted(
        whole.doors.api.endpoints,
        key=lambda one: (one.route.name == "AuthRoutes.logout", order.index(one.route.method)),
    ):
        path = endpoint.rules[0].replace("<", "{").replace(">", "}")
        operation = document["paths"][path][endpoint.route.method.lower()]
        query = []
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                path = path.replace(
                    "{" + parameter["name"] + "}", str(ids.get(parameter["name"], 1))
                )
            elif parameter["required"] or parameter["name"] == "organizationId":
                query.append(f"{parameter['name']}={made_up(parameter, schemas)}")
        body = None
        if endpoint.route.body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            body = made_up({"name": "", "schema": schema}, schemas)
        made.append(Asked(endpoint, path + ("?" + "&".join(query) if query else ""), body))
    return made


def known_ids(tx: Transaction) -> dict[str, int]:
    """@return: ids that are not 1, by the parameter of a path that they stand for."""
    return {
        "user_id": tx.value("SELECT id FROM User WHERE email = %s", (email("Viewer"),)),
        "role_id": tx.value("SELECT id FROM Role WHERE name = 'Viewer'"),
        "permission_id": tx.value("SELECT id FROM Permission WHERE name = 'area.view'"),
    }


def made_up(field: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """@return: a value that the schema of a field takes, with no more than it must have."""
    schema = field["schema"]
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return made_up({**field, "schema": schema["anyOf"][0]}, schemas)
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice)
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        names = set(schema.get("required", ())) | ({"organizationId"} & properties.keys())
        return {
            name: made_up({"name": name, "schema": properties[name]}, schemas)
            for name in sorted(names)
        }
    if schema.get("type") == "array":
        return [made_up({**field, "schema": schema["items"]}, schemas)]
    if schema.get("type") in ("integer", "number"):
        return max(1, schema.get("minimum", 1))
    if schema.get("type") == "boolean":
        return True
    if "@" in schema.get("pattern", ""):
        return "somebody@x.example"
    return NEW if "pattern" in schema else "x" * max(8, schema.get("minLength", 1))


async def ask(whole: Whole, asked: Asked, token: str | None) -> int:
    reply = await whole.call(asked.method, asked.path, token, asked.body)
    assert reply.status < 500, (asked.name, reply)
    return reply.status


async def test_without_a_valid_token_every_route_that_needs_one_answers_401(whole: Whole) -> None:
    user = await whole.sign_in("System Admin")
    past = WebTokens(SECRET, whole.services.settings.auth, Clock())  # it is 1970 there
    bad: dict[str, str | None] = {
        "none": None,
        "garbage": "garbage",
        "forged": user[0][:-6] + "AAAAAA",
        "expired": past.access(1, email("System Admin"), "session", [], []),
        "refresh": user[1],
    }
    for asked in await requests(whole):
        auth = asked.endpoint.route.auth
        if auth is Auth.OPEN:
            continue
        other = TOKENS[NORTH] if auth is Auth.USER else user[0]
        for kind, token in {**bad, "of the other kind": other}.items():
            assert await ask(whole, asked, token) == 401, (asked.name, kind)


async def test_an_open_route_does_not_look_at_tokens(whole: Whole) -> None:
    for asked in await requests(whole):
        route = asked.endpoint.route
        if route.auth is not Auth.OPEN or route.name in TOKEN_IN_AN_OPEN_ROUTE:
            continue
        if asked.method == "GET":  # asked again, what changes something answers something else
            assert await ask(whole, asked, None) == await ask(whole, asked, "x"), asked.name


@pytest.mark.parametrize("who", ["stranger", "nobody", "key of stranger", "key of nobody"])
async def test_an_outsider_gets_nothing(whole: Whole, who: str) -> None:
    """Whatever names a thing of `NORTH` is refused or not found.

    The key of the stranger permits everything in `SOUTH`, that of nobody nothing in `NORTH`.
    """
    if who == "key of stranger":
        token = await whole.key("stranger", SOUTH, ROLES["Org Admin"])
    elif who == "key of nobody":
        token = await whole.key("Org Admin", NORTH, [])
    else:
        token, _ = await whole.sign_in(who)
    by_key, who = who.startswith("key"), who.removeprefix("key of ")
    opened = []
    for asked in await requests(whole):
        route = asked.endpoint.route
        if route.auth is not Auth.USER:
            continue
        status = await ask(whole, asked, token)
        if (who == "nobody" and route.permission) or (by_key and not route.keys):
            expected = {403}
        elif route.name in OWN:
            expected = {200}
        elif who == "nobody" or route.parameters or mentions(asked):
            expected = {400, 403, 404}
        else:
            continue  # a list of what is the stranger's own, who has rights in SOUTH
        if status not in expected:
            opened.append((asked.name, status))
    assert opened == []


def mentions(asked: Asked) -> bool:
    """@return: whether the request names something of `NORTH`."""
    body = asked.body if isinstance(asked.body, dict) else {}
    return "organizationId" in asked.path or any(
        name == "organizationId" or name.endswith("Id") for name in body
    )


async def test_a_key_opens_exactly_what_it_permits_of_what_its_maker_may_do(whole: Whole) -> None:
    held = ROLES["Viewer"]
    token = await whole.key("Org Admin", NORTH, held)
    for asked in await requests(whole):
        route = asked.endpoint.route
        if route.auth is not Auth.USER or not route.permission:
            continue
        status = await ask(whole, asked, token)
        if route.permission in held and route.keys:
            assert status not in (401, 403), (asked.name, status)
        else:
            assert status == 403, (asked.name, status)


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_role_opens_exactly_the_routes_that_it_permits(whole: Whole, role: str) -> None:
    token, _ = await whole.sign_in(role)
    for asked in await requests(whole):
        route = asked.endpoint.route
        if route.auth is not Auth.USER or not route.permission:
            continue
        status = await ask(whole, asked, token)
        if route.permission in ROLES[role]:
            assert status != 401, (asked.name, status)
            if role == "System Admin":
                assert status != 403, (asked.name, status)
        else:
            assert status == 403, (asked.name, status)
