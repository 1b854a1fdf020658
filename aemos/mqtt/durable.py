"""The session that outlives its connection, and the process: what it owes is in the database.

A copy of QoS 1 or 2 is sent after the commit of its row. Its packet id is stored with it, so that
a server that was killed goes on with the ids that the client knows; where the client must not see
a message twice, the commit of the id or of its release is waited for. That a copy is done with is
written later, many at once: if that is lost, the copy is sent again, with DUP.

While the client is away the waiting copies are in the database alone. `store` fetches them when it
comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from aemos.config.schema import Mqtt
from aemos.errors import StorageUnavailable
from aemos.model import Instant, Principal
from aemos.mqtt.counters import Counters
from aemos.mqtt.packets.fields import MalformedPacket
from aemos.mqtt.publication import Publication, TrackedPublication, first_byte
from aemos.mqtt.session import STREAM_AHEAD, STREAM_BATCH, Session
from aemos.storage.mqtt_changes import (
    RELEASED,
    Change,
    Copy,
    Numbered,
    Released,
    Removed,
    SessionRow,
    SetAside,
)

if TYPE_CHECKING:
    from aemos.mqtt.outbox import Outbox
    from aemos.mqtt.store import SessionStore
    from aemos.services.interfaces import Progress


class StoredCopy(Copy):
    """A copy as its session holds it; `stored` is false until nothing forbids to send it.

    One of QoS 0 has position 0 and is in no database.
    """

    __slots__ = ("owner", "publication", "stored")

    def __init__(
        self,
        owner: DurableSession,
        position: int,
        publication: Publication,
        qos: int,
        retain: bool,
        at: Instant,
    ) -> None:
        super().__init__(owner.row, position, publication, qos, retain, at)
        self.owner = owner
        self.publication = publication
        self.stored = False

    def packet(self, dup: bool = False) -> bytes:
        """@return: the PUBLISH that carries it."""
        first = first_byte(self.qos, retain=self.retain, dup=dup)
        return self.publication.packet(first, self.packet_id or 0)


_NOTHING: deque[StoredCopy] = deque(maxlen=0)
_NO_IDS: set[int] = set()
"""Of those to whom nothing is owed: an empty deque takes 600 bytes, an empty set 200."""


class DurableSession(Session):
    """A session with clean_session=0.

    `loaded` = all that it is owed is in memory; else only what is not stored yet, and the rest is
    counted.
    """

    __slots__ = (
        "_ids",
        "_inflight",
        "_numbered",
        "_queue",
        "_queued_bytes",
        "_releasing",
        "_store",
        "_waiting_bytes",
        "_waiting_copies",
        "fetched",
        "loaded",
        "row",
    )

    clean = False

    def __init__(
        self,
        principal: Principal,
        client_id: str,
        settings: Mqtt,
        counters: Counters,
        store: SessionStore,
        row: SessionRow,
    ) -> None:
        super().__init__(principal, client_id, settings, counters)
        self.row = row
        self.loaded = False
        # Who waits for the copies that are being read; None = they are not.
        self.fetched: list[Callable[[StorageUnavailable | None], object]] | None = None
        self._store = store
        # Sent and not acknowledged, in sending order; received, and PUBCOMP not seen.
        self._inflight: dict[int, StoredCopy] = {}
        self._releasing: dict[int, StoredCopy] = {}
        self._queue = _NOTHING
        self._queued_bytes = 0
        # How many in the queue have a packet id; together with those sent they fit the window.
        self._numbered = 0
        self._ids = _NO_IDS
        # What waits in the database alone.
        self._waiting_copies = 0
        self._waiting_bytes = 0

    @property
    def in_flight(self) -> int:
        return len(self._inflight) + len(self._releasing)

    @property
    def queued(self) -> int:
        return len(self._queue) + self._waiting_copies

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes + self._waiting_bytes

    @property
    def next_packet_id(self) -> int:
        """The id that the next message gets, if it is free."""
        return self._last_id % 0xFFFF + 1

    # ------------------------------------------------------------------ towards the client

    def deliver(self, publication: Publication, granted: int) -> None:
        qos = publication.qos
        if granted < qos:
            qos = granted
        if qos:
            copy = self.keep(publication, qos)
            if copy is not None:
                self._store.record(copy)
            return
        outbox, limit = self.outbox, self._settings.max_output
        if outbox is None:
            return
        if self._queue or (outbox.unsent > limit and not outbox.has_room(limit)):
            if self._takes_unsure() and self._has_room(publication.size):
                self._append(StoredCopy(self, 0, publication, 0, False, Instant()))
        else:
            self.sent += 1
            outbox.write(publication.frame)

    def keep(
        self, publication: Publication, qos: int, *, retain: bool = False
    ) -> StoredCopy | None:
        """Take a message of QoS 1 or 2 into the queue; whoever calls has it stored.

        @return: what is to be stored, and then given to `stored` or `refused`; None = no room.
        """
        if not self._has_room(publication.size):
            return None
        store = self._store
        copy = StoredCopy(self, store.next_position(), publication, qos, retain, store.now())
        if self.outbox is not None and self._window() > 0 and self._all_numbered():
            self._number(copy)
        self._append(copy)
        return copy

    def watch(self, topic: str, payload: bytes, progress: Progress) -> bool:
        # What was read from the database has been forgotten by those who sent it.
        for copy in (*self._inflight.values(), *self._releasing.values(), *self._queue):
            publication = copy.publication
            if publication.topic == topic and publication.payload == payload:
                copy.publication = TrackedPublication(topic, payload, publication.qos, progress)
                return True
        return False

    def stored(self, copy: StoredCopy) -> None:
        """The row of a copy is committed: `pump` may send it."""
        copy.stored = True
        if not self.loaded and self.fetched is None:
            self._to_database(copy)

    def refused(self, copy: StoredCopy) -> None:
        """A copy will not be stored: its message was refused."""
        if copy in self._queue:
            self._take_out(copy)
            self.pump()

    def pump(self) -> None:
        outbox = self.outbox
        if outbox is None or not (self._queue or self._streams):
            return
        self._send_queue(outbox)
        for _ in range(STREAM_BATCH):
            if outbox.unsent > STREAM_AHEAD or self._window() <= 0:
                return
            delivery = self._take_next_stream()
            if delivery is None:
                return
            publication, first = delivery
            if not first & 6:
                self.sent += 1
                outbox.write(publication.packet(first))
                continue
            copy = self.keep(publication, first >> 1 & 3, retain=True)
            if copy is not None:
                self._store.record(copy)
                self._store.commit(self.pump)

    def acknowledged(self, packet_id: int) -> None:
        copy = self._inflight.get(packet_id)
        if copy is None or copy.qos != 1:
            if copy is not None or packet_id in self._releasing:
                raise MalformedPacket(f"PUBACK for QoS 2 message {packet_id}", "MQTT-4.3.3-1")
            return
        del self._inflight[packet_id]
        self._acknowledged(copy)
        self.pump()

    def received(self, packet_id: int) -> None:
        copy = self._inflight.get(packet_id)
        if copy is not None:
            if copy.qos != 2:
                raise MalformedPacket(f"PUBREC for QoS 1 message {packet_id}", "MQTT-4.3.2-1")
            del self._inflight[packet_id]
            self._releasing[packet_id] = copy
            sent, copy.position = copy.position, self._store.next_position()
            self._store.record(Released(self.row, sent, copy.position))
        outbox = self.outbox
        if outbox is not None:
            # Once the client has seen the PUBREL, a PUBLISH with this id is a new message to it.
            answer = b"\x62\x02" + packet_id.to_bytes(2, "big")
            self._store.commit(lambda: outbox.write(answer))

    def completed(self, packet_id: int) -> None:
        if packet_id in self._inflight:
            raise MalformedPacket(f"PUBCOMP before PUBREC of {packet_id}", "MQTT-4.3.3-1")
        copy = self._releasing.pop(packet_id, None)
        if copy is not None:
            self._acknowledged(copy)
            self.pump()

    # ------------------------------------------------------------------ connection comes and goes

    def resume(self, outbox: Outbox) -> None:
        """Go on over a new connection, its CONNACK written: resend what is owed, then the queue.

        PUBRELs first [MQTT-4.6.0-4], then unacknowledged PUBLISHes in their order.
        """
        self.outbox = outbox
        for packet_id in self._releasing:
            outbox.write(b"\x62\x02" + packet_id.to_bytes(2, "big"))
        for copy in self._inflight.values():
            outbox.write(copy.packet(dup=True))
        self.pump()

    def detach(self) -> None:
        super().detach()
        if self.fetched is None:
            self._unload()

    def restore(self, rows: Sequence[dict[str, Any]], inbound: Sequence[int]) -> None:
        """Take up what `storage.mqtt_sessions.queue` has read; what came meanwhile is behind it."""
        known = {copy.position for copy in self._queue}
        waiting: list[StoredCopy] = []
        unusable: list[int] = []
        for row in rows:
            if row["position"] in known:
                continue
            copy = self._restored(row)
            if copy is None:
                unusable.append(row["position"])
            elif copy.packet_id is None:
                waiting.append(copy)
            else:
                self._use(copy.packet_id)
                held = self._releasing if row["state"] == RELEASED else self._inflight
                held[copy.packet_id] = copy
        if unusable:
            self._store.set_aside(SetAside(self.row, unusable))
        for packet_id in inbound:
            self.incoming.setdefault(packet_id, None)
        queue = sorted([*waiting, *self._queue], key=_position)
        self._set_queue(queue)
        self._waiting_copies = self._waiting_bytes = 0
        self.loaded = True

    def load_counts(self, copies: int, size: int, next_packet_id: int) -> None:
        """Take up at start how much waits in the database."""
        self._waiting_copies, self._waiting_bytes = copies, size
        self._last_id = max(0, min(next_packet_id - 1, 0xFFFF))

    def forget(self, copies: int, size: int) -> None:
        """So many copies that waited in the database have expired there."""
        if not self.loaded:  # else they are dropped when it is their turn
            self.dropped += copies
            self._counters.dropped["expired"] += copies
            self._waiting_copies = max(0, self._waiting_copies - copies)
            self._waiting_bytes = max(0, self._waiting_bytes - size)

    def hand_over_shared(self) -> None:
        for copy in [*self._inflight.values(), *self._queue]:
            may_be_there = copy.qos == 2 and copy.packet_id is not None
            if copy.stored and not may_be_there and self._handed_over(copy.publication):
                if self._inflight.pop(copy.packet_id or 0, None) is None:
                    self._take_out(copy)
                elif copy.packet_id is not None:
                    self._ids.discard(copy.packet_id)
                if copy.qos:
                    self._store.record(Removed(copy))
        self._store.commit_soon()

    def purge(self, wanted: Callable[[str], bool]) -> None:
        if not self.loaded:
            self._store.fetch(self, lambda error: None if error else self.purge(wanted))
            return
        # What is not stored yet is on its way, and what has an id may be with the client already.
        for copy in list(self._queue):
            loose = not copy.qos or (copy.stored and copy.packet_id is None)
            if loose and not wanted(copy.message.topic):
                self._give_up(copy)

    # ------------------------------------------------------------------

    def _send_queue(self, outbox: Outbox) -> None:
        queue, max_output, expiry = (
            self._queue,
            self._settings.max_output,
            self._settings.message_expiry * 1000,
        )
        while queue:
            copy = queue[0]
            if outbox.unsent > max_output:
                return
            if copy.qos:
                if not copy.stored:
                    return
                if copy.packet_id is None:
                    if expiry and copy.at + expiry <= self._store.now():
                        self._give_up(copy)
                        self._drop("expired")
                        continue
                    self._number_waiting()
                    if copy.packet_id is None or not copy.stored:
                        return
                self._numbered -= 1
                self._inflight[copy.packet_id] = copy
            queue.popleft()
            self._queued_bytes -= copy.publication.size
            self.sent += 1
            outbox.write(copy.packet())

    def _window(self) -> int:
        """@return: how many more messages may get a packet id now."""
        return self._settings.max_inflight - len(self._ids)

    def _all_numbered(self) -> bool:
        """Whether nothing waits for an id already: ids are given in the order of the queue.

        What waits may do so because it is not stored, not because the window is full.
        """
        return self._numbered == len(self._queue) or all(
            copy.packet_id is not None for copy in self._queue if copy.qos
        )

    def _number(self, copy: StoredCopy) -> None:
        packet_id = self.next_packet_id
        # The window is smaller than the space of ids.
        while packet_id in self._ids:
            packet_id = packet_id % 0xFFFF + 1
        copy.packet_id = self._last_id = packet_id
        self._use(packet_id)
        self._numbered += 1

    def _use(self, packet_id: int) -> None:
        if self._ids is _NO_IDS:
            self._ids = set()
        self._ids.add(packet_id)

    def _number_waiting(self) -> None:
        """Give ids to the first in the queue; one of QoS 2 waits until that is stored."""
        changes: list[Change] = []
        delayed: list[StoredCopy] = []
        # More may be in flight than the window takes, if that was made smaller since.
        for copy in islice(self._queue, self._numbered + max(0, self._window())):
            if self._window() <= 0 or (copy.qos and not copy.stored):
                break
            if copy.qos and copy.packet_id is None:
                self._number(copy)
                changes.append(Numbered(copy))
                if copy.qos == 2:
                    copy.stored = False
                    delayed.append(copy)
        if not delayed:
            for change in changes:
                self._store.later(change)
            return

        def numbered() -> None:
            for copy in delayed:
                self.stored(copy)
            self.pump()

        self._store.record(*changes)
        self._store.commit(numbered)

    def _acknowledged(self, copy: StoredCopy) -> None:
        # First: were the copy gone and this not written, the message would be sent once more.
        if copy.publication.progress is not None:
            copy.publication.progress.received()
        self._done_with(copy)

    def _done_with(self, copy: StoredCopy) -> None:
        if copy.packet_id is not None:
            self._ids.discard(copy.packet_id)
        self._store.later(Removed(copy))

    def _give_up(self, copy: StoredCopy) -> None:
        self._take_out(copy)
        if copy.qos:
            self._store.later(Removed(copy))

    def _drop_oldest(self) -> bool:
        if not self.loaded:
            # It has to be known which is the oldest: let the queue grow until that was read.
            self._store.fetch(self, lambda error: None if error else self._trim())
            return False
        for copy in self._queue:
            if not copy.qos or (copy.stored and copy.packet_id is None):
                self._give_up(copy)
                return True
        return False

    def _trim(self) -> None:
        while self._exceeds(0, 0) and self._drop_oldest():
            self._drop("queue_full")

    def _has_room(self, size: int) -> bool:
        if self._settings.queue_full == "drop_oldest" and not self.loaded:
            if self._exceeds(1, size):
                self._drop_oldest()
            if not self.loaded:
                return True
        return super()._has_room(size)

    def _exceeds(self, copies: int, size: int) -> bool:
        """Whether with so much more there were too much."""
        settings = self._settings
        return (
            self.queued + copies > settings.max_queued
            or self.queued_bytes + size > settings.max_queued_bytes
        )

    # ------------------------------------------------------------------ the queue

    def _append(self, copy: StoredCopy) -> None:
        if self._queue is _NOTHING:
            self._queue = deque()
        self._queue.append(copy)
        self._queued_bytes += copy.publication.size

    def _take_out(self, copy: StoredCopy) -> None:
        # Mostly it is the first.
        self._queue.remove(copy)
        self._queued_bytes -= copy.publication.size
        if copy.packet_id is not None:
            self._ids.discard(copy.packet_id)
            self._numbered -= 1

    def _to_database(self, copy: StoredCopy) -> None:
        """Let go of a stored copy of an absent client."""
        self._take_out(copy)
        if copy.packet_id is None:
            self._waiting_copies += 1
            self._waiting_bytes += copy.publication.size
        if not self._queue:
            self._queue = _NOTHING

    def _set_queue(self, copies: Sequence[StoredCopy]) -> None:
        self._queue = deque(copies) if copies else _NOTHING
        self._queued_bytes = sum(copy.publication.size for copy in copies)
        self._numbered = sum(copy.packet_id is not None for copy in copies)

    def _unload(self) -> None:
        """Keep only what no database has yet."""
        loose = [copy for copy in self._queue if copy.stored and copy.qos and not copy.packet_id]
        self._waiting_copies += len(loose)
        self._waiting_bytes += sum(copy.publication.size for copy in loose)
        self._set_queue([copy for copy in self._queue if copy.qos and not copy.stored])
        self._inflight.clear()
        self._releasing.clear()
        ids = {copy.packet_id for copy in self._queue if copy.packet_id is not None}
        self._ids = ids or _NO_IDS
        self.loaded = False

    def _restored(self, row: dict[str, Any]) -> StoredCopy | None:
        """@return: None if the row makes no sense."""
        topic, payload, at = row["topic"], row["payload"], row["created_at"]
        packet_id, qos = row["packet_id"], row["qos"]
        if (
            not isinstance(topic, str)
            or not isinstance(payload, bytes)
            or at is None
            or qos not in (1, 2)
            or (packet_id is None and row["state"] == RELEASED)
            or (packet_id is not None and not 0 < packet_id <= 0xFFFF)
            or packet_id in self._ids
        ):
            return None
        publication = Publication(topic, payload, qos)
        copy = StoredCopy(self, row["position"], publication, qos, bool(row["retain"]), at)
        copy.packet_id, copy.message_id = packet_id, row["message_id"]
        copy.stored = True
        return copy


def _position(copy: StoredCopy) -> int:
    return copy.position
