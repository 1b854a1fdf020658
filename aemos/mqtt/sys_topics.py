"""What the server tells about itself below `$SYS/`: mosquitto's figures and aedes' happenings.

`$SYS/broker/...` has the names, units and texts that mosquitto publishes, so that existing
exporters and dashboards work; figures that did not change are not repeated. `$SYS/{id}/...` has
what the original's broker library tells: a heartbeat, and who comes, goes and subscribes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos import __version__, json
from aemos.mqtt.broker import Broker
from aemos.services.events import (
    ClientConnected,
    ClientGone,
    ClientSubscribed,
    ClientUnsubscribed,
    Events,
)

_HEARTBEAT = 60.0  # seconds, as in aedes
_MINUTES = (1, 5, 15)


class Load:
    """Moving averages per minute over 1, 5 and 15 minutes, as mosquitto computes them."""

    def __init__(self, interval: float) -> None:
        """@param interval: seconds between two updates."""
        self._per_minute = 60 / interval
        self._weights = {minutes: math.exp(-interval / 60 / minutes) for minutes in _MINUTES}
        self._before: dict[str, int] = {}
        self._averages: dict[tuple[str, int], float] = {}

    def update(self, totals: Mapping[str, int]) -> dict[str, str]:
        """@param totals: what only grows, by name. @return: topics below `load/` with payloads."""
        shown = {}
        for name, total in totals.items():
            rate = (total - self._before.get(name, 0)) * self._per_minute
            self._before[name] = total
            for minutes, weight in self._weights.items():
                average = weight * self._averages.get((name, minutes), 0.0) + (1 - weight) * rate
                self._averages[name, minutes] = average
                shown[f"{name}/{minutes}min"] = f"{average:.2f}"
        return shown


class SysTopics:
    """Publishes to whoever may listen to `$SYS/#`: administrators (docs/access.rst)."""

    _log = Logger()

    def __init__(
        self, broker: Broker, events: Events, clock: IReactorTime, broker_id: str = "aemos"
    ) -> None:
        """@param broker_id: the `{id}` of aedes' topics."""
        self._broker, self._clock, self._id = broker, clock, broker_id
        self._interval = broker.settings.sys_interval
        self._started = clock.seconds()
        self._most = 0
        self._told: dict[str, str] = {}
        self._calls: list[LoopingCall] = []
        if self._interval:
            self._load = Load(self._interval)
            events.subscribe(ClientConnected, self._connected)
            events.subscribe(ClientGone, self._gone)
            events.subscribe(ClientSubscribed, self._subscribed)
            events.subscribe(ClientUnsubscribed, self._unsubscribed)

    def start(self) -> None:
        """Begin, if `mqtt.sys_interval` is not 0."""
        if not self._interval:
            return
        self._started = self._clock.seconds()
        self._tell("version", f"aemos version {__version__}")
        for function, interval in ((self._figures, self._interval), (self._heartbeat, _HEARTBEAT)):
            call = LoopingCall(function)
            call.clock = self._clock
            self._calls.append(call)
            call.start(interval).addErrback(
                lambda failure: self._log.failure("figures below $SYS ended", failure)
            )

    def stop(self) -> None:
        """End."""
        for call in self._calls:
            call.stop()
        self._calls.clear()

    # ------------------------------------------------------------------ mosquitto's figures

    def _figures(self) -> None:
        try:
            self._tell_figures()
        except Exception:
            self._log.failure("telling figures below $SYS failed")

    def _tell_figures(self) -> None:
        broker, totals = self._broker, self._broker.totals()
        dropped = sum(totals.dropped.values())
        connected, sessions = broker.client_count, broker.session_count
        retained = len(broker.store.retained)
        figures: dict[str, int] = {
            "clients/total": sessions,
            "clients/connected": connected,
            "clients/active": connected,
            "clients/disconnected": sessions - connected,
            "clients/inactive": sessions - connected,
            "clients/expired": totals.expired,
            "clients/maximum": max(self._most, connected),
            "messages/received": totals.packets_received,
            "messages/sent": totals.packets_sent,
            "messages/stored": retained,
            "retained messages/count": retained,
            "bytes/received": totals.bytes_received,
            "bytes/sent": totals.bytes_sent,
            "publish/messages/received": totals.messages_received,
            "publish/messages/sent": totals.messages_sent,
            "publish/messages/dropped": dropped,
            "subscriptions/count": broker.subscription_count,
            "shared_subscriptions/count": broker.shared_subscription_count,
        }
        self._tell("uptime", f"{int(self._clock.seconds() - self._started)} seconds")
        for name, value in figures.items():
            self._tell(name, str(value))
        loads = {
            "messages/received": totals.packets_received,
            "messages/sent": totals.packets_sent,
            "bytes/received": totals.bytes_received,
            "bytes/sent": totals.bytes_sent,
            "publish/received": totals.messages_received,
            "publish/sent": totals.messages_sent,
            "publish/dropped": dropped,
            "connections": totals.accepted,
            "sockets": totals.opened,
        }
        for name, text in self._load.update(loads).items():
            self._tell(f"load/{name}", text)

    def _tell(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            self._broker.publish_system(f"$SYS/broker/{name}", text.encode())

    # ------------------------------------------------------------------ aedes' happenings

    def _heartbeat(self) -> None:
        self._happened("heartbeat", self._id.encode())

    def _connected(self, event: ClientConnected) -> None:
        self._most = max(self._most, self._broker.client_count)
        self._happened("new/clients", event.client.client_id.encode())

    def _gone(self, event: ClientGone) -> None:
        self._happened("disconnect/clients", event.client.client_id.encode())

    def _subscribed(self, event: ClientSubscribed) -> None:
        filters = [{"topic": topic, "qos": qos} for topic, qos in event.filters]
        payload = json.encode({"clientId": event.client_id, "subs": filters})
        self._happened("new/subscribers", payload)

    def _unsubscribed(self, event: ClientUnsubscribed) -> None:
        payload = json.encode({"clientId": event.client_id, "subs": list(event.filters)})
        self._happened("new/unsubscribers", payload)

    def _happened(self, name: str, payload: bytes) -> None:
        topic = f"$SYS/{self._id}/{name}"
        if self._broker.has_subscribers(topic):
            self._broker.publish_system(topic, payload, keep=False)
