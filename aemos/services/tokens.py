"""Tokens that sensors and devices sign in with: made, listed, rotated, revoked.

Source: spec/http-api.md section 4.9. A token is 32 random bytes as hex and shown once, in the
answer that made it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from aemos.errors import BadRequest, Conflict, NotFound
from aemos.model import SERVER, Instant, Principal, PrincipalKind
from aemos.services.catalogue import digest
from aemos.services.device_states import device_for
from aemos.services.events import Events, IdentityChanged
from aemos.services.variables import sensor_for
from aemos.storage import device_tokens, devices, sensors
from aemos.storage.database import Database
from aemos.storage.device_tokens import TokenTable
from aemos.storage.transaction import Row, Transaction

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")


def random_token() -> str:
    """@return: 32 bytes from the operating system as 64 lower-case hex digits."""
    return secrets.token_hex(32)


def expiry(text: str, now: Instant) -> Instant:
    """Read when a token shall end: `30d`, `12h`, `45m`, `90s` from now, or an ISO 8601 time.

    @raise BadRequest: neither of them, or not in the future.
    """
    duration = _DURATION.fullmatch(text.strip())
    try:
        ends = (
            Instant(now + 1000 * int(duration[1]) * _UNITS[duration[2]])
            if duration
            else Instant.parse(text.strip())
        )
        ends.datetime()  # is there such a year?
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{text!r} is neither a time (ISO 8601) nor a duration such as 30d"
        ) from None
    _check_future(ends, now)
    return ends


@attrs.frozen
class Holder:
    """Whose tokens are meant: a sensor or a device; `id` None = none was named."""

    kind: PrincipalKind
    id: int | None

    def find(self, tx: Transaction, by: Principal, action: str) -> Row:
        """@param action: `view` or `update`, what `by` must be allowed to do to it.

        @raise NotFound: there is none. @raise Forbidden: not allowed in its organization.
        """
        if self.kind is PrincipalKind.SENSOR:
            return sensor_for(tx, by, f"sensor.{action}", self.id)
        if self.id is None:
            raise NotFound("Device not found")
        return device_for(tx, by, f"device.{action}", self.id)


@attrs.define
class DeviceTokens:
    """Makes, lists, rotates, revokes and deletes tokens; rights are those on the sensor or device.

    A token that was revoked or deleted ends at once: `IdentityChanged` tells the doors after the
    commit. Rows are those of `storage.device_tokens.TokenTable`.
    """

    _database: Database
    _events: Events
    _clock: IReactorTime
    _new_token: Callable[[], str] = random_token

    async def create(
        self,
        by: Principal,
        holder: Holder,
        expires_at: Instant | None = None,
        label: str | None = None,
    ) -> Row:
        """Make a token; only this answer shows it.

        @return: `id, token, sensorId | deviceId, deviceUuid, expiresAt, createdAt`, `label` if any.
        @raise NotFound, Forbidden: as `Holder.find`, for `update`.
        @raise BadRequest: `expires_at` is not in the future.
        @raise Conflict: the device cannot sign in under its own name.
        """
        _check_future(expires_at, self._now())

        def write(tx: Transaction) -> Row:
            found = holder.find(tx, by, "update")
            return self._make(tx, holder.kind, found, expires_at, label)

        return await self._announced(write)

    async def create_for(self, kind: PrincipalKind, uuid: str, expires: str | None) -> Row:
        """Make a token for the command line: by the uuid, with the rights of the server.

        @param kind: what has that uuid. @param expires: as `expiry` reads it.
        @return, raises: as `create`; BadRequest also as `expiry`.
        """
        ends = None if expires is None else expiry(expires, self._now())
        find = sensors.find_by_uuid if kind is PrincipalKind.SENSOR else devices.find_by_uuid

        def write(tx: Transaction) -> Row:
            known = find(tx, uuid)
            holder = Holder(kind, None if known is None else known["id"])
            return self._make(tx, kind, holder.find(tx, SERVER, "update"), ends, None)

        return await self._announced(write)

    async def rotate(
        self, by: Principal, token_id: int, overlap: int, expires_at: Instant | None = None
    ) -> Row:
        """Make a token that takes the place of another, which goes on for a while.

        @param overlap: seconds that the old one has left, if it does not end before.
        @param expires_at: None = the new one lasts as long as the old one was made for.
        @return: as `create`, with the same label, and the row of the old one as `replaced`.
        @raise NotFound, Forbidden, BadRequest: as `create`. @raise Conflict: it has ended already.
        """
        now = self._now()
        _check_future(expires_at, now)
        last = Instant(now + 1000 * overlap)

        def write(tx: Transaction) -> Row:
            tokens, old, holder = _token_for(tx, by, "update", token_id)
            old_end: Instant | None = old["expiresAt"]
            if old["status"] != "active" or (old_end is not None and old_end <= now):
                raise Conflict("Token has ended already")
            ends = expires_at
            if ends is None and old_end is not None:
                ends = Instant(now + old_end - old["createdAt"])
            made = self._make(tx, tokens.kind, holder, ends, old.get("label"))
            if old_end is None or last < old_end:
                tokens.end(tx, token_id, last)
            return {**made, "replaced": tokens.find(tx, token_id)}

        return await self._announced(write)

    async def of_holder(self, by: Principal, holder: Holder) -> list[Row]:
        """@return: all tokens of a sensor or device, newest first.

        @raise NotFound, Forbidden: as `Holder.find`, for `view`.
        """

        def read(tx: Transaction) -> list[Row]:
            found = holder.find(tx, by, "view")
            return device_tokens.of_kind(holder.kind).of_holder(tx, found["id"])

        return await self._database.read(read)

    async def get(self, by: Principal, token_id: int) -> Row:
        """@return: the row, with the `sensor` or `device` (id, name).

        @raise NotFound: no such token. @raise Forbidden: as `Holder.find`, for `view`.
        """

        def read(tx: Transaction) -> Row:
            tokens, row, holder = _token_for(tx, by, "view", token_id)
            return {**row, tokens.kind.value: {"id": holder["id"], "name": holder["name"]}}

        return await self._database.read(read)

    async def holder(self, by: Principal) -> Row:
        """@return: `sensorId` and `sensor` (id, name) of what signed in as `by`; or the same with
        `device`.
        """
        holder = Holder(by.kind, by.id)
        found = await self._database.read(holder.find, SERVER, "view")
        kind = by.kind.value
        return {f"{kind}Id": found["id"], kind: {"id": found["id"], "name": found["name"]}}

    async def revoke(self, by: Principal, token_id: int) -> None:
        """@raise NotFound: no such token. @raise Forbidden: as `Holder.find`, for `update`."""
        await self._end(by, token_id, TokenTable.revoke)

    async def delete(self, by: Principal, token_id: int) -> None:
        """@raise NotFound, Forbidden: as `revoke`."""
        await self._end(by, token_id, TokenTable.delete)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())

    def _make(
        self,
        tx: Transaction,
        kind: PrincipalKind,
        holder: Row,
        expires_at: Instant | None,
        label: str | None,
    ) -> Row:
        if kind is PrincipalKind.DEVICE:
            _check_name(tx, holder["uuid"])
        token, tokens = self._new_token(), device_tokens.of_kind(kind)
        proof = digest(token) if kind is PrincipalKind.DEVICE else token
        row = tokens.find(tx, tokens.create(tx, holder["id"], proof, expires_at, label))
        if row is None:
            raise NotFound("Token not found")
        del row["lastUsed"], row["status"]
        return {**row, "token": token, "deviceUuid": holder["uuid"]}

    async def _announced(self, write: Callable[[Transaction], Row]) -> Row:
        row = await self._database.transact(write)
        self._events.publish(IdentityChanged(row["deviceUuid"]))
        return row

    async def _end(
        self, by: Principal, token_id: int, how: Callable[[TokenTable, Transaction, int], None]
    ) -> None:
        def write(tx: Transaction) -> Row:
            tokens, _, holder = _token_for(tx, by, "update", token_id)
            how(tokens, tx, token_id)
            return holder

        holder = await self._database.transact(write)
        self._events.publish(IdentityChanged(holder["uuid"]))


def _token_for(
    tx: Transaction, by: Principal, action: str, token_id: int
) -> tuple[TokenTable, Row, Row]:
    """@return: the table, the token, and its sensor or device."""
    tokens = device_tokens.with_id(token_id)
    row = tokens.find(tx, token_id)
    if row is None:
        raise NotFound("Token not found")
    holder = Holder(tokens.kind, row[f"{tokens.kind.value}Id"])
    return tokens, row, holder.find(tx, by, action)


def _check_name(tx: Transaction, uuid: str | None) -> None:
    if not uuid:
        raise Conflict("The device has no uuid to sign in with")
    if sensors.find_by_uuid(tx, uuid) is not None:
        raise Conflict("A sensor has the same uuid, and signs in with it")


def _check_future(expires_at: Instant | None, now: Instant) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadRequest('"expiresAt" must be in the future')
