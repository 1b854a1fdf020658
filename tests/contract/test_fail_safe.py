"""Actuators with a time limit: they are stopped, whatever happens in between."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

from aemos import json
from aemos.errors import BadRequest, StorageUnavailable, TooManyRequests
from aemos.model import Instant
from aemos.mqtt.packets import Publish
from aemos.services.command_form import Limit
from aemos.services.events import (
    ActuatorStopped,
    ActuatorStuck,
    DeviceStateChanged,
    MessageRefused,
)
from aemos.services.order_intake import NewOrder
from aemos.storage.transaction import Transaction
from tests.farm import NORTH
from tests.mqtt_stage import Client
from tests.yard import ADMIN, PUMP, TOPIC, Yard, yard_on

ACK, STATE = f"{TOPIC}/ack", f"devices/{PUMP}/state"
TWO_SECONDS = Limit(2.0)


@pytest_twisted.async_yield_fixture
async def yard(database_url: str) -> AsyncIterator[Yard]:
    async with yard_on(database_url) as yard:
        yield yard


async def switch(yard: Yard, value: str, limit: Limit | None = None) -> None:
    """Change the state `power` of the pump as a user over REST."""
    await yard.result(yard.changes.set_by_name(ADMIN, PUMP, "power", value, "user", limit))


async def order(yard: Yard, command: Any, **how: Any) -> dict[str, Any]:
    return await yard.result(yard.commands.give(ADMIN, PUMP, NewOrder(command, **how)))


def listening(yard: Yard) -> Client:
    """@return: the pump, subscribed to its commands."""
    pump = yard.pump()
    yard.listen(pump, TOPIC, 1)
    pump.take()
    return pump


async def stop_for(yard: Yard, pump: Client) -> dict[str, Any]:
    """@return: the stop that the pump gets, acknowledged in MQTT."""
    message = await yard.received_by(pump)
    yard.stage.finish(pump, message)
    body: dict[str, Any] = json.decode(message.payload)
    return body


async def power(yard: Yard) -> str:
    """@return: what the server takes the state of the pump for."""
    await yard.idle()

    def read(tx: Transaction) -> str:
        return str(
            tx.value(
                "SELECT value FROM DeviceStateInstance WHERE deviceStateId = %s"
                " AND toTimestamp IS NULL",
                (NORTH,),
            )
        )

    return await yard.database.read(read)


async def test_a_state_with_a_limit_is_set_back_and_the_device_is_told_to_stop(yard: Yard) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(1.999)
    assert await yard.quiet(pump)
    yard.wait(0.001)
    stop = await stop_for(yard, pump)
    assert stop["command"] == {"stateName": "power", "value": "off"}
    assert stop["metadata"] == {"initiatedBy": "system"}
    assert await power(yard) == "off"
    yard.say(pump, ACK, {"commandId": stop["commandId"]})
    await yard.became("confirmed", stop["commandId"])
    assert len(yard.fail_safe) == 0
    yard.wait(3600)
    assert await yard.quiet(pump)
    on, off = yard.of(DeviceStateChanged)
    assert (on.max_on, off.new, off.initiated_by, off.max_on) == (2.0, "off", "system", None)


async def test_the_deadline_travels_with_the_change_of_the_state(yard: Yard) -> None:
    pump = yard.pump()
    pump.subscribe((STATE, 1))
    await switch(yard, "on", TWO_SECONDS)
    body = json.decode((await yard.received_by(pump)).payload)
    assert body["maxOn"] == 2
    assert Instant.parse(body["stopAt"]) == Instant.parse(body["timestamp"]) + 2000
    await switch(yard, "off")
    body = json.decode((await yard.received_by(pump)).payload)
    assert not {"maxOn", "stopAt"} & body.keys()


async def test_the_deadline_travels_with_a_command_which_is_of_no_use_after_it(yard: Yard) -> None:
    command = await order(yard, "on", max_on=2, ttl=60)
    pump = listening(yard)
    assert command["stopAt"] == command["expiresAt"] == command["createdAt"] + 2000
    yard.stage.turn()
    pump = yard.pump("second")
    yard.listen(pump, TOPIC, 0)
    body = json.decode((await yard.received_by(pump)).payload)
    assert (body["maxOn"], body["stopAt"]) == (2, command["stopAt"].iso())


@pytest.mark.parametrize(
    ("command", "how", "stop"),
    [
        ("on", {"parameters": {"valve": 1}}, {"command": "off", "parameters": {"valve": 1}}),
        ("open", {}, {"command": "close"}),
        ("start", {"off": "halt"}, {"command": "halt"}),
        ("irrigate", {"off": {"command": "valve", "to": 0}}, {"command": "valve", "to": 0}),
        (
            {"stateName": "power", "value": "on"},
            {},
            {"stateName": "power", "value": "off"},
        ),
        (
            "set",
            {"parameters": {"stateName": "speed", "value": 3}, "off": 0},
            {"stateName": "speed", "value": "0"},
        ),
    ],
)
async def test_what_stops_a_command(
    yard: Yard, command: Any, how: dict[str, Any], stop: dict[str, Any]
) -> None:
    await order(yard, command, max_on=2, **how)
    yard.wait(2)
    await yard.see(lambda: len(yard.commands) == 1)
    pump = listening_late(yard)
    assert (await stop_for(yard, pump))["command"] == stop


def listening_late(yard: Yard) -> Client:
    """@return: the pump, whose pending commands are still to be read."""
    pump = yard.pump()
    yard.listen(pump, TOPIC, 1)
    return pump


async def test_a_pump_that_never_confirms_is_told_again_and_again_and_then_counts_as_stuck(
    yard: Yard,
) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(2)
    first = await stop_for(yard, pump)
    for pause in (5, 10, 20, 40):  # five attempts, ever later
        yard.wait(pause - 0.001)
        assert await yard.quiet(pump)
        yard.wait(0.001)
        assert await stop_for(yard, pump) == first
    assert yard.of(ActuatorStuck) == []
    yard.wait(60)
    await stop_for(yard, pump)
    (stuck,) = yard.of(ActuatorStuck)
    assert (stuck.device_uuid, stuck.organization_id, stuck.state) == (PUMP, NORTH, "power")
    assert (stuck.command_id, stuck.attempts) == (first["commandId"], 6)
    yard.wait(60)
    await stop_for(yard, pump)
    assert len(yard.of(ActuatorStuck)) == yard.fail_safe.stuck == 1
    yard.say(pump, ACK, {"commandId": first["commandId"]})
    await yard.see(lambda: yard.of(ActuatorStopped))
    assert len(yard.fail_safe) == 0


async def test_an_absent_pump_is_told_to_stop_as_soon_as_it_is_back(yard: Yard) -> None:
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(2)
    await yard.became("queued")
    yard.wait(1)
    pump = listening_late(yard)
    assert (await stop_for(yard, pump))["command"]["value"] == "off"


async def test_a_stop_that_is_under_way_is_not_sent_twice(yard: Yard) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(2)
    message = await yard.received_by(pump)
    yard.wait(5)
    assert await yard.quiet(pump)
    yard.stage.finish(pump, message)
    await yard.became("received")
    yard.wait(10)
    await yard.received_by(pump)


async def test_a_reported_state_confirms_the_stop(yard: Yard) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    yard.say(pump, STATE, {"stateName": "power", "value": "off"})  # from before it was told
    await yard.see(lambda: len(yard.of(DeviceStateChanged)) == 2)
    assert len(yard.fail_safe) == 1
    yard.wait(2)
    stop = await stop_for(yard, pump)
    pump.take()
    yard.say(pump, STATE, {"stateName": "power", "value": "off"})
    await yard.became("confirmed", stop["commandId"])
    assert len(yard.fail_safe) == 0


async def test_who_listens_to_states_only_confirms_by_reporting(yard: Yard) -> None:
    pump = yard.pump()
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(2)
    await yard.became("queued")
    yard.say(pump, STATE, {"stateName": "power", "value": "off"})
    await yard.became("confirmed")
    assert len(yard.fail_safe) == 0


async def test_a_new_limit_takes_the_place_of_the_old_one(yard: Yard) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(1)
    await switch(yard, "on", Limit(5.0))
    yard.wait(4.999)
    assert await yard.quiet(pump)
    yard.wait(0.001)
    await stop_for(yard, pump)


async def test_a_new_value_without_a_limit_ends_the_timer(yard: Yard) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    await switch(yard, "on")
    yard.wait(10)
    assert await yard.quiet(pump)
    assert (len(yard.fail_safe), await power(yard)) == (0, "on")


async def test_switching_it_off_by_hand_leaves_the_timer_until_the_device_confirms(
    yard: Yard,
) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    await switch(yard, "off")
    yard.wait(2)
    stop = await stop_for(yard, pump)
    assert stop["command"]["value"] == "off"


async def test_a_confirmed_stop_of_a_user_ends_the_timer(yard: Yard) -> None:
    pump = listening(yard)
    on = await order(yard, "on", max_on=60)
    assert (await stop_for(yard, pump))["commandId"] == on["commandId"]
    off = await order(yard, "off")
    assert (await stop_for(yard, pump))["commandId"] == off["commandId"]
    assert len(yard.fail_safe) == 1
    yard.say(pump, ACK, {"commandId": off["commandId"]})
    await yard.became("confirmed", off["commandId"])
    assert len(yard.fail_safe) == 0


async def test_a_stop_from_before_the_start_ends_no_timer(yard: Yard) -> None:
    pump = listening(yard)
    off = await order(yard, "off")
    await stop_for(yard, pump)
    await order(yard, "on", max_on=60)
    await stop_for(yard, pump)
    yard.say(pump, ACK, {"commandId": off["commandId"]})
    await yard.became("confirmed", off["commandId"])
    assert len(yard.fail_safe) == 1


async def test_another_actuator_of_the_device_is_not_concerned(yard: Yard) -> None:
    pump = listening(yard)
    for valve in (1, 2):
        await order(yard, "open", parameters={"valve": valve}, max_on=2)
        await stop_for(yard, pump)
    await order(yard, "blink")
    await stop_for(yard, pump)
    assert len(yard.fail_safe) == 2
    await order(yard, "open", parameters={"valve": 1})
    await stop_for(yard, pump)
    yard.wait(2)
    stop = await stop_for(yard, pump)
    assert stop["command"] == {"command": "close", "parameters": {"valve": 2}}


async def test_a_device_has_so_many_timers_at_most_also_after_a_restart(yard: Yard) -> None:
    few = type(yard.commands.settings)(max_waiting_per_device=2)
    yard.commands.settings = few
    for valve in (1, 2):
        await order(yard, "open", parameters={"valve": valve}, max_on=60)
    with pytest.raises(TooManyRequests):
        await order(yard, "open", parameters={"valve": 3}, max_on=60)
    yard.stop()
    next_start = yard.again()
    await next_start.start()
    next_start.commands.settings = few
    body = {"command": "open", "parameters": {"valve": 3}, "maxOn": 60}
    next_start.say(next_start.user(), TOPIC, body)
    await next_start.see(lambda: next_start.of(MessageRefused))
    assert len(next_start.fail_safe) == 2
    next_start.stop()


async def test_a_published_command_may_have_a_limit(yard: Yard) -> None:
    pump = listening(yard)
    yard.say(yard.user(), TOPIC, {"command": "open", "maxOn": 2, "commandId": "mine"})
    assert (await yard.received_by(pump)).payload.startswith(b'{"command":"open"')
    yard.wait(2)
    yard.stage.finish(pump, await yard.received_by(pump))
    await yard.became("queued")
    assert len(yard.fail_safe) == 1
    user = yard.user()
    yard.say(user, TOPIC, {"command": {"stateName": "power", "value": "on"}, "maxOn": 2})
    await yard.see(lambda: yard.of(MessageRefused))
    assert "off" in yard.of(MessageRefused)[0].verdict.reason


async def test_a_new_order_while_the_stop_is_repeated_cancels_it(yard: Yard) -> None:
    await switch(yard, "on", TWO_SECONDS)
    yard.wait(2)
    await yard.became("queued")
    await switch(yard, "on", Limit(100.0))
    await yard.became("cancelled")
    pump = listening(yard)
    yard.wait(50)
    assert await yard.quiet(pump)
    assert (len(yard.fail_safe), await power(yard)) == (1, "on")


@pytest.mark.parametrize("order_first", [True, False])
async def test_of_an_order_and_the_end_of_the_timer_at_once_the_later_one_counts(
    yard: Yard, order_first: bool
) -> None:
    """Both are on their way to the database at the same moment, in either order."""
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)
    if not order_first:
        yard.stage.clock.advance(2)
    ordered = ensureDeferred(
        yard.changes.set_by_name(ADMIN, PUMP, "power", "on", "user", Limit(50.0))
    )
    if order_first:
        yard.stage.clock.advance(2)
    await yard.see(lambda: ordered.called and not yard.fail_safe.busy)
    await ordered
    # On either database the order ends the timer, before its stop or after: the pump is on, and
    # stopped when the new time is over.
    assert (await power(yard), len(yard.fail_safe)) == ("on", 1)
    pump.take()
    yard.wait(48)
    assert await yard.quiet(pump)
    yard.wait(2)
    assert (await stop_for(yard, pump))["command"]["value"] == "off"
    assert await power(yard) == "off"


async def test_orders_for_one_actuator_at_once_leave_one_timer(yard: Yard) -> None:
    together = threading.Barrier(5)  # opens every connection of the pool
    for reading in [yard.database.read(lambda tx: together.wait(10)) for _ in range(5)]:
        await reading
    given = [
        ensureDeferred(yard.commands.give(ADMIN, PUMP, NewOrder("on", max_on=seconds)))
        for seconds in range(10, 40)
    ]
    await yard.see(lambda: all(one.called for one in given))
    for one in given:
        await one
    assert len(yard.fail_safe) == 1


async def test_an_action_of_a_rule_chain_may_have_a_limit(yard: Yard) -> None:
    pump = listening(yard)
    rule = {"ruleChainId": 1, "ruleChainName": "dry", "nodeId": 2}
    change = await yard.database.transact(
        lambda tx: yard.changes.set_by_rule(
            tx, NORTH, PUMP, "power", "on", rule, 1, True, TWO_SECONDS
        )
    )
    yard.events.publish(change)
    yard.wait(2)
    assert (await stop_for(yard, pump))["command"] == {"stateName": "power", "value": "off"}


async def test_timers_survive_a_restart(yard: Yard) -> None:
    await switch(yard, "on", TWO_SECONDS)
    yard.stop()
    next_start = yard.again(at=1)
    await next_start.start()
    pump = listening(next_start)
    assert await next_start.quiet(pump)
    next_start.wait(1)
    stop = await stop_for(next_start, pump)
    next_start.stop()
    # Killed between the stop and its confirmation, which comes to the next start.
    last_start = yard.again(at=2)
    await last_start.start()
    last_start.say(last_start.pump(), ACK, {"commandId": stop["commandId"]})
    await last_start.became("confirmed")
    assert len(last_start.fail_safe) == 0
    last_start.stop()


async def test_what_was_due_while_the_server_was_down_is_stopped_at_its_start(yard: Yard) -> None:
    await switch(yard, "on", TWO_SECONDS)
    yard.stop()
    next_start = yard.again(at=600)
    await next_start.start()
    next_start.wait(0)
    pump = listening_late(next_start)
    assert (await stop_for(next_start, pump))["command"]["value"] == "off"
    next_start.stop()


async def test_what_was_stuck_is_told_again_after_a_restart(yard: Yard) -> None:
    yard.commands.settings = type(yard.commands.settings)(stop_attempts=1)
    await switch(yard, "on", TWO_SECONDS)
    await yard.database.transact(lambda tx: tx.execute("UPDATE actuator_timer SET attempts = 9"))
    yard.stop()
    next_start = yard.again()
    await next_start.start()
    assert len(next_start.of(ActuatorStuck)) == 1
    next_start.stop()


async def test_while_the_database_is_away_the_stop_is_sent_and_stored_later(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = listening(yard)
    await switch(yard, "on", TWO_SECONDS)

    async def away(*_: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as outage:
        outage.setattr(yard.database, "transact", away)
        yard.wait(2)
        early = await stop_for(yard, pump)
    yard.wait(5)
    assert await stop_for(yard, pump) == early
    await yard.became("received", early["commandId"])
    assert await power(yard) == "off"


@pytest.mark.parametrize(
    ("value", "limit"),
    [("off", TWO_SECONDS), ("on", Limit(2.0, "on")), ("on", Limit(2.0, "half"))],
)
async def test_a_limit_that_cannot_be_kept_is_refused(yard: Yard, value: str, limit: Limit) -> None:
    with pytest.raises(BadRequest):
        await switch(yard, value, limit)
    assert await power(yard) == "off"


def test_a_limit_is_a_positive_number_of_at_most_thirty_days() -> None:
    for wrong in (0, -1, 1e9, True, "5"):
        with pytest.raises(BadRequest, match="maxOn"):
            Limit.of(wrong)
    assert Limit.of(None) is None


async def test_what_a_device_reports_is_stored_and_announced_but_not_passed_on(yard: Yard) -> None:
    watcher = yard.user()
    watcher.subscribe((STATE, 1))
    yard.say(yard.pump(), STATE, {"stateName": "power", "value": "on"})
    message: Publish = await yard.received_by(watcher)
    body = json.decode(message.payload)
    assert (body["type"], body["newValue"], body["initiatedBy"]) == (
        "device_state_change",
        "on",
        "device",
    )
    assert await power(yard) == "on"


@pytest.mark.parametrize(
    "body",
    [
        {"stateName": "power", "value": "half"},
        {"stateName": "nothing", "value": "on"},
        {"stateName": "power", "value": {}},
        {"stateName": 5, "value": "on"},
    ],
)
async def test_a_state_that_cannot_be_is_refused(yard: Yard, body: dict[str, Any]) -> None:
    yard.say(yard.pump(), STATE, body)
    await yard.see(lambda: yard.of(MessageRefused))
    assert await power(yard) == "off"
