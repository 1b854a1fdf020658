"""The Socket.IO test pages in a real browser: rooms, and what is told there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Window
from tests.integration.device import Device
from tests.integration.server import Sensor, Server

Open = Callable[..., Window]


def publish(server: Server, sensor: Sensor, value: float) -> None:
    device = Device.of(server, sensor)
    device.publish(sensor.datastream, {"variableName": "temperature", "value": value})
    device.leave()


def join(page: Page, room: str) -> None:
    page.get_by_label("Room", exact=True).fill(room)
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_label("Joined rooms")).to_contain_text(room)


@pytest.mark.parametrize("transport", ["WebSocket only", "Polling only"])
def test_readings_arrive_in_the_room_of_their_variable(
    server: Server, window: Open, transport: str
) -> None:
    sensor = server.add_sensor("temperature")
    opened = window()
    opened.sign_in()  # the page uses the sign-in of the console
    page = opened.visit("/socketClient.html")
    page.get_by_label("Transport").select_option(transport)
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    join(page, f"telemetry-{sensor.variables['temperature']}")
    join(page, f"device-uuid-{sensor.uuid}")
    log = page.get_by_role("list", name="Messages")
    publish(server, sensor, 19.5)
    expect(log).to_contain_text("new-datastream")
    expect(log).to_contain_text('"value": "19.5"')


def test_a_token_that_is_none_is_refused_in_words(server: Server, window: Open) -> None:
    page = window().visit("/deviceSocketClient.html")
    page.get_by_label("Web token").fill("nonsense")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator(".status")).not_to_contain_text("Connecting")
    expect(page.get_by_text("Refused", exact=True)).to_be_visible()
