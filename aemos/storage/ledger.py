"""The ledger: what was not stored and why, remembered for each device (promise P2)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction

_COLUMNS = ("device_uuid", "at", "code", "reason", "topic", "payload")
_UUID = 64  # characters
_TEXT = 1024  # characters of a reason, bytes of a topic or payload


@attrs.frozen(slots=True, eq=False)
class LedgerEntry:
    """One refusal. `code` is a value of `model.Code`; `payload` must not hold a token."""

    device_uuid: str
    at: Instant
    code: str
    reason: str = ""
    topic: str = ""
    payload: str = ""


class Ledger:
    """Stores ledger entries; long texts are cut."""

    def store(self, tx: Transaction, items: Sequence[LedgerEntry]) -> None:
        tx.insert_rows(
            "ledger",
            _COLUMNS,
            [
                (
                    entry.device_uuid[:_UUID],
                    entry.at,
                    entry.code,
                    _cut(entry.reason),
                    _cut(entry.topic),
                    _cut(entry.payload),
                )
                for entry in items
            ],
        )


LEDGER = Ledger()


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_TEXT].decode("utf-8", "ignore")


def newest(tx: Transaction, limit: int) -> list[Row]:
    """@return: the newest entries of all, newest first; `uuid` says whose each is."""
    return tx.all(
        "SELECT id, device_uuid AS uuid, at, code, reason, topic, payload FROM ledger"
        " ORDER BY id DESC LIMIT %s",
        (limit,),
    )


def prune(tx: Transaction, keep: int) -> int:
    """Delete all but the newest `keep` entries of every device. @return: how many were deleted."""
    deleted = 0
    for row in tx.all(
        "SELECT device_uuid FROM ledger GROUP BY device_uuid HAVING COUNT(*) > %s", (keep,)
    ):
        uuid = row["device_uuid"]
        last = tx.value(
            "SELECT id FROM ledger WHERE device_uuid = %s ORDER BY id DESC LIMIT 1 OFFSET %s",
            (uuid, keep),
        )
        deleted += tx.execute(
            "DELETE FROM ledger WHERE device_uuid = %s AND id <= %s", (uuid, last)
        )
    return deleted
