"""What makes rule chains run, kept until they are done with it: `rule_trigger`, `rule_applied`.

A trigger is stored in the transaction of what caused it, so that a reading that was acknowledged
has its consequences even if the process ends in between. What a chain changes is noted in the
transaction that changes it, so that a repeated run changes nothing a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.readings import Reading
from aemos.storage.transaction import Row, Transaction, marks

READING, STATE, SCHEDULE = "reading", "state", "schedule"
"""Kinds: `source_id` is the variable, the device or the chain; `name` that of variable or state."""

_COLUMNS = ("kind", "source_id", "name", "value", "at", "depth")
_AT_ONCE = 1000  # SQLite takes a limited number of parameters


@attrs.define(slots=True, eq=False)
class Trigger:
    """One cause for chains to run: a new value, or the time of a schedule.

    `depth` counts the rule actions that led here, `reading` is the one behind it: that of a repeat
    is no cause. Storing fills in `id`, None = not stored.
    """

    kind: str
    source_id: int
    name: str
    value: str | None
    at: Instant
    depth: int = 0
    reading: Reading | None = None
    id: int | None = None


class Triggers:
    """Stores triggers; comes behind the readings in a unit, since repeats are known then."""

    def store(self, tx: Transaction, items: Sequence[Trigger]) -> None:
        """One INSERT for all."""
        new = []
        for item in items:
            item.id = None  # an earlier attempt at this transaction may have given it one
            if item.reading is None or not item.reading.duplicate:
                new.append(item)
        rows = [(t.kind, t.source_id, t.name, t.value, t.at, t.depth) for t in new]
        for item, row_id in zip(new, tx.insert_rows("rule_trigger", _COLUMNS, rows), strict=True):
            item.id = row_id


class Finished:
    """Forgets triggers, given by their ids, with what was applied for them."""

    def store(self, tx: Transaction, items: Sequence[int]) -> None:
        """Two DELETEs for a thousand."""
        for start in range(0, len(items), _AT_ONCE):
            ids = tuple(items[start : start + _AT_ONCE])
            for table, column in (("rule_applied", "trigger_id"), ("rule_trigger", "id")):
                tx.execute(f"DELETE FROM {table} WHERE {column} IN ({marks(ids)})", ids)


TRIGGERS, FINISHED = Triggers(), Finished()


def unfinished(tx: Transaction) -> list[Trigger]:
    """@return: the triggers that an earlier process was not done with, in their order."""
    return [Trigger(**row) for row in tx.all("SELECT * FROM rule_trigger ORDER BY id")]


def applied(tx: Transaction) -> dict[tuple[int, int], Any]:
    """@return: (trigger, chain) -> what the chain has changed for it, as `note_applied` got it."""
    rows = tx.all("SELECT * FROM rule_applied ORDER BY trigger_id, chain_id")
    return {(row["trigger_id"], row["chain_id"]): row["changed_states"] for row in rows}


def already_applied(tx: Transaction, triggers: Collection[int]) -> set[tuple[int, int]]:
    """@return: which chains have had their effects for these triggers."""
    if not triggers:
        return set()
    rows: list[Row] = tx.all(
        f"SELECT trigger_id, chain_id FROM rule_applied WHERE trigger_id IN ({marks(triggers)})",
        tuple(triggers),
    )
    return {(row["trigger_id"], row["chain_id"]) for row in rows}


def note_applied(tx: Transaction, trigger_id: int, chain_id: int, changes: Any) -> None:
    """Remember what a chain changed, in the transaction that changes it."""
    tx.insert(
        "rule_applied", {"trigger_id": trigger_id, "chain_id": chain_id, "changed_states": changes}
    )
