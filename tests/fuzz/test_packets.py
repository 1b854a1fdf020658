"""Damaged packets, half packets and noise for the running server: only that connection ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aemos import json
from aemos.mqtt.packets import ConnAck, Connect, Publish, Subscribe, Will
from tests.integration.server import Sensor, Server
from tests.integration.wire import PING, Wire, hello
from tests.wire.table import ALSO_DECODED, BAD, GOOD

_PAGE = 4096
ITSELF = "0" * 36
"""Stands for the uuid of the sensor that sends."""
_MAY_GROW = 24 * 1024 * 1024  # bytes; a leak of what was sent would be a multiple


class Target:
    """The server, a sensor in it, and a client that must not notice anything."""

    def __init__(self, server: Server, sensor: Sensor, bystander: Wire) -> None:
        self.server, self.sensor, self._bystander = server, sensor, bystander
        self._resident = 0

    def survive(self, stream: bytes, *, known: bool) -> None:
        """Send everything on a new connection, and see that the server is well after that."""
        stream = stream.replace(ITSELF.encode(), self.sensor.uuid.encode())
        with Wire.to(self.server) as wire:
            with contextlib.suppress(OSError):  # closed before all was sent
                wire.send(hello(self.sensor, "noise") if known else b"", stream)
                wire.finish()
            wire.rest()
        self._bystander.check()

    def check(self) -> None:
        """Nothing was raised, and nothing is kept of what was sent."""
        assert "Traceback" not in self.server.log
        pages = Path(f"/proc/{self.server.pid}/statm").read_text().split()[1]
        resident = int(pages) * _PAGE
        assert resident < (self._resident or resident) + _MAY_GROW
        self._resident = self._resident or resident


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    server = Server(
        folder,
        f"sqlite:///{folder / 'aemos.sqlite'}",
        mqtt={
            "connect_rate": 0,
            "connect_rate_per_address": 0,
            "flapping_connects": 0,
            "max_failed_logins": 0,
        },
        log={"level": "warn"},
    )
    try:
        server.start()
        sensor = server.add_sensor()
        with Wire.to(server) as bystander:
            bystander.send(hello(server.add_sensor(), "bystander"))
            assert bystander.read(4) == ConnAck().encode()
            target = Target(server, sensor, bystander)
            for _ in range(50):
                target.survive(PING, known=True)
            target.check()
            yield target
    finally:
        server.close()


PACKETS = [case.raw for case in (*GOOD, *ALSO_DECODED, *BAD) if len(case.raw) < 20_000]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A packet of the table: cut, repeated, with bytes changed, put in or left out."""
    raw = bytearray(draw(st.sampled_from(PACKETS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(["change", "insert", "remove", "cut", "repeat"])):
            case "change":
                raw[at : at + 1] = bytes((draw(st.integers(0, 255)),))
            case "insert":
                raw[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del raw[at]
            case "cut":
                del raw[at:]
            case "repeat":
                raw *= 2
        if not raw:
            break
    return bytes(raw)


WORDS = st.sampled_from(
    [
        "devices",
        "datastream",
        "status",
        "state",
        "commands",
        "+",
        "#",
        "",
        "$SYS",
        "$share",
        "\u00e9",
    ]
)
PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"[" * 3000, b"{}", b"null", b'{"dataStreams":[{}]}', b'{"value":1e999}']),
    st.builds(
        lambda value: json.encode({"variableName": "temperature", "value": value}),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=5,
        ),
    ),
)


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """A packet that is well-formed, with contents that nobody would send."""
    topic = "/".join(draw(st.lists(WORDS, min_size=1, max_size=5))) or "/"
    qos, packet_id = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    match draw(st.sampled_from(["publish", "reading", "subscribe", "connect"])):
        case "publish":
            retain = draw(st.booleans())
            return Publish(
                topic, draw(PAYLOADS), qos, retain, packet_id=packet_id * bool(qos)
            ).encode()
        case "reading":
            topic = f"devices/{ITSELF}/{draw(WORDS)}"
            return Publish(topic, draw(PAYLOADS), 1, packet_id=packet_id).encode()
        case "subscribe":
            return Subscribe(packet_id, ((topic, qos),)).encode()
        case _:
            will = Will(topic, draw(PAYLOADS), qos)
            return Connect(draw(st.text(max_size=30)), 4, draw(st.booleans()), 1, will).encode()


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.one_of(damaged(), odd(), st.binary(max_size=50)), max_size=10),
    st.booleans(),
)
def test_nothing_that_is_sent_brings_the_server_down(
    target: Target, parts: list[bytes], known: bool
) -> None:
    """[MQTT-4.8.0-1] [MQTT-4.8.0-2]"""
    target.survive(b"".join(parts), known=known)


def test_after_all_of_that_nothing_was_raised_and_nothing_is_kept(target: Target) -> None:
    """The last test of this file."""
    target.check()
