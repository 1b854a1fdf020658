"""Liveness and readiness over HTTP (spec/http-api.md section 4.12)."""

from __future__ import annotations

from aemos.errors import StorageUnavailable, Unavailable
from tests.accounts import Accounts


async def test_a_healthy_server_says_so_everywhere(accounts: Accounts) -> None:
    health = await accounts.call("GET", "/health")
    assert health.status == 200
    timestamp = health.body.pop("timestamp")
    assert len(timestamp) == 24
    assert timestamp.endswith("Z")
    services = {"database": {"status": "ok"}, "mqtt": {"status": "ok", "clients": 3}}
    assert health.body == {"status": "ok", "services": services}
    for path, status in (("ready", "ready"), ("live", "alive"), ("liveness", "alive")):
        reply = await accounts.call("GET", f"/health/{path}")
        assert (reply.status, reply.body["status"]) == (200, status)
    readiness = await accounts.call("GET", "/health/readiness")
    assert readiness.status == 200
    assert readiness.body["status"] == "ready"
    checks = {"database": "ready", "redis": "ready", "backpressure": "ready"}
    assert readiness.body["checks"] == checks
    assert (await accounts.call("HEAD", "/health/readiness")).status == 200


async def test_the_part_that_is_away_is_named(accounts: Accounts) -> None:
    def away() -> None:
        raise StorageUnavailable("the database is away")

    def closed() -> None:
        raise Unavailable("the port is closed")

    accounts.health.add("database", away)
    accounts.health.add("mqtt", closed)
    health = await accounts.call("GET", "/health")
    assert (health.status, health.body["status"]) == (500, "error")
    assert health.body["services"] == {
        "database": {"status": "error", "message": "the database is away"},
        "mqtt": {"status": "error", "clients": 3, "message": "the port is closed"},
    }
    readiness = await accounts.call("GET", "/health/readiness")
    assert (readiness.status, readiness.body["status"]) == (503, "not ready")
    assert readiness.body["checks"]["database"] == "not ready"
    assert readiness.body["checks"]["mqtt"] == "not ready"
    for path in ("ready", "live", "liveness"):
        assert (await accounts.call("GET", f"/health/{path}")).status == 200


async def test_a_part_beside_the_database_leaves_the_overview_at_200(accounts: Accounts) -> None:
    def closed() -> None:
        raise Unavailable("the port is closed")

    accounts.health.add("mqtt", closed)
    health = await accounts.call("GET", "/health")
    assert (health.status, health.body["status"]) == (200, "ok")
    assert health.body["services"]["mqtt"]["status"] == "error"


async def test_a_congested_server_is_not_ready(accounts: Accounts) -> None:
    accounts.congested = True
    readiness = await accounts.call("GET", "/health/readiness")
    assert readiness.status == 503
    checks = readiness.body["checks"]
    assert checks["backpressure"] == "circuit open - not accepting traffic"


async def test_there_is_a_first_request_to_try(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "./test")
    message = "Server is running correctly!"
    assert (reply.status, reply.body) == (200, {"status": "success", "message": message})
