"""The figures of the rule queue, and the Insomnia export (spec/http-api.md 4.12 and 4.14)."""

from __future__ import annotations

import pytest

from aemos.http.routing import table
from tests.accounts import Accounts


async def test_the_rule_queue_is_shown_as_boards_read_it(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/metrics/queue")
    assert reply.status == 200
    figures = reply.body
    assert figures["queue"]["name"] == "rule-engine-events"
    assert set(figures["queue"]["counts"]) == {
        "waiting", "active", "completed", "failed", "delayed", "paused",
    }  # fmt: skip
    assert (figures["queue"]["health"], figures["workers"]["count"]) == ("healthy", 1)
    assert figures["backpressure"]["circuitState"] == "CLOSED"
    assert figures["backpressure"]["lastStateChange"].endswith("Z")
    summary = (await accounts.call("GET", "/metrics/queue/summary")).body
    assert summary == {
        "health": "healthy", "queueDepth": 0, "workers": 1, "circuitState": "CLOSED",
        "rejectedCount": 0,
    }  # fmt: skip


async def test_triggered_chains_are_counted(accounts: Accounts) -> None:
    body = {"name": "x", "organizationId": 1}
    chain = (await accounts.call("POST", "/rule-chains", "root", body)).data["id"]
    for number, status in ((chain, 200), (99, 404)):
        path = f"/rule-chains/{number}/trigger?organizationId=1"
        assert (await accounts.call("POST", path, "root")).status == status
    counts = (await accounts.call("GET", "/metrics/queue")).body["queue"]["counts"]
    assert (counts["active"], counts["completed"], counts["failed"]) == (0, 1, 1)


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("north-admin", 403), ("root", 200)])
async def test_only_a_system_admin_resets_the_backpressure(
    accounts: Accounts, who: str | None, status: int
) -> None:
    reply = await accounts.call("POST", "/metrics/backpressure/reset", who)
    assert reply.status == status
    if status == 200:
        assert reply.body["success"] is True
        assert reply.body["status"]["metrics"]["rejectedCount"] == 0
        assert isinstance(reply.body["status"]["metrics"]["lastStateChange"], int)


async def test_the_export_has_a_request_for_every_route(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/insomnia")
    assert reply.status == 200
    assert reply.headers["content-disposition"] == (
        'attachment; filename="aemos-api-insomnia.json"'
    )
    document = reply.body
    assert (document["_type"], document["__export_format"]) == ("export", 4)
    requests = [each for each in document["resources"] if each["_type"] == "request"]
    assert len(requests) == len(table(accounts.groups))
    by_url = {(each["method"], each["url"]): each for each in requests}
    rename = by_url["PUT", "{{ _.base_url }}/api/v1/roles/{{ _.role_id }}"]
    assert rename["authentication"] == {"type": "bearer", "token": "{{ _.token }}"}
    assert rename["body"] == {"mimeType": "application/json", "text": '{"name":""}'}
    folders = {each["_id"] for each in document["resources"] if each["_type"] == "request_group"}
    assert {each["parentId"] for each in requests} == folders


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
async def test_the_export_stays_on_this_machine(accounts: Accounts, name: str) -> None:
    reply = await accounts.call("GET", "/insomnia", **{name: "127.0.0.1"})
    assert (reply.status, reply.body) == (
        403,
        {"status": "error", "message": "This endpoint is restricted to localhost only"},
    )
