"""Notifications, who has read them, and tickets: the SQL of `Notification` and `Ticket`.

Source: spec/data-model.md section 2. When and by what a notification was made is beside it, in
`notification_origin`; those of an adopted database have no such row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.storage.transaction import Transaction


def put(tx: Transaction, values: Mapping[str, Any], alarm_id: int) -> None:
    """Make a notification. @param values: columns of `Notification`."""
    notification_id = tx.insert("Notification", values)
    origin = {"notification_id": notification_id, "alarm_id": alarm_id, "created_at": tx.now}
    tx.insert("notification_origin", origin)
