"""Decides who is told of an alarm and when, in the transaction that changes the alarm."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aemos.model import Instant
from aemos.services.alarms.forms import quiet_hours_of, steps_of
from aemos.services.alarms.quiet_hours import when_heard
from aemos.services.alarms.shown import shown
from aemos.storage import alarm_definitions, deliveries, notification_channels, notifications
from aemos.storage.transaction import Row, Transaction

_MINUTE = 60_000  # milliseconds


def raised(tx: Transaction, alarm: Row) -> None:
    """Plan all steps at once: whoever acknowledges or clears the alarm cancels those ahead."""
    owner = alarm["organization_id"]
    if owner is None:
        return
    notification = {
        "title": alarm["name"],
        "insight": alarm["message"],
        "severity": alarm["severity"],
        "organizationId": owner,
    }
    notifications.put(tx, notification, alarm["id"])
    definition = _definition(tx, alarm)
    if definition is None:
        _put(tx, alarm, "raised", notification_channels.for_system(tx, owner), tx.now)
        return
    quiet = quiet_hours_of(definition["quiet_hours"])
    for step in steps_of(definition["steps"]):
        at = Instant(tx.now + int(step.afterMinutes * _MINUTE))
        purpose = "escalated" if step.afterMinutes else "raised"
        known = notification_channels.of_organization(tx, owner, step.channels)
        _put(tx, alarm, purpose, sorted(known), when_heard(quiet, at))


def acknowledged(tx: Transaction, alarm: Row) -> None:
    """Somebody sees to it: nobody further is told."""
    deliveries.cancel(tx, alarm["id"])


def cleared(tx: Transaction, alarm: Row) -> None:
    """Tell the end to those who heard of the beginning, if the definition wants that."""
    deliveries.cancel(tx, alarm["id"])
    definition = _definition(tx, alarm)
    if definition is not None and not definition["tell_clear"]:
        return
    quiet = None if definition is None else quiet_hours_of(definition["quiet_hours"])
    channels = deliveries.told(tx, alarm["id"])
    _put(tx, alarm, "cleared", channels, when_heard(quiet, tx.now))


def content_of(change: str, alarm: Row, at: Instant) -> dict[str, Any]:
    """@param alarm: as it is shown. @return: what channels tell, with text for people."""
    severity = str(alarm["severity"]).upper()
    subject = f"[{severity}] {alarm['name']}" if change != "cleared" else f"[OK] {alarm['name']}"
    return {
        "type": "notification",
        "change": change,
        "subject": subject,
        "text": f"{subject}: {alarm['message']}"[:1200],
        "organizationId": alarm["organizationId"],
        "alarm": alarm,
        "timestamp": at.iso(),
    }


def _definition(tx: Transaction, alarm: Row) -> Row | None:
    number = alarm["definition_id"]
    return None if number is None else alarm_definitions.find(tx, number)


def _put(
    tx: Transaction, alarm: Row, purpose: str, channels: Collection[int], due_at: Instant
) -> None:
    for channel_id in channels:
        values = {
            "organization_id": alarm["organization_id"],
            "channel_id": channel_id,
            "alarm_id": alarm["id"],
            "purpose": purpose,
            "content": content_of(purpose, shown("alarm", alarm), tx.now),
        }
        deliveries.put(tx, values, due_at)
