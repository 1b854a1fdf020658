"""Messages for all devices and users of an organization at once."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from aemos import json
from aemos.errors import NotFound, StorageUnavailable
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.events import BroadcastSent, Events
from aemos.services.interfaces import Publisher
from aemos.storage import organizations
from aemos.storage.database import Database

_QOS = 1


@attrs.define
class Broadcasts:
    """Publishes to `organizations/{id}/broadcast` (spec/mqtt.md section 6)."""

    _database: Database
    _events: Events
    _publisher: Publisher
    _clock: IReactorTime
    _patience: float

    async def send(self, by: Principal, organization_id: int, message: Any) -> dict[str, Any]:
        """Done when the copies for stored MQTT sessions are in the database.

        @param message: any JSON value. @return: what was published.
        @raise Forbidden: no device.update in the organization. @raise NotFound: there is none.
        @raise StorageUnavailable: the copies could not be stored in time; some have got it.
        """
        access.require_somewhere(by, "device.update")
        access.require(by, "device.update", organization_id)
        if await self._database.read(organizations.find, organization_id) is None:
            raise NotFound(f"Organization with ID {organization_id} not found")
        at = Instant.of(self._clock.seconds())
        sent = {
            "type": "broadcast",
            "organizationId": organization_id,
            "message": message,
            "timestamp": at,
        }
        stored: Deferred[None] = Deferred()
        self._publisher.publish(
            f"organizations/{organization_id}/broadcast",
            json.encode(sent),
            qos=_QOS,
            done=lambda: None if stored.called else stored.callback(None),
        )
        self._events.publish(BroadcastSent(organization_id, message, at))
        try:
            await stored.addTimeout(self._patience, self._clock)
        except TimeoutError:
            raise StorageUnavailable("the copies of a broadcast are not stored yet") from None
        return sent
