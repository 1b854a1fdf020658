"""What Prometheus gets to read, and what readiness says."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

from aemos import __version__
from aemos.errors import StorageUnavailable
from aemos.observability.health import Health
from aemos.observability.metrics import CAPS, OTHER, Labels, Metrics


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a name: label values in order of the label names -> value."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_answers_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics()
    metrics.http_answered("GET", "/api/v1/areas/:id", 200, 0.003)
    metrics.http_answered("GET", "/api/v1/areas/:id", 200, 0.3)
    metrics.http_answered("BREW", "", 404, 0.001)
    assert samples(metrics, "http_requests_total") == {
        ("GET", "/api/v1/areas/:id", "200"): 2,
        (OTHER, "unmatched", "404"): 1,
    }


def test_a_histogram_has_cumulative_buckets_up_to_infinity_and_a_sum() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.004, 1.5, 60.0):
        metrics.http_answered("GET", "/x", 200, seconds)
    buckets = samples(metrics, "http_request_duration_seconds_bucket")
    counts = {bound: count for (bound, *_), count in buckets.items()}
    assert counts["0.001"] == 1
    assert counts["0.005"] == 2
    assert counts["1.0"] == 2
    assert counts["2.0"] == 3
    assert counts["5.0"] == counts["10.0"] == 3
    assert counts["+Inf"] == 4
    assert samples(metrics, "http_request_duration_seconds_count") == {("GET", "/x", "200"): 4}
    assert samples(metrics, "http_request_duration_seconds_sum") == {("GET", "/x", "200"): 61.505}


def test_labels_with_quotes_and_line_breaks_are_escaped() -> None:
    metrics = Metrics()
    metrics.http_answered("GET", '/"a"\n\\b', 200, 0.1)
    assert samples(metrics, "http_requests_total") == {("GET", '/"a"\n\\b', "200"): 1}


def test_readings_are_counted_by_organization() -> None:
    metrics = Metrics()
    metrics.readings_stored(7, 3)
    metrics.readings_stored(7, 2)
    metrics.readings_stored(None, 1)
    assert samples(metrics, "telemetry_ingestion_total") == {("7",): 5, ("unknown",): 1}


def test_accepted_messages_are_counted_with_their_readings() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.messages_stored("mqtt", 7, 1, 2)
        metrics.render()
    metrics.messages_stored("http", None, 3, 1)
    assert samples(metrics, "telemetry_ingestion_total") == {("7",): 4, ("unknown",): 1}
    assert samples(metrics, "aemos_messages_total") == {
        ("ACCEPTED", "mqtt"): 2,
        ("ACCEPTED", "http"): 3,
    }


def test_messages_and_announcements_are_counted() -> None:
    metrics = Metrics()
    metrics.message_judged("mqtt", "ACCEPTED")
    metrics.notification_sent("mqtt")
    metrics.notification_sent("socket", 2)
    assert samples(metrics, "aemos_messages_total") == {("ACCEPTED", "mqtt"): 1}
    assert samples(metrics, "notifications_sent_total") == {("mqtt",): 1, ("socket",): 2}


def test_what_was_never_counted_is_not_there() -> None:
    assert "http_requests_total" not in Metrics().render().decode()


def test_values_beyond_the_cap_are_counted_as_other() -> None:
    metrics = Metrics()
    cap = CAPS["organizationId"]
    for organization in range(cap + 5):
        metrics.readings_stored(organization, 1)
    metrics.readings_stored(0, 1)
    counts = samples(metrics, "telemetry_ingestion_total")
    assert len(counts) == cap + 1
    assert counts["0",] == 2
    assert counts[OTHER,] == 5


def test_a_cap_holds_over_all_metrics_together() -> None:
    labels = Labels({"kind": 2})
    assert labels.admit(["kind", "free"], ("a", "1")) == ("a", "1")
    assert labels.admit(["kind"], ("b",)) == ("b",)
    assert labels.admit(["kind", "free"], ("c", "2")) == (OTHER, "2")
    assert labels.admit(["kind"], ("a",)) == ("a",)


def test_figures_of_other_parts_are_read_when_scraped() -> None:
    metrics = Metrics()
    connections, closed = [3], {"keep_alive": 1}
    metrics.gauge("aemos_mqtt_connections", "open connections", lambda: connections[0])
    metrics.counter("aemos_mqtt_closed_total", "closed", lambda: closed, "reason")
    connections[0] = 5
    closed["malformed"] = 2
    assert samples(metrics, "aemos_mqtt_connections") == {(): 5}
    assert samples(metrics, "aemos_mqtt_closed_total") == {("keep_alive",): 1, ("malformed",): 2}


def test_the_build_is_named() -> None:
    ((_, _, version),) = samples(Metrics(), "aemos_build_info")
    assert version == __version__


def test_every_line_is_one_that_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.http_answered("GET", "/x", 200, 0.1)
    number = r"(?:[0-9.e+-]+|\+Inf|NaN)"
    for line in metrics.render().decode().splitlines():
        assert re.fullmatch(rf'#.*|[a-z_]+(?:\{{(?:[a-z_]+="[^"]*",?)+\}})? {number}', line), line


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.message_judged("mqtt", "ACCEPTED")
    assert samples(other, "aemos_messages_total") == {}


def result_of(deferred: Deferred[dict[str, str]]) -> dict[str, str]:
    results: list[dict[str, str]] = []
    deferred.addCallback(results.append)
    (result,) = results
    return result


async def test_health_names_the_parts_that_are_not_ready_and_why() -> None:
    async def away() -> None:
        raise StorageUnavailable("the database is away")

    health = Health(Clock())
    health.add("database", away)
    health.add("mqtt", lambda: None)
    health.add("realtime", lambda: succeed(None))
    assert await health.check() == {"database": "the database is away", "mqtt": "", "realtime": ""}


async def test_a_part_that_cannot_be_checked_is_logged_and_not_ready(hygiene: list[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    health = Health(Clock())
    health.add("mqtt", broken)
    assert await health.check() == {"mqtt": "cannot be checked"}
    (problem,) = hygiene
    assert "ZeroDivisionError" in problem
    hygiene.clear()


def test_a_part_that_does_not_answer_is_not_ready_after_a_while() -> None:
    clock = Clock()
    health = Health(clock, patience=2.0)
    silent: Deferred[None] = Deferred()
    health.add("database", lambda: silent)
    asked = ensureDeferred(health.check())
    clock.advance(1.9)
    assert not asked.called
    clock.advance(0.2)
    assert result_of(asked) == {"database": "no answer within 2 s"}
