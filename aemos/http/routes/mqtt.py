"""`/mqtt`: clients of the MQTT server, its figures and its retained messages.

For System Admins everything, for others what concerns the sensors and devices of organizations
where they hold `device.update`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import attrs
from msgspec import Meta

from aemos import topics
from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import FreeQuery
from aemos.services.mqtt_clients import COLUMNS, MqttClients, Wanted
from aemos.storage.listing import MAX_ROWS


class ClientList(ListQuery):
    """Which clients a list shows; `name` is a uuid or an e-mail address."""

    sortable: ClassVar[tuple[str, ...]] = (
        "id",
        "clientId",
        "name",
        "connectedAt",
        "disconnectedAt",
    )

    connected: Literal["true", "false", ""] = ""
    name: Annotated[str, Meta(max_length=256)] = ""

    def wanted(self) -> Wanted:
        """@return: as the service takes it."""
        listing = self.listing()
        return Wanted(
            attrs.evolve(listing, sort=COLUMNS[listing.sort]),
            connected=self.connected == "true" if self.connected else None,
            name=self.name,
        )


class RetainedList(FreeQuery):
    """Which retained messages a list shows: those on topics that the filter matches."""

    topic: Annotated[str, Meta(max_length=65535)] = "#"
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] | None = None
    offset: Annotated[int, Meta(ge=0)] = 0


class MqttRoutes:
    """Administration of the MQTT server; the service asks for the rights."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/mqtt",)

    def __init__(self, clients: MqttClients) -> None:
        self._clients = clients

    @route("GET", "/clients", permission="device.update", data={"clients": ["mqtt_client"]})
    async def list_clients(self, call: Call, query: ClientList) -> Answer:
        """List clients, connected or gone."""
        return listed("clients", await self._clients.listed(call.principal, query.wanted()))

    @route("GET", "/clients/<client>", permission="device.update", data={"client": "mqtt_client"})
    async def show_client(self, call: Call, client: int) -> Answer:
        """Show a client."""
        return success(data={"client": await self._clients.get(call.principal, client)})

    @route("DELETE", "/clients/<client>", permission="device.update", status=204)
    async def disconnect(self, call: Call, client: int) -> Answer:
        """Close the connection of a client."""
        await self._clients.disconnect(call.principal, client)
        return Answer()

    @route("GET", "/stats", permission="device.update", data={})
    async def stats(self, call: Call) -> Answer:
        """Show what the server counts."""
        return success(data=await self._clients.figures(call.principal))

    @route("GET", "/retained", permission="device.update", data={"messages": []})
    async def retained(self, call: Call, query: RetainedList) -> Answer:
        """List retained messages."""
        topics.check_filter(query.topic)
        found = await self._clients.retained(call.principal, query.topic, query.limit, query.offset)
        return listed("messages", found)

    @route("GET", "/bans", data={"bans": []})
    async def list_bans(self, call: Call) -> Answer:
        """List addresses and clients that are kept out for a while, and why."""
        bans = await self._clients.bans(call.principal)
        return success(results=len(bans), data={"bans": bans})

    @route("DELETE", "/bans/<ban>", status=204)
    async def lift_ban(self, call: Call, ban: int) -> Answer:
        """End a ban."""
        await self._clients.lift(call.principal, ban)
        return Answer()
