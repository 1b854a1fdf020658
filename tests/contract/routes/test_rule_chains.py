"""`/rule-chains` (spec/http-api.md section 4.11, spec/rule-engine.md)."""

from __future__ import annotations

import json
from typing import Any

from aemos.http.routing import table
from aemos.services.events import DeviceStateChanged
from aemos.storage.transaction import Transaction
from tests.accounts import NORTH, SOUTH, Accounts

SENSOR = "11111111-1111-4111-8111-111111111111"
PUMPS = {
    NORTH: "aaaaaaaa-1111-4111-8111-111111111111",
    SOUTH: "aaaaaaaa-2222-4222-8222-222222222222",
}
HOT = {"sourceType": "sensor", "UUID": SENSOR, "key": "t", "operator": ">", "value": 30}
ORG = "?organizationId=1"


def pump(value: object, organization: int = NORTH, state: str = "power") -> dict[str, Any]:
    command = {"deviceUuid": PUMPS[organization], "stateName": state, "value": value}
    return {"type": "DEVICE_COMMAND", "command": command}


async def new_chain(accounts: Accounts, *nodes: tuple[str, Any], who: str = "north-admin") -> int:
    """A chain of these nodes (type and config), each pointing to the one after it."""
    body = {"name": "Dry", "description": "d", "organizationId": NORTH}
    chain: int = (await accounts.call("POST", "/rule-chains" + ORG, who, body)).data["id"]
    following = None
    for number, (kind, config) in reversed(list(enumerate(nodes))):
        reply = await new_node(
            accounts, chain, name=f"n{number}", type=kind, config=config, nextNodeId=following
        )
        following = reply.data["id"]
    return chain


async def new_node(accounts: Accounts, chain: int, **fields: Any) -> Any:
    body = {"ruleChainId": chain, "name": "n", "type": "filter", **fields}
    return await accounts.call("POST", "/rule-chains/nodes" + ORG, "north-admin", body)


async def sow_things(accounts: Accounts, temperature: str = "31.5") -> None:
    """A sensor in NORTH with a reading, and a pump with an empty state in each organization."""

    def sow(tx: Transaction) -> None:
        for organization in (NORTH, SOUTH):
            tx.insert("Area", {"id": organization, "name": "a", "organizationId": organization})
            device = {"id": organization, "uuid": PUMPS[organization], "deviceType": "actuator"}
            tx.insert("Device", device)
            tx.insert("AreaDevice", {"areaId": organization, "deviceId": organization})
            state = {"id": organization, "deviceId": organization, "stateName": "power"}
            tx.insert("DeviceState", {**state, "allowedValues": ["on", "off"]})
        tx.insert("Sensor", {"id": 1, "uuid": SENSOR})
        tx.insert("AreaSensor", {"areaId": NORTH, "sensorId": 1})
        tx.insert(
            "TelemetryData", {"id": 1, "sensorId": 1, "variableName": "t", "datatype": "float"}
        )
        for value, at in ((temperature, tx.now), ("1", tx.now - 1000)):
            tx.insert("DataStream", {"value": value, "telemetryDataId": 1, "recievedAt": at})

    await accounts.database.transact(sow)


async def test_a_chain_and_its_nodes_as_the_dashboard_makes_them(accounts: Accounts) -> None:
    body = {"name": "Dry", "description": "d", "organizationId": NORTH}
    reply = await accounts.call("POST", "/rule-chains" + ORG, "north-admin", body)
    assert reply.status == 201
    chain = reply.data
    assert isinstance(chain["id"], int)
    assert (chain["executionType"], chain["scheduleEnabled"], chain["timezone"]) == (
        "hybrid",
        False,
        "UTC",
    )
    assert "nodes" not in chain
    reply = await new_node(accounts, chain["id"], name="hot", config=json.dumps(HOT))
    assert reply.status == 201
    hot = reply.data
    assert (hot["config"], hot["nextNodeId"]) == (HOT, None)
    act = (await new_node(accounts, chain["id"], name="act", type="action", config=pump("on"))).data
    path = f"/rule-chains/nodes/{hot['id']}{ORG}"
    change = {"name": "hot", "config": json.dumps(HOT), "nextNodeId": act["id"]}
    reply = await accounts.call("PATCH", path, "north-admin", change)
    assert (reply.status, reply.data["nextNodeId"]) == (200, act["id"])
    assert (await accounts.call("PATCH", path, "north-admin", {})).data == reply.data
    listed = await accounts.call("GET", "/rule-chains" + ORG, "north-viewer")
    (seen,) = listed.data
    assert [node["name"] for node in seen["nodes"]] == ["hot", "act"]
    shown = await accounts.call("GET", f"/rule-chains/{chain['id']}{ORG}", "north-viewer")
    assert shown.data == seen
    nodes = await accounts.call("GET", f"/rule-chains/{chain['id']}/nodes{ORG}", "north-viewer")
    assert [(n["name"], n["nextNode"] and n["nextNode"]["name"]) for n in nodes.data] == [
        ("act", None),
        ("hot", "act"),
    ]
    one = await accounts.call("GET", path, "north-viewer")
    assert one.data["nextNode"]["config"] == pump("on")


async def test_a_chain_changes_in_what_is_sent_and_never_its_owner_or_counters(
    accounts: Accounts,
) -> None:
    chain = await new_chain(accounts)
    body = {
        "id": 77, "organizationId": NORTH, "name": "Wet", "cronExpression": "*/5 * * * *",
        "timezone": "Europe/Berlin", "priority": 3, "executionCount": 9, "lastErrorAt": "2026",
    }  # fmt: skip
    reply = await accounts.call("PATCH", f"/rule-chains/{chain}", "north-admin", body)
    assert (reply.status, reply.data["name"], reply.data["description"]) == (200, "Wet", "d")
    assert (reply.data["id"], reply.data["executionCount"]) == (chain, 0)
    body = {"organizationId": SOUTH}
    assert (await accounts.call("PATCH", f"/rule-chains/{chain}", "root", body)).status == 200
    (row,) = await accounts.rows("SELECT organizationId, lastErrorAt FROM RuleChain")
    assert (row["organizationId"], row["lastErrorAt"]) == (NORTH, None)


async def test_deleting_takes_the_nodes_of_a_chain_and_the_pointers_to_a_node(
    accounts: Accounts,
) -> None:
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    shown = await accounts.call("GET", f"/rule-chains/{chain}{ORG}", "north-admin")
    target = shown.data["nodes"][1]["id"]
    reply = await accounts.call("DELETE", f"/rule-chains/nodes/{target}{ORG}", "north-admin")
    assert (reply.status, reply.body) == (204, b"")
    (left,) = await accounts.rows("SELECT nextNodeId FROM RuleChainNode")
    assert left["nextNodeId"] is None
    path = f"/rule-chains/{chain}{ORG}"
    assert (await accounts.call("DELETE", path, "north-admin")).status == 204
    assert await accounts.rows("SELECT id FROM RuleChainNode") == []
    assert (await accounts.call("DELETE", path, "north-admin")).status == 404


async def test_every_route_is_for_the_organization_of_the_chain(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    node = (await accounts.rows("SELECT id FROM RuleChainNode ORDER BY id LIMIT 1"))[0]["id"]
    new = {"ruleChainId": chain, "name": "x", "type": "filter"}
    requests: list[tuple[str, str, str, object, str]] = [
        ("list_all", "GET", "?", None, "rule.view"),
        ("create", "POST", "?", {"name": "x"}, "rule.create"),
        ("get", "GET", f"/{chain}?", None, "rule.view"),
        ("change", "PATCH", f"/{chain}?", {"name": "x"}, "rule.update"),
        ("list_nodes", "GET", f"/{chain}/nodes?", None, "rule.view"),
        ("create_node", "POST", "/nodes?", new, "rule.update"),
        ("get_node", "GET", f"/nodes/{node}?", None, "rule.view"),
        ("change_node", "PATCH", f"/nodes/{node}?", {"name": "y"}, "rule.update"),
        ("execute", "POST", f"/{chain}/execute?", {}, "rule.update"),
        ("trigger", "POST", f"/{chain}/trigger?", None, "rule.update"),
        ("delete_node", "DELETE", f"/nodes/{node}?", None, "rule.delete"),
        ("delete", "DELETE", f"/{chain}?", None, "rule.delete"),
    ]
    names = {endpoint.route.name for endpoint in table(accounts.groups)}
    assert {f"RuleChainRoutes.{request[0]}" for request in requests} == {
        name for name in names if name.startswith("RuleChain")
    }
    tables = ("RuleChain", "RuleChainNode", "DeviceStateInstance")
    before = [await accounts.rows(f"SELECT * FROM {name}") for name in tables]
    for _, method, path, body, permission in requests:
        viewing = permission == "rule.view"
        for who, organization, statuses in (
            ("south-admin", 1, {403}),
            ("south-admin", 2, {200, 201, 403}),  # their own list is empty, a new chain is theirs
            ("nobody", 1, {403}),
            ("suspended", 1, {403}),
            ("mixed", 1, {200} if viewing else {403}),
            ("north-viewer", 1, {200} if viewing else {403}),
            ("north-viewer", 2, {403}),
        ):
            if method == "POST" and path == "?" and (who, organization) == ("south-admin", 2):
                continue
            url = f"/rule-chains{path}organizationId={organization}"
            reply = await accounts.call(method, url, who, body)
            assert reply.status in statuses, (who, method, url, reply.body)
            if reply.status == 200 and organization == 2:
                assert reply.data == []
        assert (await accounts.call(method, f"/rule-chains{path}", None, body)).status == 401
        if path not in ("?",):
            assert (await accounts.call(method, f"/rule-chains{path}", "root", body)).status == 400
    assert [await accounts.rows(f"SELECT * FROM {name}") for name in tables] == before


async def test_the_organization_of_what_is_deleted_may_be_stated_in_the_body(
    accounts: Accounts,
) -> None:
    chain = await new_chain(accounts, ("filter", HOT))
    (node,) = [row["id"] for row in await accounts.rows("SELECT id FROM RuleChainNode")]
    for path in (f"/rule-chains/nodes/{node}", f"/rule-chains/{chain}"):
        other = await accounts.call("DELETE", path + ORG, "north-admin", {"organizationId": 2})
        assert other.status == 403  # the body counts, as in a change
        reply = await accounts.call("DELETE", path, "north-admin", {"organizationId": 1, "x": 1})
        assert reply.status == 204
    assert await accounts.rows("SELECT id FROM RuleChain") == []


async def test_guards_and_handlers_answer_errors_in_their_own_shapes(accounts: Accounts) -> None:
    chain = await new_chain(accounts)
    path = f"/rule-chains/{chain}"
    reply = await accounts.call("GET", path + "?organizationId=1", "south-admin")
    assert (reply.status, reply.body["statusCode"], reply.body["status"]) == (403, 403, "fail")
    assert (await accounts.call("GET", "/rule-chains", "nobody")).status == 403
    reply = await accounts.call("GET", "/rule-chains/99?organizationId=1", "root")
    assert reply.body == {"status": "error", "message": "Rule chain not found"}
    for method, route, who, body, status, says in (
        ("GET", path, "root", None, 400, "Organization ID is required"),
        ("POST", "/rule-chains", "root", {"name": "x"}, 400, "Organization ID is required"),
        ("POST", "/rule-chains/nodes" + ORG, "root", {"name": "x", "type": "filter"}, 400,
         "Resource ID (id) is required"),
        ("GET", "/rule-chains/99" + ORG, "north-admin", None, 404, "Resource not found"),
    ):  # fmt: skip
        reply = await accounts.call(method, route, who, body)
        shape = {"status": "fail", "statusCode": status, "message": says}
        assert (reply.status, reply.body) == (status, shape), route


BAD_UUID = 'Invalid UUID format: "x". Expected UUID v4 format'


async def test_what_does_not_fit_is_refused(accounts: Accounts) -> None:
    chain = await new_chain(accounts, ("filter", HOT))
    other = await new_chain(accounts, ("filter", HOT))
    node, foreign = [
        row["id"] for row in await accounts.rows("SELECT id FROM RuleChainNode ORDER BY id")
    ]
    deep: Any = HOT
    for _ in range(60):
        deep = {"type": "AND", "expressions": [deep]}
    nodes, one = "/rule-chains/nodes", f"/rule-chains/nodes/{node}"
    new = {"ruleChainId": chain, "name": "x", "type": "filter"}
    refused: list[tuple[str, str, Any, int, str]] = [
        ("POST", "/rule-chains", {}, 400, '"name" is required'),
        ("POST", "/rule-chains", {"name": "x" * 101}, 400, '"name" length'),
        ("POST", "/rule-chains", {"name": "x", "executionType": "x"}, 400, '"executionType"'),
        ("POST", "/rule-chains", {"name": "x", "cronExpression": "often"}, 400, "cronExpression"),
        ("POST", "/rule-chains", {"name": "x", "timezone": "Mars/Base"}, 400, "timezone"),
        ("POST", "/rule-chains", {"name": "x", "timezone": "../etc/passwd"}, 400, "timezone"),
        ("GET", "/rule-chains/99", None, 404, "Rule chain not found"),
        ("PATCH", "/rule-chains/99", {"name": "x"}, 404, "Rule chain not found"),
        ("GET", "/rule-chains/nodes/99", None, 404, "Node not found"),
        ("PATCH", "/rule-chains/nodes/99", {"name": "x"}, 404, "Node not found"),
        ("POST", nodes, {"name": "x", "type": "filter"}, 400, "Resource ID (id) is required"),
        ("POST", nodes, {**new, "type": "wish"}, 400, '"type" must be one of'),
        ("POST", nodes, {**new, "name": "n0"}, 400, "A node with this name already exists"),
        ("POST", nodes, {**new, "config": "{"}, 400, "Invalid JSON in config field"),
        ("POST", nodes, {**new, "config": "5"}, 400, "Invalid JSON in config field"),
        ("POST", nodes, {**new, "config": deep}, 400, "nested deeper"),
        ("POST", nodes, {**new, "nextNodeId": foreign}, 400, "same rule chain"),
        ("PATCH", one, {"nextNodeId": foreign}, 400, "same rule chain"),
        ("PATCH", one, {"nextNodeId": 99}, 400, "same rule chain"),
        ("PATCH", one, {"config": "{"}, 400, "Invalid JSON in config field"),
    ]
    for method, path, body, status, says in refused:
        reply = await accounts.call(method, path + ORG, "root", body)
        assert (reply.status, says in reply.body["message"]) == (status, True), (path, reply.body)
    reply = await accounts.call("POST", "/rule-chains", "root", {"name": "x"})
    assert (reply.status, reply.body["message"]) == (400, "Organization ID is required")
    assert len(await accounts.rows("SELECT id FROM RuleChain")) == 2
    assert other != chain


async def test_uuids_in_a_config_are_checked_and_the_wrong_ones_named(accounts: Accounts) -> None:
    chain = await new_chain(accounts)
    group = {"type": "AND", "expressions": [HOT, {"type": "OR", "expressions": [{"uuid": "x"}]}]}
    for config, kind, path in (
        (group, "filter", "config.expressions[1].expressions[0].uuid"),
        ({**HOT, "UUID": "x"}, "filter", "config.UUID"),
        ({"command": {"deviceUuid": "x"}}, "action", "config.command.deviceUuid"),
    ):
        reply = await new_node(accounts, chain, type=kind, config=json.dumps(config))
        assert (reply.status, reply.body["status"]) == (400, "error")
        assert reply.body["message"].endswith("one or more UUIDs are invalid")
        (error,) = reply.body["validationErrors"]
        assert (error["path"], error["value"]) == (path, "x")
        assert error["error"].startswith(BAD_UUID)
    version_1 = {**HOT, "UUID": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}
    assert (await new_node(accounts, chain, config=version_1)).status == 201


async def test_a_dry_run_tells_what_would_happen_and_changes_nothing(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(accounts, ("filter", HOT), ("action", pump("on")))
    path = f"/rule-chains/{chain}/execute{ORG}"
    data = {"sensorData": [{"UUID": SENSOR, "t": "31"}, {"t": 1}], "deviceData": []}
    reply = await accounts.call("POST", path, "north-admin", data)
    assert reply.status == 200
    assert (reply.data["ruleChainId"], reply.data["status"]) == (str(chain), "success")
    assert reply.data["summary"] == {
        "totalNodes": 2,
        "filtersPassed": True,
        "transformationsApplied": 0,
        "actionsExecuted": 1,
    }
    assert reply.data["executionDetails"]["finalData"]["sensorData"] == {SENSOR: {"t": "31"}}
    reply = await accounts.call("POST", path, "north-admin")
    assert reply.data["summary"]["filtersPassed"] is False
    assert await accounts.rows("SELECT id FROM DeviceStateInstance") == []
    assert accounts.happened == []
    empty = await new_chain(accounts)
    reply = await accounts.call("POST", f"/rule-chains/{empty}/execute{ORG}", "north-admin", data)
    assert reply.data == {"result": "No nodes to execute"}


async def test_a_triggered_chain_looks_at_the_newest_data_and_acts(accounts: Accounts) -> None:
    await sow_things(accounts)
    still_off = {"sourceType": "device", "UUID": PUMPS[NORTH], "key": "power", "operator": "!=",
                 "value": "on"}  # fmt: skip
    group = {"type": "AND", "expressions": [HOT, {**HOT, "operator": "isNumber"}]}
    chain = await new_chain(accounts, ("filter", group), ("action", pump("on")))
    reply = await accounts.call("POST", f"/rule-chains/{chain}/trigger{ORG}", "north-admin")
    assert reply.data["totalRuleChains"] == 1
    (result,) = reply.data["results"]
    assert (result["ruleChainId"], result["name"], result["status"]) == (chain, "Dry", "success")
    assert result["result"]["nodeResults"]["actions"][0]["notificationSent"] is True
    (event,) = accounts.happened
    assert isinstance(event, DeviceStateChanged)
    assert (event.old, event.new, event.initiated_by) == (None, "on", "rule_chain")
    assert event.rule is not None
    assert event.rule["ruleChainName"] == "Dry"
    (instance,) = await accounts.rows("SELECT * FROM DeviceStateInstance")
    assert (instance["initiatedBy"], instance["initiatorId"]) == ("rule_chain", None)
    (row,) = await accounts.rows("SELECT * FROM RuleChain WHERE id = %s", chain)
    assert (row["executionCount"], row["failureCount"]) == (1, 0)
    assert row["lastExecutedAt"] is not None
    # The state is on now, so a chain that asks for anything else does nothing.
    other = await new_chain(accounts, ("filter", still_off), ("action", pump("off")))
    reply = await accounts.call("POST", f"/rule-chains/{other}/trigger{ORG}", "north-admin")
    assert reply.data["results"][0]["result"]["summary"]["filtersPassed"] is False
    assert len(await accounts.rows("SELECT id FROM DeviceStateInstance")) == 1


async def test_an_action_that_fails_is_told_and_stops_no_other(accounts: Accounts) -> None:
    await sow_things(accounts)
    chain = await new_chain(
        accounts,
        ("action", pump("half")),
        ("action", pump("on", state="speed")),
        ("action", pump("on", SOUTH)),
        ("action", pump({"a": 1})),
        ("action", pump("off")),
    )
    reply = await accounts.call("POST", f"/rule-chains/{chain}/trigger{ORG}", "north-admin")
    (result,) = reply.data["results"]
    assert result["status"] == "error"
    actions = result["result"]["nodeResults"]["actions"]
    assert [action["status"] for action in actions] == ["error"] * 4 + ["success"]
    assert "not allowed" in actions[0]["error"]
    # A device of another organization is out of reach, and not even known.
    assert actions[2]["error"] == "Device not found"
    assert [event.new for event in accounts.happened] == ["off"]  # type: ignore[attr-defined]
    (row,) = await accounts.rows("SELECT * FROM RuleChain")
    assert (row["executionCount"], row["failureCount"]) == (1, 1)


async def test_a_chain_sees_nothing_of_another_organization(accounts: Accounts) -> None:
    await sow_things(accounts)
    await accounts.run("UPDATE AreaSensor SET areaId = %s", SOUTH)
    chain = await new_chain(accounts, ("filter", HOT))
    reply = await accounts.call("POST", f"/rule-chains/{chain}/trigger{ORG}", "north-admin")
    details = reply.data["results"][0]["result"]["executionDetails"]
    assert details["finalData"] == {"sensorData": {}, "deviceData": {}}
    empty = await new_chain(accounts)
    reply = await accounts.call("POST", f"/rule-chains/{empty}/trigger{ORG}", "north-admin")
    assert reply.data["results"][0]["status"] == "skipped"
