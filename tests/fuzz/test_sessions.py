"""Durable sessions on schedules that nobody would think of: nothing lost, doubled or out of order.

Clients that follow the standard to the letter publish, answer late, drop, come back and take
themselves over, while the judge and the database answer when they like and the server is killed.
"""

from __future__ import annotations

from collections import deque
from random import Random

import attrs
import pytest

from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
)
from aemos.storage.transaction import Transaction
from tests.mqtt_stage import Client, Door, Stage

TOPICS = ("a", "b/x", "devices/d/datastream", "devices/e/status")
"""Two that are routed, two that are judged before."""
ALL = (("#", 2),)
OVERLAPPING = (("a", 1), ("b/+", 2), ("devices/+/datastream", 1), ("devices/e/#", 2))
_STEPS = 200
_MOMENT = 0.06  # seconds: what nobody waits for is written by then
_SUBSCRIBING = 0xFFFF  # far from the ids of publishes


class Peer:
    """A client with its half of a session, which outlives connections and servers."""

    def __init__(self, name: str, filters: tuple[tuple[str, int], ...] = ()) -> None:
        self.name = name
        self.filters = filters
        self.client: Client | None = None
        self.accepted = self.subscribed = False
        # By packet id: what was sent and not acknowledged to the end, and whether PUBREC came.
        self.owed: dict[int, tuple[Publish, bool]] = {}
        self.sent: list[Publish] = []
        # QoS 2 between PUBLISH and PUBREL.
        self.holds: dict[int, Publish] = {}
        self.received: list[Publish] = []
        self._to_read: deque[Packet] = deque()
        self._known = False
        self._last_id = 0

    def connect(self, stage: Stage) -> None:
        """Open a connection; one that is there is taken over."""
        self.leave()
        self.client = stage.open()
        self.client.send(Connect(self.name, clean_session=False))

    def leave(self) -> None:
        """Forget the connection, and what was not read from it."""
        self.client = None
        self.accepted = False
        self._to_read.clear()

    def publish(self, topic: str, qos: int, count: int) -> None:
        """Send some messages at once."""
        assert self.client is not None
        packets = []
        for _ in range(count):
            self._last_id += 1
            payload = f"{self.name} {self._last_id}".encode()
            packets.append(Publish(topic, payload, qos, packet_id=self._last_id))
            self.owed[self._last_id] = (packets[-1], False)
        self.sent += packets
        self.client.send(*packets)

    def read(self, count: int | None = None) -> bool:
        """Take what the server has sent and answer it. @return: whether there was anything."""
        client, busy = self.client, False
        while client is not None and count != 0:
            self._to_read.extend(client.packets())
            assert not client.closed
            if not self._to_read:
                break
            self._answer(client, self._to_read.popleft())
            busy = True
            count = None if count is None else count - 1
        return busy

    def _answer(self, client: Client, packet: Packet) -> None:
        match packet:
            case ConnAck():
                assert packet.return_code == 0
                assert packet.session_present or not self._known
                self._known = self.accepted = True
                client.send(
                    *(
                        PubRel(packet_id) if released else attrs.evolve(publish, dup=True)
                        for packet_id, (publish, released) in self.owed.items()
                    )
                )
                if not self.subscribed and self.filters:
                    client.send(Subscribe(_SUBSCRIBING, self.filters))
            case SubAck():
                self.subscribed = True
            case Publish(qos=1):
                self.received.append(packet)
                client.send(PubAck(packet.packet_id))
            case Publish():
                self._hold(packet)
                client.send(PubRec(packet.packet_id))
            case PubRel(packet_id):
                self.holds.pop(packet_id, None)
                client.send(PubComp(packet_id))
            case PubRec(packet_id):
                if packet_id in self.owed:
                    self.owed[packet_id] = (self.owed[packet_id][0], True)
                client.send(PubRel(packet_id))
            case PubAck(packet_id) | PubComp(packet_id):
                self.owed.pop(packet_id, None)
            case _:
                raise AssertionError(packet)

    def _hold(self, packet: Publish) -> None:
        before = self.holds.get(packet.packet_id)
        if before is None:
            self.holds[packet.packet_id] = packet
            self.received.append(packet)
        else:
            assert packet.dup
            assert (packet.topic, packet.payload) == (before.topic, before.payload)


class World:
    """A server, its clients, and what happens to them, decided by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random = Random(seed)
        self._window = random.choice((1, 2, 3, 100))
        self._stage = Stage(max_inflight=self._window)
        self._stage.start()
        self.subscribers = [Peer("all", ALL), Peer("overlapping", OVERLAPPING)]
        self.publishers = [Peer("one"), Peer("two")]
        self._peers = [*self.subscribers, *self.publishers]
        self.settle()

    def happen(self) -> None:
        """One of the things that happen."""
        random, stage = self._random, self._stage
        peer, publisher = random.choice(self._peers), random.choice(self.publishers)
        door = random.choice((stage.router.door, stage.database.door))
        chance = random.random()
        if chance < 0.35:
            if publisher.accepted:
                topic, qos = random.choice(TOPICS), random.choice((1, 2))
                publisher.publish(topic, qos, random.choice((1, 1, 1, 4)))
        elif chance < 0.6:
            peer.read(1)
        elif chance < 0.68:
            if peer.client is not None:
                peer.client.drop()
                peer.leave()
        elif chance < 0.78:
            if peer.client is None:
                peer.connect(stage)
        elif chance < 0.81:
            peer.connect(stage)
        elif chance < 0.87:
            self._swing(door)
        elif chance < 0.98:
            door.open(random.choice((1, 2, None)))
            stage.turn()
            stage.clock.advance(random.choice((0, _MOMENT)))
        else:
            self.kill()

    def kill(self) -> None:
        """End the server as `kill -9` does, and start it again on its database."""
        database = self._stage.database
        database.door.waiting.clear()
        database.door.later = False
        for peer in self._peers:
            peer.leave()
        self._stage = Stage(database, max_inflight=self._window)

    def settle(self) -> None:
        """Let everybody come back and everything come to its end."""
        stage = self._stage
        for door in (stage.database.door, stage.router.door):
            door.later = True
            self._swing(door)
        busy = True
        while busy:
            stage.turn()
            stage.clock.advance(_MOMENT)
            busy = False
            for peer in self._peers:
                if peer.client is None:
                    peer.connect(stage)
                busy = peer.read() or busy
        assert [peer.owed for peer in self._peers] == [{}] * len(self._peers)

    def rows(self) -> int:
        """@return: how much the database holds for clients."""

        def count(tx: Transaction) -> int:
            tables = ("mqtt_queue", "mqtt_message", "mqtt_inbound")
            return sum(tx.value(f"SELECT COUNT(*) FROM {table}") for table in tables)

        found: int = self._stage.database.run(count)
        return found

    @staticmethod
    def _swing(door: Door) -> None:
        """Hold answers up from now on, or no more; those that wait go first, in their order."""
        while door.later and door.waiting:
            door.open(1)
        door.later = not door.later


@pytest.mark.parametrize("seed", range(20))
def test_every_message_arrives_in_order_and_at_qos_2_once(seed: int) -> None:
    world = World(seed)
    for _ in range(_STEPS):
        world.happen()
    world.settle()
    for subscriber in world.subscribers:
        for publisher in world.publishers:
            for topic in TOPICS:
                for qos in (1, 2):
                    sent = [p.payload for p in publisher.sent if (p.topic, p.qos) == (topic, qos)]
                    found = [p for p in subscriber.received if p.topic == topic]
                    found = [p for p in found if p.payload in sent]
                    assert list(dict.fromkeys(p.payload for p in found)) == sent
                    if all(p.qos == 2 for p in found):
                        assert len(found) == len(sent)
    assert world.rows() == 0
