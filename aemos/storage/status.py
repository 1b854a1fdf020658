"""What sensors and devices say about their status, and when they were last heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction

SENSOR_STATUSES = frozenset(
    ("active", "inactive", "pending", "calibrating", "error", "disconnected", "retired")
)
"""The values of `Sensor.status` (spec/data-model.md section 2)."""

_MEANS = {"online": "active", "offline": "disconnected"}


@attrs.frozen(slots=True, eq=False)
class StatusReport:
    """One report: `status` as sent (at most 50 characters), `at` as the device says or received."""

    uuid: str
    status: str
    at: Instant
    metadata: Mapping[str, Any] | None = None


class StatusReports:
    """Stores reports (spec/mqtt.md section 5.4); of several about one uuid the last one counts."""

    def store(self, tx: Transaction, items: Sequence[StatusReport]) -> None:
        for report in {report.uuid: report for report in items}.values():
            self._store(tx, report)

    def _store(self, tx: Transaction, report: StatusReport) -> None:
        tx.upsert(
            "device_status",
            ["uuid"],
            {
                "uuid": report.uuid,
                "status": report.status,
                "metadata": report.metadata,
                "reported_at": report.at,
                "last_seen_at": tx.now,
            },
        )
        status = sensor_status(report.status)
        if status is not None:
            tx.execute(
                "UPDATE Sensor SET status = %s, updatedAt = %s WHERE uuid = %s",
                (status, tx.now, report.uuid),
            )
        tx.execute("UPDATE Device SET lastHeartbeat = %s WHERE uuid = %s", (tx.now, report.uuid))


STATUS_REPORTS = StatusReports()


def sensor_status(reported: str) -> str | None:
    """@return: what a reported status means for `Sensor.status`, None = nothing."""
    status = _MEANS.get(reported, reported)
    return status if status in SENSOR_STATUSES else None


def find(tx: Transaction, uuid: str) -> Row | None:
    """@return: the last report of a sensor or device."""
    return tx.one("SELECT * FROM device_status WHERE uuid = %s", (uuid,))
