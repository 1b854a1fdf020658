"""Tokens that sensors sign in with: the SQL of `DeviceToken`.

Source: spec/data-model.md section 2. The token itself is read by nothing here: it is shown once,
when it is made, and looked up by `aemos.storage.identities` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.model import Instant, PrincipalKind
from aemos.storage.transaction import Row, Transaction

_COLUMNS = "id, sensorId, expiresAt, lastUsed, status, createdAt"
_LAST_USED = {
    PrincipalKind.SENSOR: ("DeviceToken", "lastUsed"),
    PrincipalKind.DEVICE: ("device_credential", "last_used_at"),
}


def find(tx: Transaction, token_id: int) -> Row | None:
    """@return: the row without the token."""
    return tx.one(f"SELECT {_COLUMNS} FROM DeviceToken WHERE id = %s", (token_id,))


def of_sensor(tx: Transaction, sensor_id: int) -> list[Row]:
    """@return: the rows without the tokens, newest first."""
    return tx.all(
        f"SELECT {_COLUMNS} FROM DeviceToken WHERE sensorId = %s ORDER BY createdAt DESC, id DESC",
        (sensor_id,),
    )


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new token."""
    return tx.insert("DeviceToken", values)


def revoke(tx: Transaction, token_id: int) -> None:
    tx.update("DeviceToken", token_id, {"status": "revoked"})


def delete(tx: Transaction, token_id: int) -> None:
    tx.execute("DELETE FROM DeviceToken WHERE id = %s", (token_id,))


def touch(tx: Transaction, used: Mapping[tuple[PrincipalKind, int], Instant]) -> None:
    """Write down when tokens were last used; `updatedAt` tells of changes and stays.

    @param used: whose token (a sensor's or a device's) and its id -> time; an older time never
        replaces a newer one.
    """
    for (kind, token_id), at in used.items():
        table, column = _LAST_USED[kind]
        tx.execute(
            f"UPDATE {table} SET {column} = %s"
            f" WHERE id = %s AND ({column} IS NULL OR {column} < %s)",
            (at, token_id, at),
        )
