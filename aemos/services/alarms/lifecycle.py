"""What becomes of alarms: active, acknowledged, cleared; each step with who, when and why.

All steps go through here, in the transaction that stores them, and are published after it. At most
one alarm of a key is open, whoever raises it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from aemos.errors import BadRequest, Conflict, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.alarms import notices
from aemos.services.alarms.shown import shown
from aemos.services.alarms.subject import Change, Transition
from aemos.services.events import AlarmChanged, Events
from aemos.storage import alarms, users
from aemos.storage.alarms import ACKNOWLEDGED, ACTIVE, CLEARED
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction

VIEW, HANDLE = "sensor.view", "sensor.update"
"""Permissions to see the alarms of an organization, and to do something about them."""


@attrs.define
class Alarms:
    """Lists alarms and takes them through their life, for users and for the server itself.

    The methods of users raise `NotFound` for an alarm that is not there, `Forbidden` where the
    permission is lacking in its organization, and `Conflict` where a step makes no sense any more.
    """

    _database: Database
    _events: Events

    async def listed(
        self,
        by: Principal,
        organization_id: int | None,
        equal: Mapping[str, int | str],
        listing: Listing,
    ) -> Listed:
        """@param organization_id: None = those of all that `by` may see.

        @param equal: values that columns of `alarm` must have.
        """
        if organization_id is None:
            access.require_somewhere(by, VIEW)
            scope = access.scope(by, VIEW)
        else:
            access.require(by, VIEW, organization_id)
            scope = [organization_id]
        found: Listed = await self._database.read(alarms.listed, scope, equal, listing)
        return found.map(lambda rows: [shown("alarm", row) for row in rows])

    async def get(self, by: Principal, alarm_id: int) -> Row:
        """@return: the alarm with its history as `events`, the oldest first."""

        def read(tx: Transaction) -> Row:
            row = _alarm_for(tx, by, VIEW, alarm_id)
            history = [shown("alarm_event", event) for event in alarms.events(tx, alarm_id)]
            return {**shown("alarm", row), "events": history}

        return await self._database.read(read)

    async def acknowledge(self, by: Principal, alarm_id: int, comment: str) -> Row:
        """Take notice: nobody further is told. @raise Conflict: somebody has, or it is cleared."""

        def write(tx: Transaction) -> AlarmChanged:
            row = _alarm_for(tx, by, HANDLE, alarm_id)
            if row["state"] != ACTIVE:
                raise Conflict(f"Alarm is {row['state']} already")
            changes = {"state": ACKNOWLEDGED, "acknowledged_at": tx.now, "acknowledged_by": by.id}
            row = alarms.change(tx, alarm_id, changes)
            notices.acknowledged(tx, row)
            return _noted(tx, row, "acknowledged", tx.now, comment, by)

        return await self._step(write)

    async def comment(self, by: Principal, alarm_id: int, comment: str) -> Row:
        """Add to the history, also of an alarm that is cleared."""

        def write(tx: Transaction) -> AlarmChanged:
            row = _alarm_for(tx, by, HANDLE, alarm_id)
            return _noted(tx, row, "commented", tx.now, comment, by)

        return await self._step(write)

    async def assign(self, by: Principal, alarm_id: int, user_id: int | None, comment: str) -> Row:
        """Say who sees to it. @param user_id: None = nobody.

        @raise BadRequest: no member of the organization. @raise Conflict: it is cleared.
        """

        def write(tx: Transaction) -> AlarmChanged:
            row = _alarm_for(tx, by, HANDLE, alarm_id)
            _check_open(row)
            owner = row["organization_id"]
            if user_id is not None and (
                owner is None or users.membership(tx, user_id, owner) is None
            ):
                raise BadRequest('Invalid request body: "userId" is no member of the organization')
            row = alarms.change(tx, alarm_id, {"assignee_id": user_id})
            return _noted(tx, row, "assigned", tx.now, comment, by)

        return await self._step(write)

    async def clear(self, by: Principal, alarm_id: int, comment: str) -> Row:
        """End it by hand: it comes again when its condition was false in between.

        @raise Conflict: it is cleared already.
        """

        def write(tx: Transaction) -> AlarmChanged:
            row = _alarm_for(tx, by, HANDLE, alarm_id)
            _check_open(row)
            return _cleared(tx, row, tx.now, comment, by)

        return await self._step(write)

    def apply(self, tx: Transaction, transitions: Sequence[Transition]) -> list[AlarmChanged]:
        """Store what the server has found out. @return: what there is to tell after the commit.

        What is so already is left as it is, so doing it twice is no error.
        """
        told = []
        for transition in transitions:
            row = alarms.find_open(tx, transition.key)
            if transition.change is Change.RAISE and row is None:
                values = {**transition.alarm, "raised_at": transition.at}
                row = alarms.create(tx, transition.key, values)
                notices.raised(tx, row)
                told.append(_noted(tx, row, "raised", transition.at, transition.comment))
            elif transition.change is Change.CLEAR and row is not None:
                told.append(_cleared(tx, row, transition.at, transition.comment))
        return told

    async def _step(self, write: Callable[[Transaction], AlarmChanged]) -> Row:
        changed = await self._database.transact(write)
        self._events.publish(changed)
        return dict(changed.alarm)


def _cleared(
    tx: Transaction, row: Row, at: Instant, comment: str, by: Principal | None = None
) -> AlarmChanged:
    changes = {
        "state": CLEARED,
        "open_key": None,
        "cleared_at": at,
        "cleared_by": None if by is None else by.id,
    }
    row = alarms.change(tx, row["id"], changes)
    notices.cleared(tx, row)
    return _noted(tx, row, "cleared", at, comment, by)


def _noted(
    tx: Transaction, row: Row, kind: str, at: Instant, comment: str, by: Principal | None = None
) -> AlarmChanged:
    alarms.note(tx, row["id"], kind, at, comment, None if by is None else (by.id, by.name))
    alarm = shown("alarm", row)
    return AlarmChanged(kind, row["organization_id"], row["uuid"], at, comment, alarm)


def _alarm_for(tx: Transaction, by: Principal, permission: str, alarm_id: int) -> Row:
    row = alarms.find(tx, alarm_id)
    if row is None:
        raise NotFound(f"Alarm with ID {alarm_id} not found")
    access.require(by, permission, row["organization_id"])
    return row


def _check_open(row: Row) -> None:
    if row["state"] == CLEARED:
        raise Conflict("Alarm is cleared already")
