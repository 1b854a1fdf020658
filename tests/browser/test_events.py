"""Server-Sent Events in a browser, as docs/realtime.rst says to use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.server import Sensor, Server, until

LISTEN = """
([token, room]) => {
  window.heard = [];
  window.last = "";
  window.listen = async () => {
    const answer = await fetch("/api/v1/events/ticket",
                               {method: "POST", headers: {Authorization: `Bearer ${token}`}});
    const {ticket} = (await answer.json()).data;
    window.source = new EventSource(
        `/api/v1/events?rooms=${room}&ticket=${ticket}&after=${window.last}`);
    for (const name of ["subscribed", "new-datastream", "gap"])
      window.source.addEventListener(name, (event) => {
        window.last = event.lastEventId || window.last;
        const {data} = JSON.parse(event.data);
        window.heard.push(data ? data.dataStream.value : name);
      });
  };
  window.listen();
}
"""


def store(server: Server, sensor: Sensor, *values: str) -> None:
    for value in values:
        body = {"variableName": "temperature", "value": value}
        status, _ = server.post("/api/v1/datastreams/token", body, sensor.token)
        assert status == 201


def test_a_browser_with_a_ticket_hears_what_happens_and_what_it_missed(
    server: Server, window: Callable[..., Any]
) -> None:
    sensor = server.add_sensor("temperature")
    page = window().visit("/mqttClient.html")
    page.evaluate(LISTEN, [server.sign_in(), f"telemetry-{sensor.variables['temperature']}"])
    until(lambda: page.evaluate("window.heard.length") == 1, "1 events")
    store(server, sensor, "1")
    until(lambda: page.evaluate("window.heard.length") == 2, "2 events")
    page.evaluate("window.source.close()")
    store(server, sensor, "2", "3")
    page.evaluate("window.listen()")
    until(lambda: page.evaluate("window.heard.length") == 5, "5 events")
    store(server, sensor, "4")
    until(lambda: page.evaluate("window.heard.length") == 6, "6 events")
    assert page.evaluate("window.heard") == ["subscribed", "1", "subscribed", "2", "3", "4"]
    page.evaluate("window.source.close()")
