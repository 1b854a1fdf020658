"""The fourteen packets of MQTT 3.1 and 3.1.1: bytes to values and back.

Each class has `encode()` and `decode(flags, body, rules)`, where `flags` are the low four bits of
the first byte and `body` is what the remaining length counts. Decoding is total: any bytes give a
packet or `MalformedPacket`.
"""

from __future__ import annotations

from aemos.mqtt.packets.acks import PubAck, PubComp, PubRec, PubRel, UnsubAck
from aemos.mqtt.packets.connect import ConnAck, Connect, Will
from aemos.mqtt.packets.control import Disconnect, PingReq, PingResp
from aemos.mqtt.packets.fields import DEFAULT_RULES, MalformedPacket, Rules
from aemos.mqtt.packets.publish import Publish
from aemos.mqtt.packets.subscribe import SubAck, Subscribe, Unsubscribe

Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)

PACKETS: dict[int, type[Packet]] = {
    1: Connect,
    2: ConnAck,
    3: Publish,
    4: PubAck,
    5: PubRec,
    6: PubRel,
    7: PubComp,
    8: Subscribe,
    9: SubAck,
    10: Unsubscribe,
    11: UnsubAck,
    12: PingReq,
    13: PingResp,
    14: Disconnect,
}
"""The class of each packet type; types 0 and 15 are forbidden."""


def decode(first: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Packet:
    """Decode one packet.

    @param first: byte 1 of the fixed header.
    @raise MalformedPacket: also for a type that does not exist.
    """
    kind = PACKETS.get(first >> 4)
    if kind is None:
        raise MalformedPacket(f"packet type {first >> 4} is reserved", "MQTT-2.2.1")
    return kind.decode(first & 0x0F, body, rules)


__all__ = [
    "PACKETS",
    "ConnAck",
    "Connect",
    "Disconnect",
    "MalformedPacket",
    "Packet",
    "PingReq",
    "PingResp",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "Rules",
    "SubAck",
    "Subscribe",
    "UnsubAck",
    "Unsubscribe",
    "Will",
    "decode",
]
