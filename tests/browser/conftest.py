"""A running server, and Chromium to look at its pages with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from aemos.http.pages import GUIDES, LIBRARIES, WEB
from tests.integration.server import PASSWORD, Server
from tests.parts import missing, need

ADMIN = "admin@example.org"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    if not all((WEB / name).is_file() for name in (LIBRARIES, GUIDES)):
        missing("the browser libraries and the guides are not there (make web)")
    program = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A started server with a System Admin; each test makes its own sensors in it."""
    folder = tmp_path_factory.mktemp("server")
    url = f"sqlite:///{folder / 'aemos.sqlite'}"
    server = Server(folder, url, auth={"admin_email": ADMIN, "admin_password": PASSWORD})
    try:
        yield server.start()
    finally:
        server.close()


@attrs.define
class Window:
    """A page of the server, and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = attrs.Factory(list)
    requests: list[Request] = attrs.Factory(list)

    def visit(self, path: str) -> Page:
        """Open a page of the server. @return: it."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, email: str = ADMIN) -> Page:
        """Open the console and sign in. @return: its page."""
        page = self.visit("/")
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("navigation").wait_for()
        return page


@pytest.fixture
def window(chromium: Browser, server: Server) -> Iterator[Callable[..., Window]]:
    """Opens browser windows; the test fails when one of them reports an error."""
    contexts: list[BrowserContext] = []
    windows: list[Window] = []

    def open_window(**options: Any) -> Window:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        window = Window(page, f"http://127.0.0.1:{server.ports['http']}")
        page.on("pageerror", lambda error: window.errors.append(str(error)))
        page.on(
            "console",
            lambda said: window.errors.append(said.text) if said.type == "error" else None,
        )
        page.on("request", lambda request: window.requests.append(request))
        windows.append(window)
        return window

    yield open_window
    for context in contexts:
        context.close()
    for each in windows:
        assert not each.errors
        foreign = [request.url for request in each.requests if "://127.0.0.1:" not in request.url]
        assert not foreign
