"""The figures of all rooms, brought together: for `/metrics`, and for the charts of the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aemos.observability.metrics import Metrics
from aemos.observability.series import Series
from aemos.realtime.socketio_door import SocketIoDoor
from aemos.services.events import (
    DeviceStateChanged,
    MessageRefused,
    ReadingsCommitted,
    RuleDataCollected,
    RuleRan,
)
from aemos.services.rules.machinery import RuleMachinery

if TYPE_CHECKING:
    from aemos.assembly import Doors, Services


def charts(services: Services, doors: Doors) -> Series:
    """@return: the figures that the console draws."""
    writer, broker, ledger = services.database.writer, doors.broker, services.ledger
    rules = services.rules.queue

    def gauges() -> dict[str, float]:
        return {
            "mqttConnections": len(broker.connections),
            "mqttSessions": broker.session_count,
            "liveConnections": len(doors.sessions),
            "queuedRows": writer.queued,
            "commitMilliseconds": writer.commit_seconds * 1000,
            "rulesWaiting": rules.pending,
        }

    def counters() -> dict[str, float]:
        totals = broker.totals()
        return {
            "messagesReceived": totals.messages_received,
            "messagesSent": totals.messages_sent,
            "rowsStored": writer.committed,
            "messagesRefused": ledger.refused.total(),
            "rulesRun": rules.completed + rules.failed,
        }

    return Series(gauges, counters, services.reactor)


def count(metrics: Metrics, services: Services, doors: Doors) -> None:
    """Bring the figures of all rooms together (spec/notifications-metrics.md section 3)."""
    writer, broker, ledger = services.database.writer, doors.broker, services.ledger

    def committed(event: ReadingsCommitted) -> None:
        for message in event.messages:
            metrics.messages_stored(
                message.door, message.organization_id, message.messages, message.new
            )

    def refused(event: MessageRefused) -> None:
        metrics.message_judged(event.message.door, event.verdict.code.value)

    def state_changed(event: DeviceStateChanged) -> None:
        metrics.device_state_changed(event.organization_id)

    def rule_ran(event: RuleRan) -> None:
        status = "failure" if event.failed and event.status == "success" else event.status
        reached = [] if event.run is None else event.run.executed
        actions = [] if event.run is None else event.run.actions
        metrics.rule_ran(
            event.chain_id,
            status,
            event.seconds,
            nodes=len(reached),
            filters=[node["passed"] for node in reached if "passed" in node],
            actions=[action["SourceType"]["deviceType"] for action in actions],
        )

    services.events.subscribe(ReadingsCommitted, committed)
    services.events.subscribe(DeviceStateChanged, state_changed)
    services.events.subscribe(MessageRefused, refused)
    services.events.subscribe(RuleRan, rule_ran)
    services.events.subscribe(
        RuleDataCollected,
        lambda event: metrics.values_collected(event.kinds, event.seconds, event.timed_out),
    )
    _count_rules(metrics, services.rules)
    metrics.gauge("aemos_db_queued_rows", "rows that wait for commit", lambda: writer.queued)
    metrics.gauge("aemos_db_up", "1 while the database answers", lambda: writer.away_since is None)
    metrics.gauge(
        "aemos_db_commit_seconds", "time of the last commit", lambda: writer.commit_seconds
    )
    metrics.counter("aemos_db_commits", "transactions of the writer", lambda: writer.batches)
    metrics.counter("aemos_db_rows", "rows committed by the writer", lambda: writer.committed)
    metrics.counter("aemos_ledger_skipped", "refusals only counted", lambda: ledger.not_written)
    orders = services.commands
    metrics.gauge("aemos_commands_waiting", "not received yet", lambda: len(orders))
    metrics.gauge(
        "aemos_actuator_timers", "actuators to be stopped", lambda: len(services.fail_safe)
    )
    metrics.gauge(
        "aemos_actuators_stuck", "that do not confirm it", lambda: services.fail_safe.stuck
    )
    watch = services.alarms.watch
    metrics.gauge("aemos_alarm_subjects", "sensors x definitions watched", lambda: len(watch))
    metrics.gauge("aemos_alarm_waiting", "readings not judged yet", lambda: watch.waiting)
    metrics.counter("aemos_alarm_dropped", "readings not judged at all", lambda: watch.dropped)
    metrics.counter("aemos_commands", "by what they came to", lambda: orders.reached, "reached")
    metrics.gauge("aemos_mqtt_connections", "open connections", lambda: len(broker.connections))
    metrics.gauge("aemos_mqtt_subscriptions", "subscriptions", lambda: broker.subscription_count)
    counters = broker.counters
    metrics.counter("aemos_mqtt_limited", "kept out by a limit", lambda: counters.limited, "limit")
    metrics.counter("aemos_mqtt_dropped", "messages not kept", lambda: counters.dropped, "reason")
    metrics.counter("aemos_mqtt_throttled", "pauses in reading", lambda: counters.throttled)
    metrics.gauge("aemos_mqtt_bans", "bans in force", lambda: len(broker.guard.bans()))
    _count_live(metrics, services, doors)
    _count_socket_io(metrics, doors.socket_io)


def _count_live(metrics: Metrics, services: Services, doors: Doors) -> None:
    hub, sessions, presences = doors.hub, doors.sessions, services.presences
    metrics.gauge("aemos_realtime_connections", "live sessions", lambda: len(sessions))
    metrics.gauge("aemos_realtime_replayable", "events kept", lambda: hub.replayable)
    metrics.counter("aemos_realtime_deliveries", "events to clients", lambda: hub.deliveries)
    metrics.counter("aemos_realtime_dropped", "for slow clients", lambda: sessions.dropped)
    metrics.gauge("aemos_presence", "sensors, devices", lambda: presences.counts, "presence")


def _count_socket_io(metrics: Metrics, door: SocketIoDoor) -> None:
    metrics.gauge("aemos_socketio_connections", "open sessions", lambda: len(door.engine))
    metrics.counter("aemos_socketio_deliveries", "events to clients", lambda: door.hub.deliveries)
    metrics.counter(
        "aemos_socketio_dropped", "events not kept for slow clients", lambda: door.engine.dropped
    )
    metrics.counter(
        "aemos_socketio_recovered",
        "clients that came back to where they were",
        lambda: door.conversations.recovered,
    )
    door.hub.told = lambda: metrics.notification_sent("socket")


def _count_rules(metrics: Metrics, rules: RuleMachinery) -> None:
    """What existing boards and alerts ask of the rule queue; names are the original's."""
    queue, circuit = rules.queue, rules.queue.circuit
    settings = rules.settings
    gauges: dict[str, Callable[[], int]] = {
        "queue_waiting": lambda: queue.waiting,
        "queue_active": lambda: queue.active,
        "queue_delayed": lambda: queue.delayed,
        "queue_total_pending": lambda: queue.pending,
        "queue_health": lambda: ("healthy", "degraded", "warning", "critical").index(queue.health),
        "workers": lambda: 1,
        "backpressure_circuit_state": lambda: circuit.circuit.value,
        "backpressure_threshold_warning": lambda: settings.queue_warning,
        "backpressure_threshold_critical": lambda: settings.queue_critical,
    }
    for name, read in gauges.items():
        metrics.gauge(f"rule_engine_{name}", "of the rule queue", read)
    metrics.bare_counter("rule_engine_queue_completed", "events worked on", lambda: queue.completed)
    metrics.bare_counter("rule_engine_queue_failed", "events given up", lambda: queue.failed)
    metrics.counter(
        "rule_engine_backpressure_rejected", "events refused", lambda: circuit.rejected_in_all
    )
