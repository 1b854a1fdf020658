"""`/device-tokens`: what sensors and devices sign in with (spec/http-api.md section 4.9)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from aemos.errors import BadRequest, Unauthenticated
from aemos.http.adapter import instant
from aemos.http.auth import Authenticator
from aemos.http.bodies import parse
from aemos.http.render import Answer, Shape, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import Body, FreeQuery, Id, row_id
from aemos.model import PrincipalKind
from aemos.services.tokens import DeviceTokens, Holder

_TOKEN = {"id": int, "status": str, "createdAt": str}  # and what not all have, or may be null


_NEW_TOKEN = {"id": int, "token": str, "createdAt": str}
_Label = Annotated[str, Meta(min_length=1, max_length=100)]
_MONTH = 31 * 86400  # seconds


class NewToken(Struct, kw_only=True):
    """Body of `POST /device-tokens`; a sensor that is not named is not found.

    Compat: unknown keys are ignored, the original looked at nothing but `sensorId`, `expiresAt`.
    """

    sensorId: Id | None = None
    deviceId: Id | None = None
    label: _Label | None = None
    expiresAt: str | int | float | None = None


class Rotation(Body):
    """Body of `POST /device-tokens/<token_id>/rotate`: how many seconds the old one has left."""

    overlap: Annotated[int, Meta(ge=0, le=_MONTH)] = 3600
    expiresAt: str | int | float | None = None


class OfHolder(FreeQuery):
    """`?sensorId=` or `?deviceId=`."""

    sensorId: Id | None = None
    deviceId: Id | None = None


class DeviceTokenRoutes:
    """Tokens of what the caller may see; the service asks for the rights."""

    prefixes: ClassVar[tuple[str, ...]] = (
        "/api/v1/device-tokens",
        "/api/v1/devicetokens",
        "/api/v1/devicetoken",
    )

    def __init__(self, tokens: DeviceTokens, authenticator: Authenticator) -> None:
        self._tokens, self._authenticator = tokens, authenticator

    @route("GET", "/test", auth=Auth.OPEN, errors=Shape.E2)
    async def test(self, call: Call) -> Answer:
        """Tell that the routes are there."""
        return success(message="Device token routes are working")

    @route("POST", "/test-no-db", auth=Auth.OPEN, status=201, errors=Shape.E2)
    async def echo(self, call: Call) -> Answer:
        """Give the body back, to try a client without a database."""
        received = parse(call.content, call.request.getHeader("Content-Type") or "")
        return Answer(
            {
                "status": "success",
                "message": "Device token routes are working without a database",
                "receivedData": received,
            }
        )

    @route("GET", "/verify", auth=Auth.OPEN, errors=Shape.E2, data=dict, failures=(401,))
    async def verify(self, call: Call) -> Answer:
        """Tell whose token the request carries."""
        if call.bearer is None:
            raise Unauthenticated("No token provided")
        principal = await self._authenticator.device(call.bearer)
        return success(message="Token is valid", data=await self._tokens.holder(principal))

    @route("GET", "", errors=Shape.E2, data=[_TOKEN])
    async def list_by_query(self, call: Call, query: OfHolder) -> Answer:
        """List the tokens of the sensor or device that the query names."""
        return await self._list(call, _holder(query))

    @route("POST", "", errors=Shape.E2, data=_NEW_TOKEN, failures=(409,))
    async def create(self, call: Call, body: NewToken) -> Answer:
        """Make a token; this answer is the only one that shows it."""
        expires_at = instant("expiresAt", body.expiresAt)
        row = await self._tokens.create(call.principal, _holder(body), expires_at, body.label)
        return success(data=row)

    @route(
        "POST",
        "/<token_id>/rotate",
        errors=Shape.E2,
        data={**_NEW_TOKEN, "replaced": _TOKEN},
        failures=(409,),
    )
    async def rotate(self, call: Call, token_id: int, body: Rotation) -> Answer:
        """Make the successor of a token; the old one goes on for the overlap."""
        expires_at = instant("expiresAt", body.expiresAt)
        row = await self._tokens.rotate(call.principal, token_id, body.overlap, expires_at)
        return success(data=row)

    @route("GET", "/sensor/<sensor_id>", errors=Shape.E2, data=[_TOKEN])
    async def list_of_sensor(self, call: Call, sensor_id: str, query: OfHolder) -> Answer:
        """List the tokens of a sensor, newest first.

        Compat: the original read the query alone, so the path may hold anything beside one.
        """
        if not sensor_id.isdigit() and query.sensorId is not None:
            return await self._list(call, Holder(PrincipalKind.SENSOR, query.sensorId))
        return await self._list(call, Holder(PrincipalKind.SENSOR, row_id(sensor_id)))

    @route("GET", "/<token_id>", errors=Shape.E2, data=_TOKEN)
    async def get(self, call: Call, token_id: int) -> Answer:
        """Show a token without its secret."""
        return success(data=await self._tokens.get(call.principal, token_id))

    @route("PATCH", "/<token_id>", errors=Shape.E2)
    async def revoke(self, call: Call, token_id: int) -> Answer:
        """Revoke a token; it ends at once."""
        await self._tokens.revoke(call.principal, token_id)
        return success(message="Token revoked successfully")

    @route("DELETE", "/<token_id>", errors=Shape.E2)
    async def delete(self, call: Call, token_id: int) -> Answer:
        """Delete a token; it ends at once."""
        await self._tokens.delete(call.principal, token_id)
        return success(message="Token deleted successfully")

    async def _list(self, call: Call, holder: Holder) -> Answer:
        rows = await self._tokens.of_holder(call.principal, holder)
        return success(results=len(rows), data=rows)


def _holder(named: NewToken | OfHolder) -> Holder:
    if named.deviceId is None:
        return Holder(PrincipalKind.SENSOR, named.sensorId)
    if named.sensorId is not None:
        raise BadRequest("a token is either a sensor's or a device's: give one of the two ids")
    return Holder(PrincipalKind.DEVICE, named.deviceId)
