"""Readings on their way into `DataStream`, and how many of them are stored at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aemos.model import Instant
from aemos.storage.transaction import Transaction

_COLUMNS = ("value", "telemetryDataId", "recievedAt")
_KEYS_AT_ONCE = 500  # SQLite takes 32,766 parameters in a statement, of which a key needs two


class Reading(msgspec.Struct, eq=False, gc=False):
    """One value of one variable, before and after it is stored.

    `value` is text of at most 50 characters, `key` (16 bytes) recognises a repeat, None = no key.
    `urgent` is the notification priority, decided when the message was judged. The writer fills in
    `id`, or sets `duplicate` and leaves `id` None.
    """

    value: str
    telemetry_id: int
    variable_name: str
    at: Instant
    key: bytes | None = None
    urgent: bool = False
    trigger_rules: bool = True
    id: int | None = None
    duplicate: bool = False


class Readings:
    """Stores readings; one whose `key` was stored before is marked as a duplicate instead."""

    def store(self, tx: Transaction, items: Sequence[Reading]) -> None:
        """One INSERT for all, and nothing else while no reading has a key."""
        keyed = [reading for reading in items if reading.key is not None]
        if keyed:
            items = _without_repeats(tx, items, keyed)
        rows = [(reading.value, reading.telemetry_id, reading.at) for reading in items]
        for reading, row_id in zip(
            items, tx.insert_rows("DataStream", _COLUMNS, rows), strict=True
        ):
            reading.id = row_id


READINGS = Readings()


def _without_repeats(
    tx: Transaction, items: Sequence[Reading], keyed: Sequence[Reading]
) -> list[Reading]:
    """Mark the repeats, remember the keys of the others. @return: what is to be inserted."""
    known = _known_keys(tx, keyed)
    new: list[tuple[int, bytes | None, Instant]] = []
    for reading in keyed:
        key = (reading.telemetry_id, reading.key)
        reading.id = None  # an earlier attempt at this transaction may have given it one
        reading.duplicate = key in known
        if not reading.duplicate:
            known.add(key)
            new.append((*key, tx.now))
    tx.insert_rows("reading_key", ("telemetry_id", "digest", "received_at"), new)
    return [reading for reading in items if not reading.duplicate]


def _known_keys(tx: Transaction, keyed: Sequence[Reading]) -> set[tuple[int, bytes | None]]:
    known: set[tuple[int, bytes | None]] = set()
    for start in range(0, len(keyed), _KEYS_AT_ONCE):
        part = keyed[start : start + _KEYS_AT_ONCE]
        rows = tx.all(
            "SELECT telemetry_id, digest FROM reading_key"
            f" WHERE (telemetry_id, digest) IN ({tx.dialect.row_marks(len(part), 2)})",
            [value for reading in part for value in (reading.telemetry_id, reading.key)],
        )
        known.update((row["telemetry_id"], row["digest"]) for row in rows)
    return known


def prune_keys(tx: Transaction, before: Instant) -> int:
    """Forget keys that were stored before this time. @return: how many."""
    return tx.execute("DELETE FROM reading_key WHERE received_at < %s", (before,))
