"""Feeds whatever a coverage-guided fuzzer invents to the MQTT door; run by hand, not by pytest.

In a virtual environment that has atheris beside the libraries of the tests::

    python -m tests.fuzz.atheris_packets -max_total_time=600 CORPUS_FOLDER

An empty corpus folder is filled with the packets of tests/wire/table.py first. It stops, and keeps
the input as a file, when a handler raises, another client is disturbed, or something stays behind.
"""

from __future__ import annotations

import hashlib
import os
import sys

import atheris

with atheris.instrument_imports(include=["aemos.mqtt", "aemos.topics", "aemos.redaction"]):
    from aemos.mqtt.counters import CloseReason
    from aemos.mqtt.packets import PingReq, PingResp
    from tests.mqtt_stage import Client, Stage

from tests.wire.table import ALSO_DECODED, BAD, CONN, GOOD

_STAGE_LIFE = (
    2000  # inputs until the server of the next ones is a new one: failures stay explicable
)


class Fuzzing:
    """One server, one client that must not notice anything, and a new connection per input."""

    def __init__(self) -> None:
        self._inputs = 0
        self._renew()

    def _renew(self) -> None:
        # Small limits are reached by small inputs.
        self._stage = Stage(
            max_packet=4096, max_inflight=2, max_queued=4, max_retained=8, max_sessions=8
        )
        self._bystander = self._stage.client("bystander")
        self._bystander.subscribe(("bystander/only", 1))
        self._timers = len(self._stage.clock.getDelayedCalls())

    def one_input(self, data: bytes) -> None:
        """Give the input to a connection in pieces: its first byte says how, and to what state."""
        self._inputs += 1
        if self._inputs % _STAGE_LIFE == 0:
            self._renew()
        how, stream = (data[0], data[1:]) if data else (0, b"")
        stage = self._stage
        client = stage.open()
        if how & 1:
            client.feed(CONN)
        step = (how >> 1) % 32 or len(stream) or 1
        for at in range(0, len(stream), step):
            if not client.closed:
                client.feed(stream[at : at + step])
        if how & 0x80:
            stage.clock.advance(200)  # every time-out that there is passes
        self._check(client)

    def _check(self, client: Client) -> None:
        stage = self._stage
        if not client.closed:
            client.drop()
        assert stage.broker.counters.closed[CloseReason.FAULT] == 0
        self._bystander.send(PingReq())
        assert PingResp() in self._bystander.packets()
        assert len(stage.broker.connections) == 1
        assert len(stage.clock.getDelayedCalls()) <= self._timers + 1


def seed(folder: str) -> None:
    """Fill an empty corpus folder: each packet alone, and behind a CONNECT."""
    os.makedirs(folder, exist_ok=True)
    if os.listdir(folder):
        return
    for case in [*GOOD, *ALSO_DECODED, *BAD]:
        for how in (b"\0", b"\1", b"\7"):
            content = how + case.raw[:4096]
            name = hashlib.blake2s(content, digest_size=8).hexdigest()
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)


def main() -> None:
    """Run until the time is over or something is found."""
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    for folder in folders[:1]:
        seed(folder)
    atheris.Setup(sys.argv, Fuzzing().one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
