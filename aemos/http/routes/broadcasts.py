"""`/organizations/:id/broadcast`: one message for all devices of an organization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from aemos.http.render import Answer, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import Body
from aemos.services.broadcasts import Broadcasts


class NewBroadcast(Body):
    """Body of `POST /organizations/:id/broadcast`."""

    message: dict[str, Any] | Annotated[str, Meta(min_length=1)]


class BroadcastRoutes:
    """Broadcasts of organizations in which the caller holds `device.update`."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/organizations",)

    def __init__(self, broadcasts: Broadcasts) -> None:
        self._broadcasts = broadcasts

    @route(
        "POST",
        "/<id>/broadcast",
        permission="device.update",
        status=201,
        data={"broadcast": {}},
    )
    async def send(self, call: Call, id: int, body: NewBroadcast) -> Answer:
        """Publish a message to everybody subscribed to the broadcasts of the organization."""
        return success(
            data={"broadcast": await self._broadcasts.send(call.principal, id, body.message)}
        )
