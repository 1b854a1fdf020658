"""`/mqttClient.html` in a real browser: connect, publish, subscribe, and what is refused."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable

from playwright.sync_api import Page, expect

from aemos.model import Instant
from aemos.storage.transaction import Transaction
from tests.browser.conftest import Window
from tests.integration.server import Sensor, Server

Open = Callable[..., Window]


def connect(page: Page, uuid: str, token: str) -> None:
    page.get_by_label("Device uuid").fill(uuid)
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Connect", exact=True).click()


def connected(window: Window, sensor: Sensor) -> Page:
    page = window.visit("/mqttClient.html")
    connect(page, sensor.uuid, sensor.token)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    return page


def test_a_published_reading_is_acknowledged_stored_and_announced(
    server: Server, window: Open
) -> None:
    sensor = server.add_sensor("temperature")
    page = connected(window(), sensor)
    page.get_by_role("button", name="Subscribe", exact=True).click()
    expect(page.get_by_label("Active subscriptions")).to_contain_text(f"devices/{sensor.uuid}/+")
    log = page.get_by_role("list", name="Messages")
    expect(log).to_contain_text("subscribed")
    page.get_by_role("button", name="Reading").click()
    page.get_by_role("button", name="Publish").click()
    expect(log).to_contain_text("acknowledged by the server")
    expect(log).to_contain_text('"type":"data_stream"')
    assert [row["value"] for row in server.stored(sensor)] == ["21.5"]


def test_a_wrong_token_an_expired_one_and_that_of_another_sensor_are_told_apart(
    server: Server, window: Open
) -> None:
    sensor, other = server.add_sensor(), server.add_sensor()
    expired = server.sql(_expired_token, sensor.id)
    opened = window()
    page = opened.visit("/mqttClient.html")
    status = page.locator(".status")
    connect(page, sensor.uuid, secrets.token_hex(32))
    expect(status).to_contain_text("Wrong token: it is unknown, or was revoked.")
    connect(page, sensor.uuid, expired)
    expect(status).to_contain_text("Token expired")
    connect(page, sensor.uuid, other.token)
    expect(status).to_contain_text(f"Wrong uuid: the token is that of sensor {other.uuid[:8]}")
    # The browser itself notes each answer 401 to the question why.
    assert all("401" in error for error in opened.errors)
    opened.errors.clear()


def _expired_token(tx: Transaction, sensor_id: int) -> str:
    token = secrets.token_hex(32)
    expired = {"sensorId": sensor_id, "status": "active", "expiresAt": Instant.of(1)}
    tx.insert("DeviceToken", {"token": token, **expired})
    return token


def test_topics_that_are_not_allowed_are_named(server: Server, window: Open) -> None:
    page = connected(window(), server.add_sensor())
    log = page.get_by_role("list", name="Messages")
    page.get_by_label("Topic filter").fill("devices/somebody/#")
    page.get_by_role("button", name="Subscribe", exact=True).click()
    expect(log.locator("li.refused")).to_contain_text("devices/somebody/#topic not allowed")
    expect(page.get_by_label("Active subscriptions")).to_have_count(0)
    page.get_by_label("Topic", exact=True).fill("devices/somebody/status")
    page.get_by_role("button", name="Publish").click()
    expect(log.locator("li.refused").last).to_contain_text("NOT_AUTHORIZED")


def test_what_is_no_json_is_not_sent_unless_one_insists(server: Server, window: Open) -> None:
    page = connected(window(), server.add_sensor())
    publish = page.get_by_role("button", name="Publish")
    page.get_by_label("Payload", exact=True).fill('{"value": }')
    expect(page.get_by_text("This is no JSON")).to_be_visible()
    expect(publish).to_be_disabled()
    page.get_by_label("Allow what is no JSON").check()
    publish.click()
    log = page.get_by_role("list", name="Messages")
    expect(log.locator("li.refused")).to_contain_text("VALIDATION_ERROR")


def test_the_log_can_be_filtered_paused_copied_and_cleared(server: Server, window: Open) -> None:
    opened = window(permissions=["clipboard-read", "clipboard-write"])
    page = connected(opened, server.add_sensor())
    log = page.get_by_role("list", name="Messages")
    page.get_by_role("button", name="Publish").click()
    expect(log).to_contain_text("acknowledged")
    page.get_by_label("Filter the log").fill("21.5")
    expect(log.locator("li")).to_have_count(1)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert "QoS 1" in page.evaluate("navigator.clipboard.readText()")
    page.get_by_label("Filter the log").fill("")
    before = log.locator("li").count()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Publish").click()
    resume = page.get_by_role("button", name=re.compile(r"Resume \(2 new\)"))
    expect(resume).to_be_visible()
    assert log.locator("li").count() == before
    resume.click()
    expect(log.locator("li")).to_have_count(before + 2)
    page.get_by_role("button", name="Clear").click()
    expect(log).to_contain_text("Connect as a device")


def test_settings_are_remembered_but_the_token_only_when_asked(
    server: Server, window: Open
) -> None:
    sensor = server.add_sensor()
    opened = window()
    page = opened.visit("/mqttClient.html")
    page.get_by_label("Device uuid").fill(sensor.uuid)
    page.get_by_label("Token", exact=True).fill(sensor.token)
    expect(page.get_by_label("Topic", exact=True)).to_have_value(sensor.datastream)
    page.reload()
    expect(page.get_by_label("Device uuid")).to_have_value(sensor.uuid)
    expect(page.get_by_label("Token", exact=True)).to_have_value("")
    page.get_by_label("Token", exact=True).fill(sensor.token)
    page.get_by_label("Remember the token").check()
    page.reload()
    expect(page.get_by_label("Token", exact=True)).to_have_value(sensor.token)


def test_the_will_is_published_when_the_browser_goes_away(server: Server, window: Open) -> None:
    sensor = server.add_sensor()
    dying, watching = window(), window()
    page = dying.visit("/mqttClient.html")
    page.get_by_text("Client id, session, keep-alive, will").click()
    page.get_by_label("Topic of the will").fill(f"devices/{sensor.uuid}/status")
    page.get_by_label("Payload of the will").fill(json.dumps({"status": "lost"}))
    connect(page, sensor.uuid, sensor.token)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    watcher = connected(watching, sensor)
    watcher.get_by_role("button", name="Subscribe", exact=True).click()
    log = watcher.get_by_role("list", name="Messages")
    expect(log).to_contain_text("subscribed")
    page.close()
    expect(log).to_contain_text("lost")
