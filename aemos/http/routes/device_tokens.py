"""`/device-tokens`: the tokens that sensors sign in with (spec/http-api.md section 4.9)."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from aemos import json
from aemos.errors import NotFound, Unauthenticated
from aemos.http.adapter import instant
from aemos.http.auth import Authenticator
from aemos.http.render import Answer, Shape, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import FreeQuery, Id
from aemos.services.tokens import DeviceTokens

_TOKEN = {
    "id": int,
    "sensorId": int,
    "expiresAt": str,
    "lastUsed": str,
    "status": str,
    "createdAt": str,
}


class NewToken(Struct, kw_only=True):
    """Body of `POST /device-tokens`; a sensor that is not named is not found.

    Compat: unknown keys are ignored, the original looked at nothing else.
    """

    sensorId: Id | None = None
    expiresAt: str | int | float | None = None


class OfSensor(FreeQuery):
    """`?sensorId=`."""

    sensorId: Id | None = None


class DeviceTokenRoutes:
    """Tokens of the sensors that the caller may see; the service asks for the rights."""

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
        is_json = (call.request.getHeader("Content-Type") or "").startswith("application/json")
        received = json.decode(call.content) if is_json and call.content else {}
        return Answer(
            {
                "status": "success",
                "message": "Device token routes are working without a database",
                "receivedData": received,
            }
        )

    @route(
        "GET", "/verify", auth=Auth.OPEN, errors=Shape.E2, data={"sensorId": int, "sensor": dict}
    )
    async def verify(self, call: Call) -> Answer:
        """Tell whose token the request carries."""
        if call.bearer is None:
            raise Unauthenticated("No token provided")
        principal = await self._authenticator.device(call.bearer)
        sensor = await self._tokens.holder(principal)
        return success(message="Token is valid", data={"sensorId": sensor["id"], "sensor": sensor})

    @route("GET", "", errors=Shape.E2, data=[_TOKEN])
    async def list_by_query(self, call: Call, query: OfSensor) -> Answer:
        """List the tokens of the sensor that the query names."""
        return await self._list(call, query.sensorId)

    @route("POST", "", errors=Shape.E2, data={**_TOKEN, "token": str, "deviceUuid": str})
    async def create(self, call: Call, body: NewToken) -> Answer:
        """Make a token; this answer is the only one that shows it."""
        expires_at = instant("expiresAt", body.expiresAt)
        row = await self._tokens.create(call.principal, body.sensorId, expires_at)
        return success(data=row)

    @route("GET", "/sensor/<sensor_id>", errors=Shape.E2, data=[_TOKEN])
    async def list_of_sensor(self, call: Call, sensor_id: int) -> Answer:
        """List the tokens of a sensor, newest first."""
        return await self._list(call, sensor_id)

    @route("GET", "/<token_id>", errors=Shape.E2, data={**_TOKEN, "sensor": dict})
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

    async def _list(self, call: Call, sensor_id: int | None) -> Answer:
        if sensor_id is None:
            raise NotFound("Sensor not found")
        rows = await self._tokens.of_sensor(call.principal, sensor_id)
        return success(results=len(rows), data=rows)
