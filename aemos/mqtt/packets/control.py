"""The packets without any field: PINGREQ, PINGRESP, DISCONNECT (MQTT 3.1.1 section 3.12 ff.)."""

from __future__ import annotations

from typing import ClassVar, Self

import attrs

from aemos.mqtt.packets.fields import DEFAULT_RULES, MalformedPacket, Rules, check_flags


@attrs.frozen
class _Bare:
    FIRST: ClassVar[int] = 0
    CLAUSE: ClassVar[str] = "MQTT-2.2.2-2"

    def encode(self) -> bytes:
        return bytes((self.FIRST, 0))

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Self:
        check_flags(cls.__name__, flags, 0, cls.CLAUSE, rules)
        if body:
            raise MalformedPacket(f"{cls.__name__} with a body", "MQTT-4.8.0-1")
        return cls()


class PingReq(_Bare):
    """The client is still there; answered by PINGRESP [MQTT-3.12.4-1]."""

    FIRST = 0xC0


class PingResp(_Bare):
    """So is the server."""

    FIRST = 0xD0


class Disconnect(_Bare):
    """The client leaves in order: its will is discarded [MQTT-3.14.4-3]."""

    FIRST = 0xE0
    CLAUSE = "MQTT-3.14.1-1"
