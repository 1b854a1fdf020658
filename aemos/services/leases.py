"""Writes down what became of something that was claimed for a while and then done outside."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from aemos.errors import StorageUnavailable
from aemos.storage.database import Database

_PAUSE = 1.0  # seconds between attempts


async def note(
    database: Database,
    clock: IReactorTime,
    lease: int,
    stopped: Callable[[], bool],
    outcome: Callable[..., object],
    *args: object,
) -> None:
    """Run `outcome(tx, *args)` in a transaction, again and again while the database is away.

    That goes on for as long as nobody else may claim the thing: after it the same would be done
    once more, so a letter that has left would be sent again for an outage of a second.

    @param lease: milliseconds. @param stopped: asked before each further attempt.
    @raise StorageUnavailable: the database was away for all that time.
    """
    ends = clock.seconds() + lease / 1000
    while True:
        try:
            await database.transact(outcome, *args)
        except StorageUnavailable:
            if stopped() or clock.seconds() + _PAUSE > ends:
                raise
            await deferLater(clock, _PAUSE)
        else:
            return
