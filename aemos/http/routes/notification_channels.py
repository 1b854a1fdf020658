"""`/notification-channels` and `/deliveries`: how alarms reach people, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import UNSET, Body, Id, UnsetType, given
from aemos.services.alarms.channels import MANAGE, VIEW, Channels
from aemos.services.alarms.shown import columns
from aemos.services.alarms.targets import EmailTarget, MqttTarget, RealtimeTarget, WebhookTarget

Label = Annotated[str, Meta(min_length=1, max_length=100)]
Target = MqttTarget | RealtimeTarget | EmailTarget | WebhookTarget

_FILTERS = {"channelId": "channel_id", "alarmId": "alarm_id", "state": "state"}
"""Keys of the query, and the columns that they name."""


class NewChannel(Body):
    """Body of `POST /notification-channels`.

    With `systemAlarms` it also hears of alarms that have no definition.
    """

    organizationId: Id
    name: Label
    target: Target
    enabled: bool = True
    systemAlarms: bool = False


class ChannelChange(Body):
    """Body of `PATCH /notification-channels/:id`."""

    name: Label | UnsetType = UNSET
    target: Target | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    systemAlarms: bool | UnsetType = UNSET


class ChannelQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?organizationId=`, and which of them."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "name", "kind")

    organizationId: Id | None = None


class DeliveryQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?channelId=&alarmId=&state=&organizationId=`; without `sort` the newest come first."""

    organizationId: Id | None = None
    channelId: Id | None = None
    alarmId: Id | None = None
    state: Literal["waiting", "sending", "sent", "failed", "cancelled", ""] = ""
    sort: str = "-id"


class NotificationChannelRoutes:
    """Channels of the caller's organizations; their secrets are never shown."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/notification-channels",)

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    @route("GET", "", permission=VIEW, data={"notificationChannels": [{}]})
    async def list_all(self, call: Call, query: ChannelQuery) -> Answer:
        """List notification channels."""
        found = await self._channels.listed(call.principal, query.organizationId, query.listing())
        return listed("notificationChannels", found)

    @route("POST", "", permission=MANAGE, status=201, data={"notificationChannel": {}})
    async def create(self, call: Call, body: NewChannel) -> Answer:
        """Make a notification channel."""
        values = given(body)
        target = values.pop("target")
        return _answer(await self._channels.create(call.principal, _columns(values), target))

    @route("GET", "/<channel_id>", permission=VIEW, data={"notificationChannel": {}})
    async def get(self, call: Call, channel_id: int) -> Answer:
        """Show a notification channel."""
        return _answer(await self._channels.get(call.principal, channel_id))

    @route("PATCH", "/<channel_id>", permission=MANAGE, data={"notificationChannel": {}})
    async def change(self, call: Call, channel_id: int, body: ChannelChange) -> Answer:
        """Change a notification channel; secrets that are left out stay."""
        values = given(body)
        target = values.pop("target", None)
        row = await self._channels.change(call.principal, channel_id, _columns(values), target)
        return _answer(row)

    @route("DELETE", "/<channel_id>", permission=MANAGE, status=204)
    async def delete(self, call: Call, channel_id: int) -> Answer:
        """Delete a notification channel with its log."""
        await self._channels.delete(call.principal, channel_id)
        return Answer()

    @route("POST", "/<channel_id>/test", permission=MANAGE, status=201, data={"delivery": {}})
    async def test(self, call: Call, channel_id: int) -> Answer:
        """Send something for trial; `/deliveries` tells what becomes of it."""
        row = await self._channels.test(call.principal, channel_id)
        return success(data={"delivery": row})


class DeliveryRoutes:
    """What the channels of the caller's organizations have told, and what became of it."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/deliveries",)

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    @route("GET", "", permission=VIEW, data={"deliveries": [{}]})
    async def list_all(self, call: Call, query: DeliveryQuery) -> Answer:
        """List deliveries; without `sort` the newest come first."""
        equal = {
            column: value
            for name, column in _FILTERS.items()
            if (value := getattr(query, name)) not in (None, "")
        }
        found = await self._channels.log(
            call.principal, query.organizationId, equal, query.listing()
        )
        return listed("deliveries", found)


def _answer(row: dict[str, Any]) -> Answer:
    return success(data={"notificationChannel": row})


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    return columns("notification_channel", values)
