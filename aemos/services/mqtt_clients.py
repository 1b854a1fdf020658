"""Records of MQTT clients, also of those that are gone: shows them, and disconnects.

A System Admin sees everything; others see the sensors and devices of the organizations where they
hold `device.update`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos.errors import Forbidden, NotFound, StorageUnavailable
from aemos.model import ANONYMOUS, Principal, PrincipalKind
from aemos.services import access
from aemos.services.events import ClientConnected, ClientGone, Events
from aemos.services.interfaces import ClientAdmin, ClientInfo, Owed, RetainedInfo
from aemos.services.lazy_writes import LazyWrites
from aemos.storage import identities, mqtt_clients
from aemos.storage.database import Database
from aemos.storage.listing import MAX_ROWS, Listed, Listing
from aemos.storage.transaction import Row, Transaction

_RIGHT = "device.update"
_REASON = 256  # characters
_MAX_PAYLOAD = 4096  # bytes of a retained message that are shown
_WAITING = 100_000  # records in memory that wait to be written

_NOTHING = Owed(0, 0, 0, 0)

_NAMES = {
    "id": "id",
    "client_id": "clientId",
    "kind": "kind",
    "name": "name",
    "peer": "peer",
    "transport": "transport",
    "protocol_level": "protocolLevel",
    "clean_session": "cleanSession",
    "keep_alive": "keepAlive",
    "connected_at": "connectedAt",
    "disconnected_at": "disconnectedAt",
    "disconnect_reason": "disconnectReason",
    "subscriptions": "subscriptions",
    "in_flight": "inFlight",
    "queued": "queued",
    "messages_received": "messagesReceived",
    "messages_sent": "messagesSent",
    "bytes_received": "bytesReceived",
    "bytes_sent": "bytesSent",
    "dropped": "dropped",
}
"""Columns of `mqtt_client` and what they are called on the wire."""

COLUMNS: Mapping[str, str] = {shown: column for column, shown in _NAMES.items()}
"""The same the other way round."""


@attrs.frozen
class Wanted:
    """Which clients a list shows; `connected` None and `name` "" = no matter."""

    listing: Listing
    connected: bool | None = None
    name: str = ""


class MqttClients:
    """Keeps the records by what `events` tell, writing them down some moments later."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: IReactorTime,
        admin: ClientAdmin,
        limit: int,
    ) -> None:
        """@param limit: records that are kept at most, those of connected clients in any case."""
        self._database, self._admin, self._limit = database, admin, limit
        self._writes: LazyWrites[bytes, Mapping[str, Any]] = LazyWrites(
            "records of MQTT clients", database, clock, self._save
        )
        events.subscribe(ClientConnected, lambda event: self._note(event.client))
        events.subscribe(ClientGone, self._gone)

    async def start(self) -> None:
        """Note that nobody is connected any more who was when the server ended without a word."""
        await self._database.transact(mqtt_clients.close_all, "the server ended")

    async def stop(self) -> None:
        """Write everything down; whoever is still connected is not for much longer."""
        await self._writes.stop()
        try:
            await self._database.transact(mqtt_clients.close_all, "server is stopping")
        except StorageUnavailable as error:
            self._log.warn("the last records of MQTT clients are lost: {error}", error=error)

    # ------------------------------------------------------------------ clients

    async def listed(self, by: Principal, wanted: Wanted) -> Listed:
        """@return: the records that `by` may see, with live figures of those connected.

        @raise Forbidden: device.update is held nowhere.
        """
        scope = self._scope(by)
        await self._writes.flush()
        read = mqtt_clients.listed
        found: Listed = await self._database.read(
            lambda tx: read(tx, scope, wanted.listing, connected=wanted.connected, name=wanted.name)
        )
        return found.map(lambda rows: [self._shown(row) for row in rows])

    async def get(self, by: Principal, client: int) -> Row:
        """@return: the record, and what its session is subscribed to.

        @raise NotFound: no such record that `by` may see.
        """
        row = await self._find(by, client)
        held = self._admin.filters(_principal(row), row["client_id"])
        filters = [{"filter": name, "qos": qos} for name, qos in sorted(held.items())]
        return {**self._shown(row), "filters": filters}

    async def disconnect(self, by: Principal, client: int) -> None:
        """Close the connection of a client. It may come back, unless its token is revoked.

        @raise NotFound: no such client that `by` may see, or it is not connected.
        """
        row = await self._find(by, client)
        if not self._admin.disconnect(_principal(row), row["client_id"], f"by {by.name}"):
            raise NotFound("The client is not connected")

    # ------------------------------------------------------------------ the server

    async def figures(self, by: Principal) -> Mapping[str, object]:
        """@return: what the server counts; without all rights only how many own clients there are.

        @raise Forbidden: device.update is held nowhere.
        """
        scope = self._scope(by)
        figures = self._admin.figures()
        if scope is None:
            return figures
        own = [client for client in self._admin.clients() if _is_of(client, scope)]
        shown = {key: figures[key] for key in ("isInitialized", "port", "host")}
        known = sum(client.principal != ANONYMOUS.key for client in own)
        return {**shown, "connectedClients": len(own), "authenticatedClients": known}

    async def retained(
        self, by: Principal, topic_filter: str, limit: int | None, offset: int
    ) -> Listed:
        """@return: retained messages on topics that the filter matches, in order of the topics.

        @raise Forbidden: device.update is held nowhere.
        """
        visible = await self._visible_topics(by)
        found = sorted(
            (message for message in self._admin.retained(topic_filter) if visible(message.topic)),
            key=lambda message: message.topic,
        )
        page = islice(found, offset, offset + (limit or MAX_ROWS))
        rows = [_retained(message) for message in page]
        return Listed(rows, len(found), cut=limit is None and len(found) - offset > MAX_ROWS)

    async def bans(self, by: Principal) -> list[Row]:
        """@return: who is kept out for a while. @raise Forbidden: no System Admin."""
        self._require_administrator(by)
        return [attrs.asdict(ban) for ban in self._admin.bans()]

    async def lift(self, by: Principal, ban: int) -> None:
        """End a ban. @raise Forbidden: no System Admin. @raise NotFound: no such ban in force."""
        self._require_administrator(by)
        if not self._admin.lift(ban):
            raise NotFound(f"Ban with ID {ban} not found")
        self._log.info("ban {ban} was lifted by {name}", ban=ban, name=by.name)

    @staticmethod
    def _require_administrator(by: Principal) -> None:
        # An address may be that of devices of several organizations.
        if not by.administrator:
            raise Forbidden("Forbidden: Insufficient permissions")

    async def _visible_topics(self, by: Principal) -> Callable[[str], bool]:
        scope = self._scope(by)
        if scope is None:
            return lambda topic: True
        own = await self._database.read(identities.uuids_of, scope)
        numbers = {str(organization) for organization in scope}

        def visible(topic: str) -> bool:
            root, _, rest = topic.partition("/")
            subject = rest.partition("/")[0]
            return subject in {"devices": own, "organizations": numbers}.get(root, ())

        return visible

    # ------------------------------------------------------------------

    @staticmethod
    def _scope(by: Principal) -> list[int] | None:
        access.require_somewhere(by, _RIGHT)
        return access.scope(by, _RIGHT)

    async def _find(self, by: Principal, client: int) -> Row:
        scope = self._scope(by)
        await self._writes.flush()
        row: Row | None = await self._database.read(mqtt_clients.find, client, scope)
        if row is None:
            raise NotFound(f"Client with ID {client} not found")
        return row

    def _gone(self, event: ClientGone) -> None:
        reason = f"{event.reason}: {event.detail}" if event.detail else event.reason
        self._note(event.client, disconnected_at=event.at, disconnect_reason=reason[:_REASON])

    def _note(self, client: ClientInfo, **changes: Any) -> None:
        if len(self._writes) >= _WAITING:
            self._writes.forget_oldest()
        values = {"disconnected_at": None, "disconnect_reason": None, **_values(client), **changes}
        self._writes.put(mqtt_clients.digest(client.principal, client.client_id), values)

    def _save(self, tx: Transaction, records: Mapping[bytes, Mapping[str, Any]]) -> None:
        mqtt_clients.save(tx, records)
        mqtt_clients.prune(tx, self._limit)

    def _shown(self, row: Row) -> Row:
        principal, client_id = _principal(row), row["client_id"]
        live = self._admin.client(principal, client_id)
        shown = {name: row[column] for column, name in _NAMES.items()}
        shown |= {"connected": live is not None, "queuedBytes": 0}
        if live is not None:
            shown |= {_NAMES[column]: value for column, value in _values(live).items()}
            shown |= {
                "queuedBytes": live.queued_bytes,
                "unacknowledged": live.unacknowledged,
                "unsent": live.unsent,
            }
            return shown
        # What a client leaves behind with its connection is gone, unless its session is stored.
        owed = self._admin.owed(principal, client_id) or _NOTHING
        return shown | {
            "subscriptions": owed.subscriptions,
            "inFlight": owed.in_flight,
            "queued": owed.queued,
            "queuedBytes": owed.queued_bytes,
        }


def _values(client: ClientInfo) -> dict[str, Any]:
    return {
        "kind": client.identity.kind.value,
        "name": client.identity.name,
        "client_id": client.client_id,
        "peer": client.peer[:256],
        "transport": client.over,
        "protocol_level": client.level,
        "clean_session": client.clean_session,
        "keep_alive": client.keep_alive,
        "connected_at": client.connected_at,
        "subscriptions": client.subscriptions,
        "in_flight": client.in_flight,
        "queued": client.queued,
        "messages_received": client.messages_received,
        "messages_sent": client.messages_sent,
        "bytes_received": client.bytes_received,
        "bytes_sent": client.bytes_sent,
        "dropped": client.dropped,
    }


def _principal(row: Row) -> str:
    """@return: `Principal.key` of the client that a row is about."""
    return f"{row['kind']}:{row['name']}"


def _is_of(client: ClientInfo, organizations: list[int]) -> bool:
    identity = client.identity
    return identity.kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE) and any(
        organization in identity.permissions for organization in organizations
    )


def _retained(message: RetainedInfo) -> Row:
    shown = message.payload[:_MAX_PAYLOAD]
    text = shown.decode("utf-8", "replace")
    return {
        "topic": message.topic,
        "qos": message.qos,
        "size": len(message.payload),
        "payload": text,
    }
