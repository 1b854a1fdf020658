"""Rule chains and what they look at: the SQL of `RuleChain` and `RuleChainNode`.

Source: spec/data-model.md section 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 1000  # SQLite takes a limited number of parameters
_BY_TYPE = "CASE type WHEN 'filter' THEN 0 WHEN 'transform' THEN 1 ELSE 2 END, id"


@attrs.define(slots=True, eq=False)  # not frozen: one is made for each run, and that costs
class Counts:
    """How often a chain has run and failed, and when it last did."""

    runs: int
    failures: int
    last_at: Instant | None
    last_failure_at: Instant | None


def chain(tx: Transaction, chain_id: int) -> Row | None:
    return tx.one("SELECT * FROM RuleChain WHERE id = %s", (chain_id,))


def chains_of(tx: Transaction, organization_id: int) -> list[Row]:
    """@return: the chains of an organization in order of id."""
    return tx.all(
        "SELECT * FROM RuleChain WHERE organizationId = %s ORDER BY id", (organization_id,)
    )


def all_ids(tx: Transaction) -> list[int]:
    """@return: the ids of the chains of all organizations."""
    return [row["id"] for row in tx.all("SELECT id FROM RuleChain ORDER BY id")]


def chains_by_id(tx: Transaction, chain_ids: Sequence[int]) -> list[Row]:
    """@return: those of these chains that there are, in order of id."""
    return [
        row
        for start in range(0, len(chain_ids), _AT_ONCE)
        for part in [tuple(chain_ids[start : start + _AT_ONCE])]
        for row in tx.all(f"SELECT * FROM RuleChain WHERE id IN ({marks(part)}) ORDER BY id", part)
    ]


def live(tx: Transaction, chain_ids: Collection[int]) -> set[int]:
    """@return: which of these chains are there and live; none changes before `tx` ends."""
    rows = tx.all(
        f"SELECT id FROM RuleChain WHERE id IN ({marks(chain_ids)}) AND mode = 'live' ORDER BY id"
        f"{tx.dialect.for_update}",
        tuple(chain_ids),
    )
    return {row["id"] for row in rows}


def create_chain(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new chain."""
    return tx.insert("RuleChain", values)


def change_chain(tx: Transaction, chain_id: int, changes: Mapping[str, Any]) -> None:
    if changes:
        tx.update("RuleChain", chain_id, changes)


def delete_chain(tx: Transaction, chain_id: int) -> None:
    """Delete a chain with its nodes, also where an adopted database has no foreign keys."""
    tx.execute("UPDATE RuleChainNode SET nextNodeId = NULL WHERE ruleChainId = %s", (chain_id,))
    tx.delete("RuleChainNode", {"ruleChainId": chain_id})
    tx.delete("RuleChain", {"id": chain_id})


def count_runs(tx: Transaction, counts: Mapping[int, Counts]) -> None:
    """Note in chains how often they have run; `updatedAt` tells of changes and stays."""
    for chain_id, count in counts.items():
        tx.execute(
            "UPDATE RuleChain SET executionCount = %s, lastExecutedAt = %s, failureCount = %s,"
            " lastErrorAt = %s WHERE id = %s",
            (count.runs, count.last_at, count.failures, count.last_failure_at, chain_id),
        )


def node(tx: Transaction, node_id: int) -> Row | None:
    return tx.one("SELECT * FROM RuleChainNode WHERE id = %s", (node_id,))


def nodes_of(tx: Transaction, chain_ids: Sequence[int]) -> dict[int, list[Row]]:
    """@return: chain id -> its nodes, filters first, then transforms, then actions, by id."""
    found: dict[int, list[Row]] = {chain_id: [] for chain_id in chain_ids}
    for start in range(0, len(chain_ids), _AT_ONCE):
        part = tuple(chain_ids[start : start + _AT_ONCE])
        rows = tx.all(
            f"SELECT * FROM RuleChainNode WHERE ruleChainId IN ({marks(part)}) ORDER BY {_BY_TYPE}",
            part,
        )
        for row in rows:
            found[row["ruleChainId"]].append(row)
    return found


def create_node(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new node. @raise DuplicateRow: the chain has one of that name."""
    return tx.insert("RuleChainNode", values)


def change_node(tx: Transaction, node_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none, nothing. @raise DuplicateRow: the name is taken."""
    if changes:
        tx.update("RuleChainNode", node_id, changes)


def delete_node(tx: Transaction, node_id: int) -> None:
    """Delete a node; those that pointed to it point nowhere."""
    for row in tx.all("SELECT id FROM RuleChainNode WHERE nextNodeId = %s", (node_id,)):
        tx.update("RuleChainNode", row["id"], {"nextNodeId": None})
    tx.delete("RuleChainNode", {"id": node_id})
