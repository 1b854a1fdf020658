"""`Organization` rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aemos.storage.listing import ALL, Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks


def find(tx: Transaction, organization_id: int) -> Row | None:
    """@return: the whole row, whatever its status."""
    return tx.one("SELECT * FROM Organization WHERE id = %s", (organization_id,))


def listed(
    tx: Transaction,
    ids: Collection[int] | None,
    *,
    hide: Collection[str] = (),
    parent_id: int | None = None,
    is_parent: bool | None = None,
    listing: Listing = ALL,
) -> Listed:
    """@param ids: these only; None = all.
    @param hide: without those of these statuses.
    """
    condition = Condition()
    if ids is not None:
        condition.one_of("id", ids)
    if hide:
        condition.add(f"status NOT IN ({marks(hide)})", *hide)
    if parent_id is not None:
        condition.add("parentId = %s", parent_id)
    if is_parent is not None:
        condition.add("COALESCE(isParent, 0) = %s", is_parent)
    return listing_of(tx, "Organization", condition, listing, ("name", "email"))


def children(tx: Transaction, parent_ids: Collection[int]) -> list[Row]:
    """@return: the direct children of these organizations by ascending id."""
    if not parent_ids:
        return []
    return tx.all(
        f"SELECT * FROM Organization WHERE parentId IN ({marks(parent_ids)}) ORDER BY id",
        tuple(parent_ids),
    )


def is_within(tx: Transaction, organization_id: int, ancestor_id: int) -> bool:
    """@return: whether `organization_id` is `ancestor_id` or one of its descendants."""
    seen: set[int] = set()
    current: int | None = organization_id
    while current is not None and current not in seen:
        if current == ancestor_id:
            return True
        seen.add(current)
        current = tx.value("SELECT parentId FROM Organization WHERE id = %s", (current,))
    return False


def oldest(tx: Transaction) -> int | None:
    """@return: the id of the first organization that is not archived, roots before others."""
    found = tx.value(
        "SELECT id FROM Organization WHERE COALESCE(status, '') <> 'archived'"
        " ORDER BY CASE WHEN parentId IS NULL THEN 0 ELSE 1 END, id LIMIT 1"
    )
    return None if found is None else int(found)


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new row."""
    return tx.insert("Organization", values)
