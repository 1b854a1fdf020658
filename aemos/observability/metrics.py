"""Figures for Prometheus: plain integers where the server counts, families when it is scraped.

Names, labels and caps are those of spec/notifications-metrics.md section 3, so that existing boards
and alert rules work; what is new is called `aemos_*`. No label names a device, user or session.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

import twisted
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from twisted.logger import Logger

from aemos import __version__

CAPS = {
    "actionType": 10,
    "method": 10,
    "organizationId": 100,
    "protocol": 5,
    "result": 3,
    "route": 300,
    "ruleChainId": 200,
    "status": 5,
    "status_code": 20,
    "type": 5,
}
"""How many values a label may have over all metrics; labels not named here have a fixed set.

There are more routes than the 50 of the original, where most of them had one and the same label.
"""

OTHER = "other"
"""What a value beyond the cap is counted as, so that sums stay right."""

HTTP_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Up to 2 as in the original; 5 and 10 let its alert on a 95th percentile above 2 s fire at all."""

RULE_BUCKETS = HTTP_BUCKETS

COLLECTION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)

TIMEOUT_BUCKETS = (1.0, 5.0, 10.0, 30.0, 60.0)

TIMEOUTS = (
    "DATA_COLLECTION_TIMEOUT",
    "RULE_CHAIN_TIMEOUT",
    "WORKER_TIMEOUT",
    "EXTERNAL_ACTION_TIMEOUT",
)
"""What the original tells apart; the last two never happen there, nor here."""

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

Number = int | float


class Labels:
    """Keeps the number of values per label below its cap."""

    _log = Logger()

    def __init__(self, caps: Mapping[str, int] = CAPS) -> None:
        self._caps = caps
        self._known: dict[str, set[str]] = {}

    def admit(self, names: Sequence[str], values: tuple[str, ...]) -> tuple[str, ...]:
        """@return: `values`, those beyond the cap of their label replaced by `other`."""
        return tuple(self._admit(name, value) for name, value in zip(names, values, strict=True))

    def _admit(self, name: str, value: str) -> str:
        known = self._known.setdefault(name, set())
        if value in known:
            return value
        cap = self._caps.get(name)
        if cap is None or len(known) < cap:
            known.add(value)
            return value
        if OTHER not in known:
            known.add(OTHER)
            self._log.warn(
                "label {label} has more than {cap} values; the rest is counted as {other}",
                label=name,
                cap=cap,
                other=OTHER,
            )
        return OTHER


class Counts(Collector):
    """A counter: one integer per combination of label values, shown once there is one."""

    def __init__(self, name: str, doc: str, names: Sequence[str], labels: Labels) -> None:
        self._name, self._doc, self._names, self._labels = name, doc, names, labels
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, *values: str, count: int = 1) -> None:
        """Count. @param values: of the labels, in order of their names."""
        try:
            self._counts[values] += count
        except KeyError:
            admitted = self._labels.admit(self._names, values)
            self._counts[admitted] = self._counts.get(admitted, 0) + count

    def collect(self) -> Iterable[Metric]:
        """Give the family, or nothing before the first count."""
        if self._counts:
            family = CounterMetricFamily(self._name, self._doc, labels=self._names)
            for values, count in self._counts.items():
                family.add_metric(values, count)
            yield family


class Durations(Collector):
    """A histogram of seconds per combination of label values."""

    def __init__(
        self, name: str, doc: str, names: Sequence[str], buckets: Sequence[float], labels: Labels
    ) -> None:
        self._name, self._doc, self._names, self._labels = name, doc, names, labels
        self._bounds = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def expect(self, *values: str) -> None:
        """Show this combination before anything is observed. @param values: as of `observe`."""
        self._counts[values] = [0] * (len(self._bounds) + 1)
        self._sums[values] = 0.0

    def observe(self, seconds: float, *values: str) -> None:
        """Note one duration. @param values: of the labels, in order of their names."""
        counts = self._counts.get(values)
        if counts is None:
            values = self._labels.admit(self._names, values)
            counts = self._counts.setdefault(values, [0] * (len(self._bounds) + 1))
            self._sums.setdefault(values, 0.0)
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def collect(self) -> Iterable[Metric]:
        """Give the family with cumulative buckets, or nothing before the first observation."""
        if self._counts:
            family = HistogramMetricFamily(self._name, self._doc, labels=self._names)
            for values, counts in self._counts.items():
                buckets, sofar = [], 0
                for bound, count in zip((*self._bounds, "+Inf"), counts, strict=True):
                    sofar += count
                    buckets.append((str(bound), sofar))
                family.add_metric(values, buckets, self._sums[values])
            yield family


class Reading(Collector):
    """A figure that another part keeps; it is asked for at each scrape."""

    def __init__(
        self,
        family: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        doc: str,
        read: Callable[[], Number | Mapping[str, Number]],
        label: str,
    ) -> None:
        self._family, self._name, self._doc, self._read, self._label = (
            family,
            name,
            doc,
            read,
            label,
        )

    def collect(self) -> Iterable[Metric]:
        """Ask the part; a mapping gives one sample per value of the label."""
        family = self._family(self._name, self._doc, labels=[self._label] if self._label else [])
        value = self._read()
        if isinstance(value, Mapping):
            for name, count in value.items():
                family.add_metric([name], count)
        else:
            family.add_metric([], value)
        yield family


class Metrics:
    """All figures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._labels = Labels()
        self._requests = self._counts(
            "http_requests_total", "answered requests", "method", "route", "status_code"
        )
        self._request_seconds = self._durations(
            "http_request_duration_seconds",
            "time until a request was answered",
            HTTP_BUCKETS,
            "method",
            "route",
            "status_code",
        )
        self._ingested = self._counts(
            "telemetry_ingestion_total", "stored readings", "organizationId"
        )
        self._state_changes = self._counts(
            "device_state_changes_total", "new values of device states", "organizationId"
        )
        self._notifications = self._counts(
            "notifications_sent_total", "announcements to subscribers", "protocol"
        )
        self._messages = self._counts(
            "aemos_messages_total", "messages of devices by verdict", "code", "door"
        )
        self._rule_seconds = self._durations(
            "rule_execution_duration_seconds", "time of a run", RULE_BUCKETS, "status"
        )
        self._rule_runs = self._counts(
            "rule_execution_total", "runs of rule chains", "ruleChainId", "status"
        )
        self._rule_filters = self._counts(
            "rule_filter_evaluations_total", "filters decided", "ruleChainId", "result"
        )
        self._rule_actions = self._counts(
            "rule_action_executions_total", "actions reached", "ruleChainId", "actionType"
        )
        self._rule_nodes: dict[str, int] = {}
        self.gauge(
            "rule_execution_nodes_executed",
            "nodes of the last run",
            lambda: self._rule_nodes,
            "ruleChainId",
        )
        self._collections = self._counts(
            "data_collection_total", "values read for a run", "type", "status"
        )
        self._collection_seconds = self._durations(
            "data_collection_duration_seconds", "time of it", COLLECTION_BUCKETS, "type", "status"
        )
        self._timeouts = self._counts("rule_timeout_total", "timeouts", "error_code")
        for code in TIMEOUTS:
            self._timeouts.add(code, count=0)
        self._timeout_seconds = self._durations(
            "rule_timeout_duration_seconds", "time until then", TIMEOUT_BUCKETS, "error_code"
        )
        for code in TIMEOUTS:
            self._timeout_seconds.expect(code)
        self._bare: list[bytes] = []
        self._stored: dict[tuple[str, int | None], list[int]] = {}
        self._registry.register(_BuildInfo())
        ProcessCollector(registry=self._registry)

    def http_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. @param route: as `/api/v1/devices/:id`; "" = there is no such route."""
        values = (method if method in _METHODS else OTHER, route or "unmatched", str(status))
        self._requests.add(*values)
        self._request_seconds.observe(seconds, *values)

    def messages_stored(
        self, door: str, organization_id: int | None, messages: int, readings: int
    ) -> None:
        """Count accepted messages and their new readings; labels are made when somebody looks."""
        key = (door, organization_id)
        counts = self._stored.get(key)
        if counts is None:
            counts = self._stored[key] = [0, 0]
        counts[0] += messages
        counts[1] += readings

    def readings_stored(self, organization_id: int | None, count: int) -> None:
        """Count stored readings, by whatever door they came."""
        self._ingested.add(_organization(organization_id), count=count)

    def device_state_changed(self, organization_id: int | None) -> None:
        """Count a new value of a device state, by whatever door it came."""
        self._state_changes.add(_organization(organization_id))

    def rule_ran(
        self,
        chain_id: int,
        status: str,
        seconds: float,
        *,
        nodes: int,
        filters: Iterable[bool],
        actions: Iterable[str],
    ) -> None:
        """Count a run of a rule chain, with the filters and actions that it reached.

        @param status: success, aborted, failure or timeout.
        """
        chain = str(chain_id)
        self._rule_seconds.observe(seconds, status)
        self._rule_runs.add(chain, status)
        if chain in self._rule_nodes or len(self._rule_nodes) < CAPS["ruleChainId"]:
            self._rule_nodes[chain] = nodes
        for passed in filters:
            self._rule_filters.add(chain, "passed" if passed else "failed")
        for action in actions:
            self._rule_actions.add(chain, str(action))
        if status == "timeout":
            self._timed_out("RULE_CHAIN_TIMEOUT", seconds)

    def values_collected(self, kinds: Iterable[str], seconds: float, timed_out: bool) -> None:
        """Count that the values of a run were read. @param kinds: sensor, device."""
        status = "timeout" if timed_out else "success"
        for kind in kinds:
            self._collections.add(kind, status)
            self._collection_seconds.observe(seconds, kind, status)
        if timed_out:
            self._timed_out("DATA_COLLECTION_TIMEOUT", seconds)

    def _timed_out(self, code: str, seconds: float) -> None:
        self._timeouts.add(code)
        self._timeout_seconds.observe(seconds, code)

    def message_judged(self, door: str, code: str) -> None:
        """Count a verdict on a message (`model.Code`)."""
        self._messages.add(code, door)

    def notification_sent(self, protocol: str, count: int = 1) -> None:
        """Count announcements. @param protocol: mqtt or socket."""
        self._notifications.add(protocol, count=count)

    def gauge(
        self,
        name: str,
        doc: str,
        read: Callable[[], Number | Mapping[str, Number]],
        label: str = "",
    ) -> None:
        """Show a value that goes up and down; `read` gives one number, or one per `label`."""
        self._registry.register(Reading(GaugeMetricFamily, name, doc, read, label))

    def counter(
        self,
        name: str,
        doc: str,
        read: Callable[[], Number | Mapping[str, Number]],
        label: str = "",
    ) -> None:
        """Show a value that only grows, as `gauge` does; its name ends in `_total`."""
        self._registry.register(Reading(CounterMetricFamily, name, doc, read, label))

    def bare_counter(self, name: str, doc: str, read: Callable[[], Number]) -> None:
        """Show a value that only grows, under a name without `_total` that boards know."""
        self.gauge(name, doc, read)  # the library knows no such counters
        self._bare.append(name.encode())

    def render(self) -> bytes:
        """@return: everything, as `text/plain; version=0.0.4`."""
        stored, self._stored = self._stored, {}
        for (door, organization_id), (messages, readings) in stored.items():
            self._messages.add("ACCEPTED", door, count=messages)
            self.readings_stored(organization_id, readings)
        text = generate_latest(self._registry)
        for name in self._bare:
            text = text.replace(b"# TYPE %b gauge\n" % name, b"# TYPE %b counter\n" % name)
        return text

    def _durations(self, name: str, doc: str, buckets: Sequence[float], *names: str) -> Durations:
        durations = Durations(name, doc, names, buckets, self._labels)
        self._registry.register(durations)
        return durations

    def _counts(self, name: str, doc: str, *names: str) -> Counts:
        counts = Counts(name, doc, names, self._labels)
        self._registry.register(counts)
        return counts


def _organization(organization_id: int | None) -> str:
    return "unknown" if organization_id is None else str(organization_id)


class _BuildInfo(Collector):
    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "aemos_build_info", "what is running", labels=["python", "twisted", "version"]
        )
        family.add_metric([platform.python_version(), twisted.__version__, __version__], 1)
        yield family
