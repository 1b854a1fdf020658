"""Rule chains and what they look at: the SQL of `RuleChain` and `RuleChainNode`.

Source: spec/data-model.md section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.transaction import Row, Transaction, marks

_BY_TYPE = "CASE type WHEN 'filter' THEN 0 WHEN 'transform' THEN 1 ELSE 2 END, id"


def chain(tx: Transaction, chain_id: int) -> Row | None:
    return tx.one("SELECT * FROM RuleChain WHERE id = %s", (chain_id,))


def chains_of(tx: Transaction, organization_id: int) -> list[Row]:
    """@return: the chains of an organization in order of id."""
    return tx.all(
        "SELECT * FROM RuleChain WHERE organizationId = %s ORDER BY id", (organization_id,)
    )


def create_chain(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new chain."""
    return tx.insert("RuleChain", values)


def change_chain(tx: Transaction, chain_id: int, changes: Mapping[str, Any]) -> None:
    if changes:
        tx.update("RuleChain", chain_id, changes)


def delete_chain(tx: Transaction, chain_id: int) -> None:
    """Delete a chain with its nodes, also where an adopted database has no foreign keys."""
    tx.execute("UPDATE RuleChainNode SET nextNodeId = NULL WHERE ruleChainId = %s", (chain_id,))
    tx.execute("DELETE FROM RuleChainNode WHERE ruleChainId = %s", (chain_id,))
    tx.execute("DELETE FROM RuleChain WHERE id = %s", (chain_id,))


def count_run(tx: Transaction, chain_id: int, failed: bool) -> None:
    """Note in the chain that it ran now; `updatedAt` tells of changes and stays."""
    failure = ", failureCount = failureCount + 1, lastErrorAt = %s" if failed else ""
    times = (tx.now, tx.now) if failed else (tx.now,)
    tx.execute(
        "UPDATE RuleChain SET executionCount = executionCount + 1, lastExecutedAt = %s"
        f"{failure} WHERE id = %s",
        (*times, chain_id),
    )


def node(tx: Transaction, node_id: int) -> Row | None:
    return tx.one("SELECT * FROM RuleChainNode WHERE id = %s", (node_id,))


def nodes_of(tx: Transaction, chain_ids: Sequence[int]) -> dict[int, list[Row]]:
    """@return: chain id -> its nodes, filters first, then transforms, then actions, by id."""
    found: dict[int, list[Row]] = {chain_id: [] for chain_id in chain_ids}
    if chain_ids:
        rows = tx.all(
            f"SELECT * FROM RuleChainNode WHERE ruleChainId IN ({marks(chain_ids)})"
            f" ORDER BY {_BY_TYPE}",
            tuple(chain_ids),
        )
        for row in rows:
            found[row["ruleChainId"]].append(row)
    return found


def node_named(tx: Transaction, chain_id: int, name: str) -> Row | None:
    return tx.one(
        "SELECT * FROM RuleChainNode WHERE ruleChainId = %s AND name = %s", (chain_id, name)
    )


def create_node(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new node. @raise DuplicateRow: the chain has one of that name."""
    return tx.insert("RuleChainNode", values)


def change_node(tx: Transaction, node_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none, nothing. @raise DuplicateRow: the name is taken."""
    if changes:
        tx.update("RuleChainNode", node_id, changes)


def delete_node(tx: Transaction, node_id: int) -> None:
    """Delete a node; those that pointed to it point nowhere."""
    tx.execute("UPDATE RuleChainNode SET nextNodeId = NULL WHERE nextNodeId = %s", (node_id,))
    tx.execute("DELETE FROM RuleChainNode WHERE id = %s", (node_id,))


def latest_reading(tx: Transaction, sensor_id: int, variable: str) -> Row | None:
    """@return: `value`, `at` and `datatype` of the newest reading of a variable of that name."""
    row = tx.one(
        "SELECT id, datatype FROM TelemetryData WHERE sensorId = %s AND variableName = %s"
        " ORDER BY id LIMIT 1",
        (sensor_id, variable),
    )
    if row is None:
        return None
    reading = tx.one(
        "SELECT value, recievedAt FROM DataStream WHERE telemetryDataId = %s"
        " ORDER BY recievedAt DESC, id DESC LIMIT 1",
        (row["id"],),
    )
    if reading is None:
        return None
    return {"value": reading["value"], "at": reading["recievedAt"], "datatype": row["datatype"]}


def latest_state(tx: Transaction, device_id: int, state: str) -> Row | None:
    """@return: `value`, `at` and `datatype` of the newest instance of a state of that name."""
    row = tx.one(
        "SELECT i.value AS value, i.fromTimestamp AS fromTimestamp, s.dataType AS datatype"
        " FROM DeviceState s JOIN DeviceStateInstance i ON i.deviceStateId = s.id"
        " WHERE s.deviceId = %s AND s.stateName = %s ORDER BY i.fromTimestamp DESC, i.id DESC"
        " LIMIT 1",
        (device_id, state),
    )
    if row is None:
        return None
    return {"value": row["value"], "at": row["fromTimestamp"], "datatype": row["datatype"]}
