"""Reads and cuts the audit log: the SQL of `audit_log`, which `aemos.storage.audit` fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from aemos.model import Instant
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Transaction, marks


@attrs.frozen
class Filter:
    """Which entries are wanted: between two times (`end` is left out), and of what.

    `equal` maps columns to the values that they must have.
    """

    start: Instant | None = None
    end: Instant | None = None
    equal: Mapping[str, int | str] = attrs.field(factory=dict)


def listed(
    tx: Transaction, organizations: Sequence[int] | None, wanted: Filter, listing: Listing
) -> Listed:
    """@param organizations: entries about these only; None = about all, and about none."""
    condition = Condition()
    if organizations is not None:
        condition.one_of("organization_id", organizations)
    if wanted.start is not None:
        condition.add("at >= %s", wanted.start)
    if wanted.end is not None:
        condition.add("at < %s", wanted.end)
    for column, value in wanted.equal.items():
        condition.add(f"{column} = %s", value)
    return listing_of(tx, "audit_log", condition, listing, ("actor_name", "address"))


def prune(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget entries that are older, the oldest first. @return: how many, at most `limit`."""
    rows = tx.all("SELECT id FROM audit_log WHERE at < %s ORDER BY at LIMIT %s", (before, limit))
    ids = tuple(row["id"] for row in rows)
    return tx.execute(f"DELETE FROM audit_log WHERE id IN ({marks(ids)})", ids) if ids else 0
