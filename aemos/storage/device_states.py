"""The states of devices and their values: the SQL of `DeviceState` and `DeviceStateInstance`.

Source: spec/data-model.md section 2. The open instance of a state, the one without `toTimestamp`,
holds its current value; `replace` keeps it the only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 1000  # SQLite takes a limited number of parameters


def find(tx: Transaction, state_id: int) -> Row | None:
    """@return: the row whatever its status."""
    return tx.one("SELECT * FROM DeviceState WHERE id = %s", (state_id,))


def find_by_name(tx: Transaction, device_id: int, name: str) -> Row | None:
    return tx.one(
        "SELECT * FROM DeviceState WHERE deviceId = %s AND stateName = %s", (device_id, name)
    )


def of_devices(tx: Transaction, device_ids: Sequence[int]) -> list[Row]:
    """@return: the states of these devices, of every status, in order of id."""
    found: list[Row] = []
    for start in range(0, len(device_ids), _AT_ONCE):
        ids = tuple(device_ids[start : start + _AT_ONCE])
        found += tx.all(
            f"SELECT * FROM DeviceState WHERE deviceId IN ({marks(ids)}) ORDER BY id", ids
        )
    return found


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new state. @raise DuplicateRow: the device has one of that name."""
    return tx.insert("DeviceState", {"createdAt": tx.now, **values})


def change(tx: Transaction, state_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none, nothing. @raise DuplicateRow: the name is taken."""
    if changes:
        tx.update("DeviceState", state_id, changes)


def current(tx: Transaction, state_ids: Sequence[int]) -> dict[int, Row]:
    """@return: state id -> its open instance; the newest of several in an adopted database."""
    found: dict[int, Row] = {}
    for start in range(0, len(state_ids), _AT_ONCE):
        ids = tuple(state_ids[start : start + _AT_ONCE])
        rows = tx.all(
            "SELECT * FROM DeviceStateInstance WHERE toTimestamp IS NULL"
            f" AND deviceStateId IN ({marks(ids)}) ORDER BY fromTimestamp, id",
            ids,
        )
        found.update((row["deviceStateId"], row) for row in rows)
    return found


def history(tx: Transaction, state_id: int, limit: int) -> list[Row]:
    """@return: the newest instances of a state, newest first."""
    return tx.all(
        "SELECT * FROM DeviceStateInstance WHERE deviceStateId = %s"
        " ORDER BY fromTimestamp DESC, id DESC LIMIT %s",
        (state_id, limit),
    )


def replace(
    tx: Transaction, state_id: int, value: str, initiated_by: str, initiator_id: int | None
) -> tuple[Row | None, Row]:
    """Close the open instance of a state and open a new one.

    The row of the state is locked meanwhile: two who do this at once cannot leave two open.

    @return: the instance that was open, None if there was none, and the new one.
    """
    tx.value(f"SELECT id FROM DeviceState WHERE id = %s{tx.dialect.for_update}", (state_id,))
    before = current(tx, [state_id]).get(state_id)
    # A transaction that had to wait for the lock began earlier than the one it waited for.
    now = tx.now if before is None else max(tx.now, before["fromTimestamp"])
    tx.execute(
        "UPDATE DeviceStateInstance SET toTimestamp = %s"
        " WHERE deviceStateId = %s AND toTimestamp IS NULL",
        (now, state_id),
    )
    instance = {
        "deviceStateId": state_id,
        "value": value,
        "fromTimestamp": now,
        "toTimestamp": None,
        "initiatedBy": initiated_by,
        "initiatorId": initiator_id,
    }
    return before, {"id": tx.insert("DeviceStateInstance", instance), **instance}
