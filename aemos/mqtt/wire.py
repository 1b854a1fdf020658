"""Cuts a byte stream into MQTT packets, by index on one immutable buffer.

A packet is given out as (first byte, buffer, start, end) where buffer[start:end] is its body, so
that the caller copies only what it keeps. Limits are checked as soon as the remaining length is
known, and memory grows with what arrived, never with what was announced.
"""

from __future__ import annotations

from collections.abc import Iterator

from aemos.mqtt.packets.fields import MalformedPacket

CONNECT_LIMIT = 12 + 5 * (2 + 0xFFFF)
"""The largest first packet: a CONNECT of MQTT 3.1 with five fields as long as fields can be."""


class Splitter:
    """The receiving end of one connection.

    `limit` is the largest remaining length accepted and may be changed between packets.
    """

    __slots__ = ("_buffer", "_missing", "_partial", "_position", "limit")

    def __init__(self, limit: int = CONNECT_LIMIT) -> None:
        self.limit = limit
        self._buffer = b""
        self._position = 0
        self._partial: bytearray | None = None
        self._missing = 0

    @property
    def waiting(self) -> bool:
        """Whether bytes are held that were not given out yet."""
        return self._partial is not None or self._position < len(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Take bytes from the stream. @return: whether `packets` may have something to give."""
        if self._partial is not None:
            # Joining each small piece of a large packet to the rest would be quadratic.
            self._partial += data
            self._missing -= len(data)
            if self._missing > 0:
                return False
            data = bytes(self._partial)
            self._partial = None
        elif self._position < len(self._buffer):
            data = self._buffer[self._position :] + data
        self._buffer = data
        self._position = 0
        return True

    def packets(self) -> Iterator[tuple[int, bytes, int, int]]:
        """Give out complete packets; whoever stops early gets the rest from the next call.

        @raise MalformedPacket: a length of more than four bytes, or beyond `limit`.
        """
        buffer = self._buffer
        size = len(buffer)
        position = self._position
        while position + 2 <= size:
            length = buffer[position + 1]
            start = position + 2
            if length > 0x7F:
                if start < size and buffer[start] < 0x80:  # two bytes: most messages of devices
                    length += (buffer[start] << 7) - 0x80
                    start += 1
                else:
                    length, start = _long_length(buffer, position)
                    if not start:
                        break
            if length > self.limit:
                raise MalformedPacket(f"packet of {length} bytes, limit {self.limit}", "MQTT-2.2.3")
            end = start + length
            if end > size:
                self._partial = bytearray(buffer[position:])
                self._missing = end - size
                position = size
                break
            first = buffer[position]
            self._position = position = end
            yield first, buffer, start, end
        self._buffer = buffer[position:]
        self._position = 0


def _long_length(buffer: bytes, position: int) -> tuple[int, int]:
    """@return: a length of several bytes and where the body starts; (0, 0) = need more."""
    length = shift = 0
    for at in range(position + 1, min(position + 5, len(buffer))):
        byte = buffer[at]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, at + 1
        shift += 7
    if shift == 28:
        raise MalformedPacket("remaining length of more than four bytes", "MQTT-2.2.3")
    return 0, 0
