"""Sends made-up requests to the running server; as a script as many as asked for.

::

    python -m tests.fuzz.rest --count 10000 --database mysql

It stops at the first request that is answered with a fault of the server, or not at all, and shows
the smallest of its kind that it finds.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from aemos.storage.transaction import Transaction
from bench.ingest import new_database
from tests.fuzz.rest_requests import Request, requests_for
from tests.integration.server import Server
from tests.whole import PASSWORD, sow_whole

_TIMEOUT = 20.0  # seconds without a byte
_FAULT = re.compile(r" (error|critical) +\[|Traceback")

_ROOT, _FAR = "far@x.example", 1_000_000


class Target:
    """A server with a farm, and how its answers were."""

    def __init__(self, folder: Path, url: str) -> None:
        self.server = Server(folder, url, log={"level": "warn"})
        self.statuses: Counter[int] = Counter()
        self._token = ""

    def start(self) -> None:
        """Start the server and sign a System Admin in."""
        self.server.start().sql(_sow)
        body = {"email": _ROOT, "password": PASSWORD}
        status, answer = self.server.post("/api/v1/auth/login", body)
        assert status == 200, answer
        self._token = answer["data"]["token"]

    def document(self) -> dict[str, Any]:
        """@return: the server's own description."""
        document: dict[str, Any] = self.server.get("/api/v1/openapi.json")[1]
        return document

    def send(self, request: Request) -> None:
        """Send one request, and see that the answer is one."""
        head = self._answer(request.encode(self._token)).partition(b"\r\n")[0]
        assert re.fullmatch(rb"HTTP/1\.[01] [1-5]\d\d .+", head), head
        status = int(head.split()[1])
        self.statuses[status] += 1
        assert status < 500, head

    def _answer(self, data: bytes) -> bytes:
        """@return: what came until the server closed, of an answer without end its beginning."""
        received = b""
        with socket.create_connection(
            ("127.0.0.1", self.server.ports["http"]), timeout=_TIMEOUT
        ) as connection:
            try:
                connection.sendall(data)
                while b"text/event-stream" not in received and (part := connection.recv(65536)):
                    received += part
            except ConnectionError:  # closed before it had read everything
                pass
        return received

    def check(self) -> None:
        """Nothing was raised that nobody caught."""
        assert not _FAULT.search(self.server.log), self.server.log
        assert self.server.get("/api/v1/health/liveness")[0] == 200


def _sow(tx: Transaction) -> None:
    """Add a farm, and a System Admin out of reach: the ids of most made-up requests are small."""
    sow_whole(tx)
    known = tx.one(
        "SELECT password, role FROM User, OrganizationUser WHERE User.id = 1 AND userId = 1"
    )
    assert known is not None
    user = {"id": _FAR, "userName": "far", "email": _ROOT, "password": known["password"]}
    tx.insert("User", user)
    tx.insert("Organization", {"id": _FAR, "name": "far", "status": "active"})
    key = {"userId": _FAR, "organizationId": _FAR}
    tx.insert("OrganizationUser", {**key, "role": known["role"], "status": "active"})


def shower(target: Target, count: int, *, random: bool) -> None:
    """Send `count` requests.

    @param random: others each time, instead of the same ones.
    """

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=not random,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(requests_for(target.document()))
    def each(request: Request) -> None:
        target.send(request)

    each()
    target.check()


def main() -> None:
    """Take the options, and tell what was answered."""
    parser = argparse.ArgumentParser(description="made-up requests for the running server")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="sqlite")
    options = parser.parse_args()
    with new_database(options.database) as (url, folder, _):
        target, began = Target(folder, url), time.monotonic()
        try:
            target.start()
            shower(target, options.count, random=True)
        finally:
            target.server.close()
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(target.statuses.items()))
    print(f"{target.statuses.total()} requests in {time.monotonic() - began:.0f} s: {answers}")


if __name__ == "__main__":
    sys.exit(main())
