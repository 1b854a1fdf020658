"""API keys of programs: made, listed, changed, rotated, revoked (docs/access.rst)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from aemos.errors import BadRequest, Conflict, Forbidden, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.catalogue import digest
from aemos.services.events import Events, UserChanged
from aemos.services.key_login import PREFIX
from aemos.storage import api_keys, organizations, roles
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction

_SHOWN = 12  # characters of a key that are kept to tell it from others
_MANAGE = "organization.update"


def random_key() -> str:
    """@return: 32 bytes from the operating system as text, marked as a key of ours."""
    return PREFIX + secrets.token_urlsafe(32)


@attrs.define
class ApiKeys:
    """Makes and ends the keys of an organization, for who holds organization.update there.

    Rows are those of `api_key` without the digest. A key that was changed is known so at once:
    `UserChanged` of who made it tells the doors after the commit.
    """

    _database: Database
    _events: Events
    _clock: IReactorTime
    _new_key: Callable[[], str] = random_key

    async def listed(self, by: Principal, organization_id: int | None, listing: Listing) -> Listed:
        """@param organization_id: None = of every organization where `by` manages keys.

        @raise Forbidden: `by` does not manage keys there.
        """
        if organization_id is None:
            scope = access.scope(by, _MANAGE)
        else:
            access.require(by, _MANAGE, organization_id)
            scope = [organization_id]
        return await self._database.read(api_keys.listed, scope, listing)

    async def get(self, by: Principal, key_id: int) -> Row:
        """@raise NotFound: no such key. @raise Forbidden: `by` does not manage keys there."""
        return await self._database.read(_key_for, by, key_id)

    async def create(
        self,
        by: Principal,
        organization_id: int,
        label: str,
        permissions: Collection[str],
        expires_at: Instant | None,
    ) -> Row:
        """Make a key; only this answer shows it, as `key`.

        @param permissions: names; each must be held by `by` in the organization.
        @raise Forbidden: one is not, or `by` does not manage keys there.
        @raise NotFound: no such organization.
        @raise BadRequest: no such permission, or `expires_at` is not in the future.
        """
        _check_future(expires_at, self._now())
        access.require(by, _MANAGE, organization_id)

        def write(tx: Transaction) -> Row:
            if organizations.find(tx, organization_id) is None:
                raise NotFound(f"Organization with ID {organization_id} not found")
            return self._make(tx, by, organization_id, label, permissions, expires_at)

        return await self._database.transact(write)

    async def change(self, by: Principal, key_id: int, changes: Mapping[str, Any]) -> Row:
        """@param changes: `label` and `expires_at` (None = never).

        @raise NotFound, Forbidden: as `get`. @raise BadRequest: the end is not in the future.
        """
        _check_future(changes.get("expires_at"), self._now())

        def write(tx: Transaction) -> Row:
            _key_for(tx, by, key_id)
            api_keys.change(tx, key_id, changes)
            return _existing(tx, key_id)

        return await self._told(write)

    async def rotate(
        self, by: Principal, key_id: int, overlap: int, expires_at: Instant | None
    ) -> Row:
        """Make a key that takes the place of another, which goes on for a while.

        The new one is that of `by`, who therefore must hold what it permits.

        @param overlap: seconds that the old one has left, if it does not end before.
        @param expires_at: None = the new one lasts as long as the old one was made for.
        @return: as `create`, and the old row as `replaced`.
        @raise NotFound, Forbidden, BadRequest: as `get` and `create`.
        @raise Conflict: it has ended already.
        """
        now = self._now()
        _check_future(expires_at, now)
        last = Instant(now + 1000 * overlap)

        def write(tx: Transaction) -> Row:
            old = _key_for(tx, by, key_id)
            old_end: Instant | None = old["expires_at"]
            if old["status"] != "active" or (old_end is not None and old_end <= now):
                raise Conflict("API key has ended already")
            ends = expires_at
            if ends is None and old_end is not None:
                ends = Instant(now + old_end - old["created_at"])
            organization_id, permitted = old["organization_id"], old["permissions"]
            made = self._make(tx, by, organization_id, old["label"], permitted, ends)
            if old_end is None or last < old_end:
                api_keys.end(tx, key_id, last)
            return {**made, "replaced": _existing(tx, key_id)}

        made = await self._database.transact(write)
        self._events.publish(UserChanged(made["replaced"]["created_by"]))
        return made

    async def revoke(self, by: Principal, key_id: int) -> None:
        """End a key at once; its row stays. Doing it twice is no error.

        @raise NotFound, Forbidden: as `get`.
        """

        def write(tx: Transaction) -> Row:
            row = _key_for(tx, by, key_id)
            api_keys.revoke(tx, key_id)
            return row

        await self._told(write)

    async def _told(self, write: Callable[[Transaction], Row]) -> Row:
        row = await self._database.transact(write)
        self._events.publish(UserChanged(row["created_by"]))
        return row

    def _make(
        self,
        tx: Transaction,
        by: Principal,
        organization_id: int,
        label: str,
        permissions: Collection[str],
        expires_at: Instant | None,
    ) -> Row:
        unknown = sorted(set(permissions).difference(roles.permission_names(tx)))
        if unknown:
            raise BadRequest(f'Invalid request body: "permissions" has no {", ".join(unknown)}')
        lacking = [name for name in permissions if not by.may(name, organization_id)]
        if lacking:
            raise Forbidden(f"Forbidden: you do not hold {', '.join(sorted(lacking))} there")
        key = self._new_key()
        values = {
            "digest": digest(key),
            "prefix": key[:_SHOWN],
            "label": label,
            "organization_id": organization_id,
            "permissions": sorted(set(permissions)),
            "created_by": by.id,
            "expires_at": expires_at,
        }
        return {**_existing(tx, api_keys.create(tx, values)), "key": key}

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _existing(tx: Transaction, key_id: int) -> Row:
    row = api_keys.find(tx, key_id)
    if row is None:
        raise NotFound("API key not found")
    return row


def _key_for(tx: Transaction, by: Principal, key_id: int) -> Row:
    row = _existing(tx, key_id)
    access.require(by, _MANAGE, row["organization_id"])
    return row


def _check_future(expires_at: Instant | None, now: Instant) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadRequest('"expiresAt" must be in the future')
