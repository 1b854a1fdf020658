"""`/devices/:device/commands`: orders to devices, and what became of them (docs/devices.rst)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import attrs
from msgspec import Meta

from aemos.errors import BadRequest
from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import Body, FreeQuery
from aemos.services.commands import Commands
from aemos.services.order_intake import NewOrder

Seconds = Annotated[float, Meta(gt=0)]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
Status = Literal["queued", "sent", "received", "confirmed", "failed", "expired", "cancelled"]


class NewCommand(Body):
    """Body of `POST /devices/:device/commands`; times are seconds.

    `command` is a word or an object, `off` what is to be sent when `maxOn` is over.
    """

    command: Word | dict[str, Any]
    parameters: Any = None
    ttl: Seconds | None = None
    maxOn: Seconds | None = None
    off: Any = None
    qos: Literal[0, 1, 2] = 2

    def order(self) -> NewOrder:
        """@return: as the service takes it."""
        return NewOrder(self.command, self.parameters, self.ttl, self.maxOn, self.off, self.qos)


class Wait(FreeQuery):
    """`?wait=`: seconds that the answer may wait for the device's."""

    wait: Annotated[float, Meta(ge=0)] = 0


class CommandList(ListQuery):
    """`?status=&commandId=`, and which of them; without `sort` the newest come first."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "status", "createdAt", "changedAt", "expiresAt")

    status: Status | Literal[""] = ""
    commandId: Annotated[str, Meta(max_length=64)] = ""
    sort: str = "-id"


_COLUMNS = {"createdAt": "created_at", "changedAt": "changed_at", "expiresAt": "expires_at"}


class CommandRoutes:
    """Commands to devices of the caller's organizations; a device is named by uuid or id."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/devices",)

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    @route(
        "POST",
        "/<device>/commands",
        permission="device.update",
        status=201,
        data={"command": {}},
    )
    async def give(self, call: Call, device: str, query: Wait, body: NewCommand) -> Answer:
        """Give a device a command; with `wait`, answer with what the device says about it."""
        longest = self._commands.settings.max_wait
        if not query.wait <= longest:  # which NaN is not either
            raise BadRequest(
                f'Invalid query parameters: "wait" must be less than or equal to {longest:g}'
            )
        command = await self._commands.give(call.principal, device, body.order())
        if query.wait:
            call.may_take(query.wait)
            command = await self._commands.reply(command, query.wait)
        return success(data={"command": command})

    @route("GET", "/<device>/commands", permission="device.view", data={"commands": []})
    async def list_all(self, call: Call, device: str, query: CommandList) -> Answer:
        """List the commands that a device was given, each with its steps."""
        listing = query.listing()
        listing = attrs.evolve(listing, sort=_COLUMNS.get(listing.sort, listing.sort))
        found = await self._commands.listed(call.principal, device, listing, query.commandId)
        return listed("commands", found)

    @route("GET", "/<device>/commands/<command>", permission="device.view", data={"command": {}})
    async def get(self, call: Call, device: str, command: str) -> Answer:
        """Show a command with its steps, by its `commandId`."""
        return success(data={"command": await self._commands.get(call.principal, device, command)})

    @route(
        "DELETE",
        "/<device>/commands/<command>",
        permission="device.update",
        data={"command": {}},
        failures=(409,),
    )
    async def cancel(self, call: Call, device: str, command: str) -> Answer:
        """Send a command no more that the device has not received."""
        row = await self._commands.cancel(call.principal, device, command)
        return success(data={"command": row})
