"""Changes of MQTT sessions on their way into the `mqtt_*` tables, many sessions' at once.

Each change is an item that adds itself to a batch, which writes rows of one sort together. Ids of
sessions and messages are learnt here, in the writer's thread, and used nowhere else.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import attrs

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction, marks

T = TypeVar("T")

PRESENT = Instant.parse("9999-01-01T00:00:00Z")
"""`mqtt_session.seen_at` while the client is connected; else when it left."""

WAITING, RELEASED, SET_ASIDE = 0, 1, 2
"""`mqtt_queue.state`: to be sent or acknowledged; PUBREC came, PUBCOMP did not; unusable."""

_AT_ONCE = 500  # rows named in one statement
_EXPIRED_AT_ONCE = 5000
_ALL = 2**63 - 1


def digest(*texts: str) -> bytes:
    """@return: 16 bytes that stand for the texts in an index."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()


class Content(Protocol):
    """What a message row holds (`aemos.mqtt.publication.Publication`)."""

    @property
    def topic(self) -> str: ...

    @property
    def payload(self) -> bytes: ...


@attrs.define(slots=True, eq=False)
class SessionRow:
    """One row of `mqtt_session`; `id` is 0 until it is stored."""

    principal: str
    client_id: str
    id: int = 0

    @property
    def digest(self) -> bytes:
        return digest(self.principal, self.client_id)


class Copy:
    """One message for one session: a row of `mqtt_queue`, and an item that inserts it.

    Copies are sent in order of `position`. All copies of a message that are stored in one unit
    share its row in `mqtt_message`. `packet_id` is None until it may have been sent.
    """

    __slots__ = ("at", "message", "message_id", "packet_id", "position", "qos", "retain", "row")

    def __init__(
        self, row: SessionRow, position: int, message: Content, qos: int, retain: bool, at: Instant
    ) -> None:
        self.row, self.position, self.message = row, position, message
        self.qos, self.retain, self.at = qos, retain, at
        self.packet_id: int | None = None
        self.message_id = 0

    def add_to(self, batch: Batch) -> None:
        if self.row.id:
            batch.copies.append(self)


class Change(Protocol):
    """An item of `SESSION_CHANGES`."""

    def add_to(self, batch: Batch) -> None:
        """Called in the writer's thread, in order of submission, again when that is repeated."""


@attrs.frozen(slots=True, eq=False)
class Created:
    """A new session, its client connected, in place of any row of the same name."""

    row: SessionRow

    def add_to(self, batch: Batch) -> None:
        tx, row = batch.tx, self.row
        batch.write()
        for old in tx.all("SELECT id FROM mqtt_session WHERE digest = %s", (row.digest,)):
            _discard(tx, old["id"])
        row.id = tx.insert(
            "mqtt_session",
            {
                "digest": row.digest,
                "principal": row.principal,
                "client_id": row.client_id,
                "created_at": tx.now,
                "seen_at": PRESENT,
            },
        )


@attrs.frozen(slots=True, eq=False)
class Attached:
    """The client of a stored session is connected."""

    row: SessionRow

    def add_to(self, batch: Batch) -> None:
        batch.tx.execute(
            "UPDATE mqtt_session SET seen_at = %s WHERE id = %s", (PRESENT, self.row.id)
        )


@attrs.frozen(slots=True, eq=False)
class Left:
    """It is gone; the time of the session's expiry starts."""

    row: SessionRow
    at: Instant
    next_packet_id: int

    def add_to(self, batch: Batch) -> None:
        batch.tx.execute(
            "UPDATE mqtt_session SET seen_at = %s, next_packet_id = %s WHERE id = %s",
            (self.at, self.next_packet_id, self.row.id),
        )


@attrs.frozen(slots=True, eq=False)
class Discarded:
    """The session is forgotten, with everything that it was owed."""

    row: SessionRow

    def add_to(self, batch: Batch) -> None:
        batch.write()
        _discard(batch.tx, self.row.id)


@attrs.frozen(slots=True, eq=False)
class Subscribed:
    """A subscription is new or has another QoS; None = it has ended."""

    row: SessionRow
    topic_filter: str
    qos: int | None

    def add_to(self, batch: Batch) -> None:
        batch.subscriptions[self.row.id, digest(self.topic_filter)] = self


@attrs.frozen(slots=True, eq=False)
class Numbered:
    """A copy has got its packet id, and may be sent."""

    copy: Copy

    def add_to(self, batch: Batch) -> None:
        batch.numbered.append(self.copy)


@attrs.frozen(slots=True, eq=False)
class Released:
    """PUBREC came: the message is the client's, PUBREL is owed, in order of the new positions."""

    row: SessionRow
    old: int
    new: int

    def add_to(self, batch: Batch) -> None:
        batch.released.append(self)


@attrs.frozen(slots=True, eq=False)
class Removed:
    """A copy is not owed any more."""

    copy: Copy

    def add_to(self, batch: Batch) -> None:
        batch.removed.append(self.copy)


@attrs.frozen(slots=True, eq=False)
class SetAside:
    """Rows of a queue that make no sense: kept, and not read again."""

    row: SessionRow
    positions: Sequence[int]

    def add_to(self, batch: Batch) -> None:
        batch.tx.execute(
            f"UPDATE mqtt_queue SET state = {SET_ASIDE}"
            f" WHERE session_id = %s AND position IN ({marks(self.positions)})",
            (self.row.id, *self.positions),
        )


@attrs.frozen(slots=True, eq=False)
class Inbound:
    """The id of a QoS 2 message from the client: taken, or (`received` false) free again."""

    row: SessionRow
    packet_id: int
    received: bool

    def add_to(self, batch: Batch) -> None:
        batch.inbound[self.row.id, self.packet_id] = self.received


@attrs.frozen(slots=True, eq=False)
class Retained:
    """The retained message of a topic; an empty payload = none."""

    message: Content
    qos: int

    def add_to(self, batch: Batch) -> None:
        batch.retained[self.message.topic] = self


@attrs.define(slots=True, eq=False)
class Expired:
    """Copies of messages from before this time are given up, unless they may have been sent.

    `found` tells, after the commit, of which sessions: rows of `session_id` and `size` (bytes).
    """

    before: Instant
    found: list[Row] = attrs.field(factory=list)

    def add_to(self, batch: Batch) -> None:
        batch.write()
        tx = batch.tx
        # Messages stand in order of time, so what is older ends where the first younger one is.
        end = tx.value(
            "SELECT id FROM mqtt_message WHERE created_at >= %s ORDER BY id LIMIT 1", (self.before,)
        )
        self.found = tx.all(
            "SELECT q.session_id, q.position, q.message_id,"
            " LENGTH(m.topic) + LENGTH(m.payload) AS size"
            " FROM mqtt_message m JOIN mqtt_queue q ON q.message_id = m.id"
            f" WHERE m.id < %s AND q.state = {WAITING} AND q.packet_id IS NULL"
            " ORDER BY m.id LIMIT %s",
            (_ALL if end is None else end, _EXPIRED_AT_ONCE),
        )
        keys = [(row["session_id"], row["position"]) for row in self.found]
        for where, params in _where("position", keys):
            tx.execute(f"DELETE FROM mqtt_queue WHERE {where}", params)
        _delete_unowed(tx, {row["message_id"] for row in self.found})


class Batch:
    """Changes of many units in one transaction; rows that belong together are written together."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self._clear()

    def _clear(self) -> None:
        self.copies: list[Copy] = []
        self.numbered: list[Copy] = []
        self.released: list[Released] = []
        self.removed: list[Copy] = []
        # Only the last state of each counts.
        self.inbound: dict[tuple[int, int], bool] = {}
        self.subscriptions: dict[tuple[int, bytes], Subscribed] = {}
        self.retained: dict[str, Retained] = {}

    def write(self) -> None:
        """Execute what has been gathered; a copy may be inserted and removed in one batch."""
        tx = self.tx
        self._insert_copies()
        for copy in self.numbered:
            tx.execute(
                "UPDATE mqtt_queue SET packet_id = %s WHERE session_id = %s AND position = %s",
                (copy.packet_id, copy.row.id, copy.position),
            )
        for change in self.released:
            tx.execute(
                f"UPDATE mqtt_queue SET state = {RELEASED}, position = %s"
                " WHERE session_id = %s AND position = %s",
                (change.new, change.row.id, change.old),
            )
        removed = [(copy.row.id, copy.position) for copy in self.removed]
        for where, params in _where("position", removed):
            tx.execute(f"DELETE FROM mqtt_queue WHERE {where}", params)
        _delete_unowed(tx, {copy.message_id for copy in self.removed})
        self._write_inbound()
        self._write_subscriptions()
        self._write_retained()
        self._clear()

    def _insert_copies(self) -> None:
        messages: list[Copy] = []
        for copy in self.copies:
            if not messages or messages[-1].message is not copy.message:
                messages.append(copy)
        ids = self.tx.insert_rows(
            "mqtt_message",
            ("topic", "payload", "created_at"),
            [(copy.message.topic, copy.message.payload, copy.at) for copy in messages],
        )
        places, message_id, last = iter(ids), 0, None
        for copy in self.copies:
            if last is not copy.message:
                message_id, last = next(places), copy.message
            copy.message_id = message_id
        self.tx.insert_rows(
            "mqtt_queue",
            ("session_id", "position", "message_id", "qos", "retain", "state", "packet_id"),
            [
                (c.row.id, c.position, c.message_id, c.qos, int(c.retain), WAITING, c.packet_id)
                for c in self.copies
            ],
        )

    def _write_inbound(self) -> None:
        for where, params in _where("packet_id", self.inbound):
            self.tx.execute(f"DELETE FROM mqtt_inbound WHERE {where}", params)
        self.tx.insert_rows(
            "mqtt_inbound",
            ("session_id", "packet_id", "received_at"),
            [(*key, self.tx.now) for key, received in self.inbound.items() if received and key[0]],
        )

    def _write_subscriptions(self) -> None:
        for where, params in _where("digest", self.subscriptions):
            self.tx.execute(f"DELETE FROM mqtt_subscription WHERE {where}", params)
        self.tx.insert_rows(
            "mqtt_subscription",
            ("session_id", "digest", "topic_filter", "qos", "created_at"),
            [
                (*key, change.topic_filter, change.qos, self.tx.now)
                for key, change in self.subscriptions.items()
                if change.qos is not None and key[0]
            ],
        )

    def _write_retained(self) -> None:
        rows = {digest(topic): change for topic, change in self.retained.items()}
        for part in _parts(list(rows)):
            self.tx.execute(f"DELETE FROM mqtt_retained WHERE digest IN ({marks(part)})", part)
        self.tx.insert_rows(
            "mqtt_retained",
            ("digest", "topic", "qos", "payload", "principal", "stored_at"),
            [
                (key, change.message.topic, change.qos, change.message.payload, "", self.tx.now)
                for key, change in rows.items()
                if change.message.payload
            ],
        )


class SessionChanges:
    """Stores changes of any sort, in their order as far as order matters."""

    def store(self, tx: Transaction, items: Sequence[Change]) -> None:
        batch = Batch(tx)
        for item in items:
            item.add_to(batch)
        batch.write()


SESSION_CHANGES = SessionChanges()


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _where(column: str, keys: Iterable[tuple[int, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Conditions that find these (session_id, `column`) by the primary key.

    Not `(session_id, column) IN (...)`: MariaDB reads the whole table for that.
    """
    for part in _parts(list(keys)):
        by_session: defaultdict[int, list[Any]] = defaultdict(list)
        for session_id, value in part:
            by_session[session_id].append(value)
        conditions, params = [], []
        for session_id, values in by_session.items():
            conditions.append(f"(session_id = %s AND {column} IN ({marks(values)}))")
            params += [session_id, *values]
        yield " OR ".join(conditions), params


def _discard(tx: Transaction, session_id: int) -> None:
    rows = tx.all("SELECT message_id FROM mqtt_queue WHERE session_id = %s", (session_id,))
    for table in ("mqtt_queue", "mqtt_subscription", "mqtt_inbound"):
        tx.execute(f"DELETE FROM {table} WHERE session_id = %s", (session_id,))
    tx.execute("DELETE FROM mqtt_session WHERE id = %s", (session_id,))
    _delete_unowed(tx, {row["message_id"] for row in rows})


def _delete_unowed(tx: Transaction, message_ids: Iterable[int]) -> None:
    """Delete those of the messages of which no copy is left."""
    for part in _parts(sorted(message_ids)):
        tx.execute(
            f"DELETE FROM mqtt_message WHERE id IN ({marks(part)}) AND NOT EXISTS"
            " (SELECT 1 FROM mqtt_queue WHERE mqtt_queue.message_id = mqtt_message.id)",
            part,
        )
