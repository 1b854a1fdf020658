"""When tokens and keys were last used: the SQL of `lastUsed` in their tables."""

from __future__ import annotations

from collections.abc import Mapping

from aemos.model import Instant, PrincipalKind
from aemos.storage.transaction import Transaction

_COLUMNS = {
    PrincipalKind.SENSOR: ("DeviceToken", "lastUsed"),
    PrincipalKind.DEVICE: ("device_credential", "last_used_at"),
    PrincipalKind.API_KEY: ("api_key", "last_used_at"),
}


def touch(tx: Transaction, used: Mapping[tuple[PrincipalKind, int], Instant]) -> None:
    """Write down when tokens were last used; `updatedAt` tells of changes and stays.

    @param used: whose token it is and the id of its row -> time; an older time never replaces a
        newer one.
    """
    for (kind, row_id), at in used.items():
        table, column = _COLUMNS[kind]
        tx.execute(
            f"UPDATE {table} SET {column} = %s"
            f" WHERE id = %s AND ({column} IS NULL OR {column} < %s)",
            (at, row_id, at),
        )
