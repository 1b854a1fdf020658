"""The pages: which files are served, what the browser is told about them, and what is missing."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
import treq
from treq.response import _Response
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from aemos.config.schema import Http
from aemos.http.auth import Authenticator
from aemos.http.door import HttpDoor
from aemos.http.endpoint import Api
from aemos.http.pages import LIBRARIES, PAGES, WEB, pages
from aemos.http.site import build_site

PORTS = {"mqtt_websocket": 9001}


@attrs.frozen
class Served:
    """The pages of a folder, on a port."""

    folder: Path
    port: int
    agent: Agent

    async def get(self, path: str, **headers: str) -> _Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}{path}"
        return await treq.get(url, headers=fields, agent=self.agent, unbuffered=True)


@pytest_twisted.async_yield_fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A copy of the pages, with a library beside them."""
    folder = tmp_path / "web"
    ignored = shutil.ignore_patterns("node_modules", "vendor", "guides")
    shutil.copytree(WEB, folder, ignore=ignored)
    (folder / "vendor").mkdir()
    (folder / LIBRARIES).write_text("free for all")
    nobody: Any = None  # no route is asked
    api = Api([], Authenticator(nobody, nobody, reactor))
    site = build_site(api, Http(), reactor, children=pages(PORTS, folder))
    door = HttpDoor(site, "tcp:0:interface=127.0.0.1", reactor, 5)
    await door.listen()
    assert door.port is not None
    yield Served(folder, door.port, Agent(reactor, pool=HTTPConnectionPool(reactor, False)))
    await door.stopService()


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_load_from_this_server_only_and_holds_no_script(
    served: Served, path: str
) -> None:
    answer = await served.get(path)
    assert answer.code == 200
    assert answer.headers.getRawHeaders("Content-Type") == ["text/html; charset=utf-8"]
    (policy,) = answer.headers.getRawHeaders("Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert "unsafe" not in policy
    assert answer.headers.getRawHeaders("X-Content-Type-Options") == ["nosniff"]
    text = await answer.text()
    assert not re.search(
        r"<script(?! (?:type=\"module\" |defer )?src=)|<style| style=| on\w+=", text
    )
    for name in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert name.startswith("/web/"), name
        if not name.startswith("/web/vendor/"):
            assert (await served.get(name)).code == 200, name


async def test_one_page_stays_on_this_machine(served: Served) -> None:
    for name in ("Forwarded", "X_Forwarded_For", "Via"):
        answer = await served.get("/socketClient.html", **{name: "127.0.0.1"})
        assert answer.code == 403
        message = "This endpoint is restricted to localhost only"
        assert await answer.json() == {"status": "error", "message": message}
        assert (await served.get("/deviceSocketClient.html", **{name: "1.2.3.4"})).code == 200


async def test_what_the_browser_has_is_not_sent_again_until_it_changes(served: Served) -> None:
    first = await served.get("/web/styles/base.css")
    (tag,) = first.headers.getRawHeaders("ETag")
    assert first.headers.getRawHeaders("Cache-Control") == ["no-cache"]
    again = await served.get("/web/styles/base.css", If_None_Match=tag)
    assert (again.code, await again.content()) == (304, b"")
    (served.folder / "styles" / "base.css").write_text("body { color: red }")
    changed = await served.get("/web/styles/base.css", If_None_Match=tag)
    assert (changed.code, await changed.content()) == (200, b"body { color: red }")


async def test_files_are_compressed_for_whoever_can_read_that(served: Served) -> None:
    plain = await served.get("/web/styles/base.css")
    assert plain.headers.getRawHeaders("Content-Encoding") is None
    url = f"http://127.0.0.1:{served.port}/web/styles/base.css"
    zipped = await served.agent.request(
        b"GET", url.encode(), Headers({"Accept-Encoding": ["gzip"]})
    )
    assert zipped.headers.getRawHeaders("Content-Encoding") == ["gzip"]
    assert zipped.headers.getRawHeaders("Vary") == ["Accept-Encoding"]
    assert gzip.decompress(await treq.content(zipped)) == await plain.content()


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/things",
        "/web/",
        "/web/scripts",
        "/web/scripts/nothing.js",
        "/web/package.json",
        "/web/.npmrc",
        "/web/node_modules/mqtt/LICENSE.md",
        "/web/scripts/..%2F..%2F__init__.py",
        "/web/..%2Fpy.typed",
        "/web/scripts/%00.js",
        "/web/scripts/%ff.js",
        "/web/styles/../../errors.py",
    ],
)
async def test_nothing_else_of_the_folder_is_served(served: Served, path: str) -> None:
    assert (await served.get(path)).code == 404


async def test_the_ports_are_those_that_were_opened(served: Served) -> None:
    answer = await served.get("/web/server.json")
    assert (await answer.json())["ports"] == PORTS


async def test_without_the_libraries_a_page_says_what_to_do(served: Served) -> None:
    (served.folder / LIBRARIES).unlink()
    answer = await served.get("/mqttClient.html")
    assert answer.code == 503
    assert "make web" in await answer.text()


async def test_the_guides_are_served_where_they_were_rendered(served: Served) -> None:
    assert (await served.get("/docs")).code == 503
    (served.folder / "guides").mkdir()
    for name in ("index", "devices"):
        (served.folder / "guides" / f"{name}.html").write_text(f"<h1>{name}</h1>")
    for path, name in {"/docs": "index", "/docs/": "index", "/docs/devices": "devices"}.items():
        answer = await served.get(path)
        assert (answer.code, await answer.text()) == (200, f"<h1>{name}</h1>"), path
    for path in ("/docs/nothing", "/docs/devices/more", "/docs/..%2F..%2Findex"):
        assert (await served.get(path)).code == 404, path
