"""What the API says about itself is a valid document, and is the API that answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_twisted
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.internet import reactor

from aemos.http import openapi
from aemos.http.render import Answer, success
from aemos.http.routes import documentation
from aemos.http.routing import Auth, Call, route, table
from aemos.http.schemas import Body
from aemos.storage.database import open_database
from tests.conftest import settings_for
from tests.whole import Whole, open_whole

DOCUMENT = "/api/v1/openapi.json"
PAGE = "/api/v1/docs"
LIBRARY = "/api/v1/docs/rapidoc-min.js"


class Area(Body):
    """A body that has the name of a table."""

    name: str


class Clashing:
    """Routes that answer rows of that table."""

    prefixes: ClassVar[tuple[str, ...]] = ("/clashing",)

    @route("POST", "", data="Area")
    async def create(self, call: Call, body: Area) -> Answer:
        """Make one."""
        return success(data=body)


@pytest_twisted.async_yield_fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    """The server with a database that was never opened: no route asks it here."""
    settings = settings_for(f"sqlite:///{tmp_path / 'aemos.sqlite'}")
    opened, close = await open_whole(open_database(reactor, settings))
    yield opened
    await close()


async def test_patterns_are_written_for_every_reader(whole: Whole) -> None:
    schemas = (await whole.call("GET", DOCUMENT)).body["components"]["schemas"]
    assert schemas["Credentials"]["properties"]["email"]["pattern"].endswith(")+$")
    assert "(?" not in str(schemas)


async def test_the_document_is_valid_openapi(whole: Whole) -> None:
    document = (await whole.call("GET", DOCUMENT)).body
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


async def test_every_route_that_is_served_is_described_once(whole: Whole) -> None:
    document = (await whole.call("GET", DOCUMENT)).body
    described = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    served = {
        (one.route.method, re.sub(r"<(\w+)>", r"{\1}", one.rules[0])): one.route
        for one in whole.doors.api.endpoints
    }
    assert described.keys() == served.keys()
    assert len(served) == len(whole.doors.api.endpoints)
    names = [operation["operationId"] for operation in described.values()]
    assert len(set(names)) == len(names)
    for key, declared in served.items():
        operation = described[key]
        assert str(declared.status) in operation["responses"]
        assert ("requestBody" in operation) == bool(declared.body or declared.consumes)
        schemes = {name for scheme in operation["security"] for name in scheme}
        assert ("deviceToken" in schemes) == (declared.auth is Auth.DEVICE)
        assert ("webToken" in schemes) == (declared.auth is Auth.USER)
        parameters = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert parameters == set(re.findall(r"{(\w+)}", key[1]))


async def test_parameters_bodies_rows_and_failures_are_described(whole: Whole) -> None:
    document = (await whole.call("GET", DOCUMENT)).body
    schemas = document["components"]["schemas"]
    listing = document["paths"]["/api/v1/areas"]["get"]
    parameters = {one["name"]: one for one in listing["parameters"]}
    assert parameters["organizationId"]["required"]
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 10000}
    answered = listing["responses"]["200"]["content"]["application/json"]["schema"]
    assert answered["properties"]["data"]["properties"]["areas"]["items"] == {
        "$ref": "#/components/schemas/Area"
    }
    assert schemas["Area"]["properties"]["name"]["type"] == ["string", "null"]
    assert "password" not in schemas["User"]["properties"]
    body = document["paths"]["/api/v1/areas"]["post"]["requestBody"]
    assert body["required"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/NewArea")
    assert schemas["NewArea"]["required"] == ["name", "organizationId"]
    refused = document["paths"]["/api/v1/rule-chains"]["get"]["responses"]["403"]
    shapes = refused["content"]["application/json"]["schema"]["anyOf"]
    assert [shape["$ref"].rpartition("/")[2] for shape in shapes] == ["E1", "E2"]


def test_a_struct_with_the_name_of_a_table_is_refused() -> None:
    """Else one of the two would be lost without a word."""
    with pytest.raises(ValueError, match="both a table and a struct: Area"):
        openapi.describe(table([Clashing()]))


async def test_the_page_loads_from_this_server_only(whole: Whole) -> None:
    page = await whole.call("GET", PAGE)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"].split(";")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    # Each thing that the page names is served here; the script only where it was installed.
    for path in set(re.findall(rb'(?:src|href|spec-url)="([^"]+)"', page.body)):
        assert path.decode() in (DOCUMENT, LIBRARY, "/web/icon.svg")
    assert b"make web" in page.body
    other = await whole.call("GET", DOCUMENT)
    assert "default-src 'self'" in other.headers["content-security-policy"]


@pytest.mark.parametrize("installed", [True, False])
async def test_the_library_is_served_where_it_was_installed(
    whole: Whole, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        (tmp_path / "vendor").mkdir()
        (tmp_path / "vendor" / "rapidoc-min.js").write_text("draw()")
    monkeypatch.setattr(documentation, "WEB", tmp_path)
    documentation.read.cache_clear()
    reply = await whole.call("GET", LIBRARY)
    documentation.read.cache_clear()
    assert reply.status == (200 if installed else 404)
    assert (reply.body == b"draw()") == installed
