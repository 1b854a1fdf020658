"""`/rule-chains/:id/runs` and `/replay`: to see what a chain does before it is trusted."""

from __future__ import annotations

from typing import Any

from aemos.http.routing import table
from tests.accounts import Accounts
from tests.contract.routes.test_rule_chains import HOT, ORG, new_chain, pump, sow_things

PAST = {"from": "2026-01-01T00:00:00Z", "to": "2126-01-01T00:00:00Z"}


async def test_a_shadow_chain_records_its_runs_and_a_live_one_acts(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    path = f"/rule-chains/{chain}"
    assert (await accounts.call("GET", path + ORG, "north-viewer")).data["mode"] == "live"
    reply = await accounts.call("PATCH", path + ORG, "north-admin", {"mode": "dark"})
    assert (reply.status, '"mode" must be one of' in reply.body["message"]) == (400, True)
    reply = await accounts.call("PATCH", path + ORG, "north-admin", {"mode": "shadow"})
    assert (reply.status, reply.data["mode"]) == (200, "shadow")
    reply = await accounts.call("POST", f"{path}/trigger{ORG}", "north-admin")
    (result,) = reply.data["results"]
    assert result["result"]["meta"]["mode"] == "shadow"
    assert result["result"]["nodeResults"]["actions"][0]["notificationSent"] is False
    assert await accounts.rows("SELECT id FROM DeviceStateInstance") == []
    await accounts.call("PATCH", path + ORG, "north-admin", {"mode": "off"})
    (result,) = (await accounts.call("POST", f"{path}/trigger{ORG}", "north-admin")).data["results"]
    assert (result["status"], "off" in result["message"]) == ("skipped", True)
    await accounts.call("PATCH", path + ORG, "north-admin", {"mode": "live"})
    await accounts.call("POST", f"{path}/trigger{ORG}", "north-admin")
    assert len(await accounts.rows("SELECT id FROM DeviceStateInstance")) == 1
    last, first = (await accounts.call("GET", f"{path}/runs{ORG}", "north-viewer")).data
    assert [run["mode"] for run in (last, first)] == ["live", "shadow"]
    assert [run["actions"][0]["applied"] for run in (last, first)] == [True, False]
    assert last["trigger"]["type"] == "manual"
    assert [(node["type"], node.get("passed")) for node in last["path"]] == [
        ("filter", True),
        ("action", None),
    ]


async def test_a_replay_is_a_job_that_can_be_looked_at_and_forgotten(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    path = f"/rule-chains/{chain}/replay"
    reply = await accounts.call("POST", path + ORG, "north-admin", PAST)
    assert (reply.status, reply.data["status"]) == (200, "done")
    assert (reply.data["evaluations"], reply.data["fired"]) == (2, 1)
    (firing,) = reply.data["firings"]
    assert (firing["trigger"]["value"], firing["actions"][0]["value"]) == ("31.5", "on")
    one = f"{path}/{reply.data['id']}{ORG}"
    assert (await accounts.call("GET", one, "north-viewer")).data == reply.data
    assert (await accounts.call("DELETE", one, "north-admin")).status == 204
    assert (await accounts.call("GET", one, "north-viewer")).status == 404
    assert await accounts.rows("SELECT id FROM DeviceStateInstance") == []


async def test_a_stretch_of_time_that_is_none_is_refused(accounts: Accounts) -> None:
    chain = await new_chain(accounts, ("filter", HOT))
    refused: list[tuple[Any, str]] = [
        ({"to": PAST["to"]}, '"from"'),
        ({**PAST, "from": "yesterday"}, '"from" must be a valid date'),
        ({**PAST, "to": ""}, '"to" must be a valid date'),
        ({"from": PAST["to"], "to": PAST["from"]}, '"to" must be later'),
    ]
    for body, says in refused:
        reply = await accounts.call("POST", f"/rule-chains/{chain}/replay{ORG}", "root", body)
        assert (reply.status, says in reply.body["message"]) == (400, True), (body, reply.body)


async def test_every_route_is_for_the_organization_of_the_chain(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    path = f"/rule-chains/{chain}/replay"
    job = (await accounts.call("POST", path + ORG, "north-admin", PAST)).data["id"]
    requests: list[tuple[str, str, str, object, str]] = [
        ("list_runs", "GET", f"/rule-chains/{chain}/runs", None, "rule.view"),
        ("replayed", "GET", f"{path}/{job}", None, "rule.view"),
        ("replay", "POST", path, PAST, "rule.update"),
        ("cancel", "DELETE", f"{path}/{job}", None, "rule.update"),
    ]
    names = {endpoint.route.name for endpoint in table(accounts.groups)}
    assert {f"RuleTrialRoutes.{request[0]}" for request in requests} == {
        name for name in names if name.startswith("RuleTrial")
    }
    for _, method, url, body, permission in requests:
        viewing = permission == "rule.view"
        for who, organization, status in (
            ("south-admin", 1, 403),
            ("south-admin", 2, 403),
            ("nobody", 1, 403),
            ("suspended", 1, 403),
            ("mixed", 1, 200 if viewing else 403),
            ("north-viewer", 1, 200 if viewing else 403),
            ("north-viewer", 2, 403),
        ):
            query = f"{url}?organizationId={organization}"
            reply = await accounts.call(method, query, who, body)
            assert reply.status == status, (who, method, query, reply.body)
        assert (await accounts.call(method, url, None, body)).status == 401
