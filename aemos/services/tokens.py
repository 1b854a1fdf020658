"""Tokens that devices sign in with: made, listed, revoked (spec/http-api.md section 4.9).

A token is 32 random bytes as hex and shown once, in the answer that made it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from aemos.errors import BadRequest, NotFound
from aemos.model import SERVER, Instant, Principal, PrincipalKind
from aemos.services.events import Events, IdentityChanged
from aemos.services.variables import sensor_for
from aemos.storage import device_tokens, sensors
from aemos.storage.database import Database
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


@attrs.define
class DeviceTokens:
    """Makes, lists, revokes and deletes tokens; rights are those on the sensor.

    A revoked or deleted token ends at once: `IdentityChanged` tells the doors after the commit.
    """

    _database: Database
    _events: Events
    _clock: IReactorTime
    _new_token: Callable[[], str] = random_token

    async def create(self, by: Principal, sensor_id: int | None, expires_at: Instant | None) -> Row:
        """Make a token; only this answer shows it.

        @return: `id, token, sensorId, deviceUuid, expiresAt, createdAt`.
        @raise NotFound: no such sensor. @raise Forbidden: no sensor.update in its organization.
        @raise BadRequest: `expires_at` is not in the future.
        """
        now = Instant.of(self._clock.seconds())
        _check_future(expires_at, now)
        return await self._create(
            lambda tx: sensor_for(tx, by, "sensor.update", sensor_id), expires_at
        )

    async def create_for(self, uuid: str, expires: str | None) -> Row:
        """Make a token for the command line: by sensor uuid, with the rights of the server.

        @param expires: as `expiry` reads it. @return: as `create`.
        @raise NotFound: no such sensor. @raise BadRequest: as `expiry`.
        """
        ends = None if expires is None else expiry(expires, Instant.of(self._clock.seconds()))

        def find(tx: Transaction) -> Row:
            sensor = sensors.find_by_uuid(tx, uuid)
            return sensor_for(tx, SERVER, "sensor.update", None if sensor is None else sensor["id"])

        return await self._create(find, ends)

    async def of_sensor(self, by: Principal, sensor_id: int) -> list[Row]:
        """@return: `id, sensorId, expiresAt, lastUsed, status, createdAt`, newest first.

        @raise NotFound: no such sensor. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> list[Row]:
            sensor_for(tx, by, "sensor.view", sensor_id)
            return device_tokens.of_sensor(tx, sensor_id)

        return await self._database.read(read)

    async def get(self, by: Principal, token_id: int) -> Row:
        """@return: as `of_sensor`, with `sensor` (id, name).

        @raise NotFound: no such token. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> Row:
            row, sensor = _token_for(tx, by, "sensor.view", token_id)
            return {**row, "sensor": {"id": sensor["id"], "name": sensor["name"]}}

        return await self._database.read(read)

    async def holder(self, by: Principal) -> Row:
        """@return: `id` and `name` of the sensor that signed in as `by`.

        @raise NotFound: `by` is no sensor.
        """
        sensor_id = by.id if by.kind is PrincipalKind.SENSOR else None
        sensor = await self._database.read(
            lambda tx: sensor_for(tx, SERVER, "sensor.view", sensor_id)
        )
        return {"id": sensor["id"], "name": sensor["name"]}

    async def revoke(self, by: Principal, token_id: int) -> None:
        """@raise NotFound: no such token. @raise Forbidden: no sensor.update for its sensor."""
        await self._end(by, token_id, device_tokens.revoke)

    async def delete(self, by: Principal, token_id: int) -> None:
        """@raise NotFound: no such token. @raise Forbidden: no sensor.update for its sensor."""
        await self._end(by, token_id, device_tokens.delete)

    async def _create(
        self, find: Callable[[Transaction], Row], expires_at: Instant | None
    ) -> dict[str, Any]:
        token = self._new_token()

        def write(tx: Transaction) -> tuple[Row, Row]:
            sensor = find(tx)
            values = {
                "token": token,
                "sensorId": sensor["id"],
                "expiresAt": expires_at,
                "status": "active",
            }
            row = device_tokens.find(tx, device_tokens.create(tx, values))
            if row is None:
                raise NotFound("Token not found")
            return sensor, row

        sensor, row = await self._database.transact(write)
        self._events.publish(IdentityChanged(sensor["uuid"]))
        return {
            "id": row["id"],
            "token": token,
            "sensorId": row["sensorId"],
            "deviceUuid": sensor["uuid"],
            "expiresAt": row["expiresAt"],
            "createdAt": row["createdAt"],
        }

    async def _end(
        self, by: Principal, token_id: int, how: Callable[[Transaction, int], None]
    ) -> None:
        def write(tx: Transaction) -> Row:
            _, sensor = _token_for(tx, by, "sensor.update", token_id)
            how(tx, token_id)
            return sensor

        sensor = await self._database.transact(write)
        self._events.publish(IdentityChanged(sensor["uuid"]))


def _token_for(tx: Transaction, by: Principal, permission: str, token_id: int) -> tuple[Row, Row]:
    row = device_tokens.find(tx, token_id)
    if row is None:
        raise NotFound("Token not found")
    return row, sensor_for(tx, by, permission, row["sensorId"])


def _check_future(expires_at: Instant | None, now: Instant) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadRequest('"expiresAt" must be in the future')
