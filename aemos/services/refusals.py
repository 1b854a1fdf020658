"""Shows what was not stored lately, and why: the newest lines of the ledger (promise P2)."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from aemos.model import Code, Principal
from aemos.services import access
from aemos.storage import identities, ledger
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

RIGHT = "sensor.view"
_LOOKED_AT = 1000
"""How many of the newest refusals are looked through for those of one's own organizations."""


class Refusals:
    """Reads the ledger for people; System Admins see all of it."""

    def __init__(self, database: Database, refused: Mapping[Code, int]) -> None:
        """@param refused: how often each has happened since the start."""
        self._database, self._refused = database, refused

    async def newest(self, by: Principal, limit: int) -> list[Row]:
        """@return: `uuid`, `at`, `code`, `reason`, `topic` and `payload` of each, newest first.

        @raise Forbidden: sensor.view is held nowhere.
        """
        access.require_somewhere(by, RIGHT)
        read: Deferred[list[Row]] = self._database.read(_newest, access.scope(by, RIGHT), limit)
        return await read

    def counts(self, by: Principal) -> dict[str, int]:
        """@return: refusals by code since the start; of all organizations, so only System Admins
        see any.
        """
        return {code.value: count for code, count in self._refused.items() if by.administrator}


def _newest(tx: Transaction, scope: list[int] | None, limit: int) -> list[Row]:
    if scope is None:
        return ledger.newest(tx, limit)
    own = identities.uuids_of(tx, scope)
    return [row for row in ledger.newest(tx, _LOOKED_AT) if row["uuid"] in own][:limit]
