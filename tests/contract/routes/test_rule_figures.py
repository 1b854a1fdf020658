"""What the server tells about its rules: metrics under the names of existing boards, and health."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aemos import json
from aemos.model import SERVER, Instant, Kind, Message, Principal, PrincipalKind, Verdict
from tests.farm import NORTH, PUMPS, UUIDS
from tests.rows import until
from tests.whole import Whole


async def new_chain(whole: Whole) -> int:
    """A chain that turns the pump on when it is hot."""
    chains = whole.services.rules.chains
    chain: int = (await chains.create(SERVER, {"name": "c", "organizationId": NORTH}))["id"]
    command = {"deviceUuid": PUMPS[NORTH], "stateName": "power", "value": "on"}
    action = {"type": "DEVICE_COMMAND", "command": command}
    hot = {"sourceType": "sensor", "UUID": UUIDS[NORTH], "key": "temperature", "operator": ">"}
    following = None
    for kind, config in (("action", action), ("filter", {**hot, "value": 40})):
        node = {"ruleChainId": chain, "name": kind, "type": kind, "config": config}
        row = await chains.create_node(SERVER, NORTH, {**node, "nextNodeId": following})
        following = row["id"]
    return chain


async def publish(whole: Whole, value: object) -> None:
    """Publish a temperature, and wait until the rules are done with it."""
    sender = Principal(PrincipalKind.SENSOR, UUIDS[NORTH], NORTH)
    payload = json.encode({"variableName": "temperature", "value": value})
    now = Instant.of(reactor.seconds())
    answered: Deferred[Verdict] = Deferred()
    message = Message(Kind.DATASTREAM, sender, sender.name, payload, now, "mqtt")
    queue = whole.services.rules.queue
    before = queue.completed
    whole.services.router.handle(message, answered.callback)
    assert (await answered).accepted
    await until(lambda: queue.completed > before)


async def test_boards_find_what_rules_do_under_the_names_they_know(whole: Whole) -> None:
    chain = await new_chain(whole)
    for value in (20, 41, 42):
        await publish(whole, value)
    token, _ = await whole.sign_in("Org Admin")
    path = f"/api/v1/rule-chains/{chain}/trigger?organizationId={NORTH}"
    assert (await whole.call("POST", path, token)).status == 200
    text = (await whole.call("GET", "/api/v1/metrics/prometheus")).body.decode()
    for line in (
        f'rule_execution_total{{ruleChainId="{chain}",status="success"}} 4.0',
        f'rule_filter_evaluations_total{{result="failed",ruleChainId="{chain}"}} 1.0',
        f'rule_filter_evaluations_total{{result="passed",ruleChainId="{chain}"}} 3.0',
        f'rule_action_executions_total{{actionType="DEVICE_COMMAND",ruleChainId="{chain}"}} 3.0',
        f'rule_execution_nodes_executed{{ruleChainId="{chain}"}} 2.0',
        'rule_execution_duration_seconds_count{status="success"} 4.0',
        'data_collection_total{status="success",type="sensor"} 1.0',
        'rule_timeout_total{error_code="RULE_CHAIN_TIMEOUT"} 0.0',
        f'device_state_changes_total{{organizationId="{NORTH}"}} 3.0',
        'rule_timeout_duration_seconds_count{error_code="WORKER_TIMEOUT"} 0.0',
        "# TYPE rule_engine_queue_completed counter",
        "rule_engine_queue_completed 4.0",
        "# TYPE rule_engine_queue_failed counter",
        "rule_engine_queue_total_pending 0.0",
        "rule_engine_backpressure_circuit_state 0.0",
        "rule_engine_backpressure_rejected_total 0.0",
        "rule_engine_backpressure_threshold_critical 50000.0",
    ):
        assert f"\n{line}\n" in text, line
    assert 'route="/api/v1/rule-chains/:id/trigger"' in text


async def test_health_shows_the_rule_queue(whole: Whole) -> None:
    reply = await whole.call("GET", "/api/v1/health")
    assert reply.body["services"]["ruleEngineQueue"] == {
        "status": "ok",
        "health": "healthy",
        "queueDepth": 0,
        "workers": 1,
        "circuitState": "CLOSED",
        "backpressureEnabled": True,
    }
