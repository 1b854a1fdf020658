"""Commands, from the order to the device's answer, over real databases and MQTT sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

from aemos import json
from aemos.errors import BadRequest, Conflict, Forbidden, NotFound, TooManyRequests
from aemos.model import ANONYMOUS, Code, Instant
from aemos.mqtt.packets import PubRec
from aemos.services.catalogue import digest
from aemos.services.commands import NoReply
from aemos.services.events import CommandChanged, MessageRefused
from aemos.services.order_intake import NewOrder
from aemos.storage import commands
from aemos.storage.listing import Listing
from aemos.storage.transaction import Transaction
from tests.farm import NORTH, PUMPS, SOUTH, UUIDS
from tests.yard import ADMIN, PUMP, STRANGER, TOPIC, VIEWER, Yard, yard_on

ON = NewOrder("on", {"speed": 3})
ACK = f"{TOPIC}/ack"
TOKEN = "f0" * 32


@pytest_twisted.async_yield_fixture
async def yard(database_url: str) -> AsyncIterator[Yard]:
    async with yard_on(database_url) as yard:
        yield yard


def plant_token(tx: Transaction) -> None:
    """Give the pump a token of its own."""
    tx.insert(
        "device_credential",
        {
            "device_id": NORTH,
            "digest": digest(TOKEN),
            "label": "",
            "status": "active",
            "created_at": tx.now,
        },
    )


async def give(yard: Yard, order: NewOrder = ON, device: str = PUMP) -> dict[str, Any]:
    return await yard.result(yard.commands.give(ADMIN, device, order))


async def test_a_listening_device_gets_it_and_every_step_is_stored_with_its_time(
    yard: Yard,
) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    started = yard.now
    command = await give(yard)
    message = await yard.received_by(pump)
    assert (message.topic, message.qos, message.retain) == (TOPIC, 2, False)
    assert json.decode(message.payload) == {
        "type": "command",
        "deviceUuid": PUMP,
        "commandId": command["commandId"],
        "command": {"command": "on", "parameters": {"speed": 3}},
        "timestamp": started.iso(),
        "expiresAt": Instant(started + 3_600_000).iso(),
        "metadata": {"initiatedBy": "user"},
    }
    yard.wait(1)
    yard.stage.finish(pump, message)
    await yard.became("received")
    yard.wait(1)
    yard.say(pump, ACK, {"commandId": command["commandId"], "result": {"flow": 12.5}})
    told = await yard.became("confirmed")
    assert (told.device_uuid, told.organization_id) == (PUMP, NORTH)
    shown = await yard.commands.get(VIEWER, PUMP, command["commandId"])
    assert shown["result"] == told.command["result"] == {"flow": 12.5}
    assert [(step["status"], step["at"] - started) for step in shown["transitions"]] == [
        ("queued", 0),
        ("sent", 0),
        ("received", 1000),
        ("confirmed", 2000),
    ]
    told_statuses = [event.status for event in yard.of(CommandChanged)]
    assert told_statuses == ["queued", "sent", "received", "confirmed"]


async def test_it_waits_for_an_absent_device_until_that_listens(yard: Yard) -> None:
    command = await give(yard)
    pump = yard.pump()
    assert await yard.quiet(pump)
    yard.listen(pump, f"devices/{PUMP}/#", 1)
    message = await yard.received_by(pump)
    assert json.decode(message.payload)["commandId"] == command["commandId"]
    assert message.qos == 1


async def test_pubrec_alone_does_not_make_it_received(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    command = await give(yard)
    message = await yard.received_by(pump)
    pump.send(PubRec(message.packet_id))
    assert await yard.statuses(command["commandId"]) == ["queued", "sent"]
    pump.send(b"\x70\x02" + message.packet_id.to_bytes(2, "big"))
    await yard.became("received")


async def test_others_who_listen_get_it_once_and_their_acknowledgement_counts_for_nothing(
    yard: Yard,
) -> None:
    watcher = yard.user()
    yard.listen(watcher, TOPIC, 1)
    command = await give(yard)
    message = await yard.received_by(watcher)
    yard.stage.finish(watcher, message)
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    await yard.received_by(pump)
    assert await yard.quiet(watcher)
    assert await yard.statuses(command["commandId"]) == ["queued", "sent"]


async def test_a_session_that_ended_unacknowledged_is_followed_by_another_sending(
    yard: Yard,
) -> None:
    first = yard.pump()
    yard.listen(first, TOPIC, 2)
    command = await give(yard)
    await yard.received_by(first)
    first.drop()
    second = yard.pump()
    yard.listen(second, TOPIC, 2)
    again = await yard.received_by(second)
    assert json.decode(again.payload)["commandId"] == command["commandId"]
    yard.stage.finish(second, again)
    await yard.became("received")
    assert await yard.statuses(command["commandId"]) == ["queued", "sent", "received"]
    shown = await yard.commands.get(ADMIN, PUMP, command["commandId"])
    assert shown["attempts"] == 2


async def test_a_stored_session_that_holds_it_gets_no_second_one(yard: Yard) -> None:
    pump = yard.pump(clean=False)
    yard.listen(pump, TOPIC, 2)
    command = await give(yard)
    first = await yard.received_by(pump)
    pump.drop()
    pump = yard.pump(clean=False, present=True)
    again = await yard.received_by(pump)
    assert (again.dup, again.packet_id, again.payload) == (True, first.packet_id, first.payload)
    yard.listen(pump, TOPIC, 2)  # it listens once more
    assert await yard.quiet(pump)
    yard.stage.finish(pump, again)
    await yard.became("received", command["commandId"])


async def test_an_absent_stored_session_is_sent_it_once_when_it_is_back(yard: Yard) -> None:
    pump = yard.pump(clean=False)
    yard.listen(pump, TOPIC, 2)
    pump.drop()
    command = await give(yard)
    pump = yard.pump(clean=False, present=True)
    message = await yard.received_by(pump)
    assert not message.dup
    yard.stage.finish(pump, message)
    await yard.became("received", command["commandId"])
    assert await yard.quiet(pump)


async def test_after_a_restart_a_stored_session_reports_on_what_it_was_sent_before(
    yard: Yard,
) -> None:
    pump = yard.pump(clean=False)
    yard.listen(pump, TOPIC, 2)
    command = await give(yard)
    first = await yard.received_by(pump)
    await yard.became("sent")
    yard.stop()
    next_start = yard.again(mqtt=yard.stage.database)
    await next_start.start()
    pump = next_start.pump(clean=False, present=True)
    again = await next_start.received_by(pump)
    assert (again.dup, again.payload) == (True, first.payload)
    next_start.stage.finish(pump, again)
    await next_start.became("received", command["commandId"])
    assert await next_start.quiet(pump)
    next_start.stop()


async def test_what_was_stored_and_not_sent_is_sent_after_a_restart(yard: Yard) -> None:
    command = await give(yard)
    yard.stop()
    next_start = yard.again()
    await next_start.start()
    pump = next_start.pump()
    next_start.listen(pump, TOPIC, 2)
    message = await next_start.received_by(pump)
    assert json.decode(message.payload)["commandId"] == command["commandId"]
    next_start.stop()


async def test_it_expires_on_the_millisecond_and_is_sent_no_more(yard: Yard) -> None:
    command = await give(yard, NewOrder("on", ttl=1.5))
    yard.wait(1.499)
    assert await yard.statuses(command["commandId"]) == ["queued"]
    yard.wait(0.001)
    told = await yard.became("expired")
    assert told.at == command["expiresAt"] == command["createdAt"] + 1500
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    assert await yard.quiet(pump)
    assert len(yard.commands) == 0


async def test_what_expired_on_its_way_to_the_database_is_not_sent(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 1)
    giving = ensureDeferred(yard.commands.give(ADMIN, PUMP, NewOrder("on", ttl=1)))
    yard.wait(1)
    await yard.see(lambda: giving.called)
    command = await giving
    assert await yard.quiet(pump)
    assert await yard.statuses(command["commandId"]) == ["queued", "expired"]


async def test_what_expired_while_the_server_was_down_expired_at_its_time(yard: Yard) -> None:
    command = await give(yard, NewOrder("on", ttl=1.5))
    yard.stop()
    next_start = yard.again(at=60)
    await next_start.start()
    told = await next_start.became("expired", command["commandId"])
    assert told.at == command["expiresAt"]
    next_start.stop()


async def test_what_was_received_does_not_expire(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 1)
    command = await give(yard, NewOrder("on", ttl=2))
    yard.stage.finish(pump, await yard.received_by(pump))
    await yard.became("received")
    yard.wait(3)
    assert await yard.statuses(command["commandId"]) == ["queued", "sent", "received"]


async def test_the_device_has_the_last_word_over_what_the_server_gave_up(yard: Yard) -> None:
    command = await give(yard, NewOrder("on", ttl=1))
    yard.wait(1)
    await yard.became("expired")
    yard.say(yard.pump(), ACK, {"commandId": command["commandId"], "status": "failed"})
    await yard.became("failed")
    yard.say(yard.stage.client("pump", user=PUMP), ACK, {"commandId": command["commandId"]})
    assert await yard.statuses(command["commandId"]) == ["queued", "expired", "failed"]


async def test_a_cancelled_command_is_not_sent(yard: Yard) -> None:
    command = await give(yard)
    answer = await yard.result(yard.commands.cancel(ADMIN, PUMP, command["commandId"]))
    assert answer["status"] == "cancelled"
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    assert await yard.quiet(pump)
    with pytest.raises(Conflict, match="cancelled"):
        await yard.result(yard.commands.cancel(ADMIN, PUMP, command["commandId"]))


async def test_the_oldest_makes_room_when_too_many_wait(yard: Yard) -> None:
    yard.commands.settings = type(yard.commands.settings)(max_waiting_per_device=2, max_waiting=3)
    first, second, third = [await give(yard) for _ in range(3)]
    assert (await yard.became("cancelled")).command_id == first["commandId"]
    pump = yard.pump()
    yard.listen(pump, TOPIC, 0)
    await yard.became("sent", third["commandId"])
    sent = [json.decode(packet.payload)["commandId"] for packet in pump.publishes()]
    assert sent == [second["commandId"], third["commandId"]]
    await give(yard, device=str(NORTH))
    await yard.result(yard.commands.give(STRANGER, PUMPS[SOUTH], ON))
    with pytest.raises(TooManyRequests):
        await give(yard)


async def test_a_caller_that_waits_gets_the_devices_answer(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 1)
    command = await give(yard)
    asking = ensureDeferred(yard.commands.reply(command, 5))
    yard.stage.finish(pump, await yard.received_by(pump))
    await yard.became("received")
    yard.wait(4.9)
    assert not asking.called
    body = {"commandId": command["commandId"], "status": "failed", "result": "dry"}
    yard.say(pump, ACK, body)
    await yard.see(lambda: asking.called)
    answer = await asking
    assert (answer["status"], answer["result"]) == ("failed", "dry")


async def test_a_caller_that_waits_too_long_is_told_how_far_it_has_come(yard: Yard) -> None:
    command = await give(yard)
    asking = ensureDeferred(yard.commands.reply(command, 5))
    await yard.idle()
    yard.wait(5)
    await yard.see(lambda: asking.called)
    with pytest.raises(NoReply, match="queued") as raised:
        await asking
    assert raised.value.details["data"]["command"]["status"] == "queued"


async def test_a_caller_does_not_wait_for_what_will_never_be_answered(yard: Yard) -> None:
    command = await give(yard, NewOrder("on", ttl=1))
    asking = ensureDeferred(yard.commands.reply(command, 50))
    await yard.idle()
    yard.wait(1)
    await yard.see(lambda: asking.called)
    with pytest.raises(NoReply, match="expired"):
        await asking


async def test_a_user_publishes_a_command_and_it_is_followed_like_any_other(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 2)
    user = yard.user()
    payload = b'{ "commandId": 17, "command":"on",  "extra": [1] }'
    yard.say(user, TOPIC, payload)
    await yard.see(lambda: b"\x40\x02\x00\x4d" in user.take())
    message = await yard.received_by(pump)
    assert message.payload == payload
    yard.stage.finish(pump, message)
    await yard.became("received", "17")
    yard.say(pump, ACK, {"commandId": 17})
    await yard.became("confirmed", "17")
    shown = await yard.commands.get(ADMIN, PUMP, "17")
    assert (shown["command"], shown["initiatedBy"], shown["initiatorId"]) == ("on", "user", 2)


async def test_a_published_command_waits_for_its_device_too(yard: Yard) -> None:
    stored = yard.pump(clean=False)
    yard.listen(stored, TOPIC, 2)
    stored.drop()
    await yard.database.transact(plant_token)
    yard.say(yard.user(), TOPIC, {"command": "on", "ttl": 10, "token": TOKEN})
    event = await yard.became("queued")
    assert event.command["expiresAt"] == event.command["createdAt"] + 10_000
    pump = yard.pump(clean=False, present=True)
    message = await yard.received_by(pump)
    assert json.decode(message.payload) == {"command": "on", "ttl": 10}
    assert await yard.quiet(pump)


async def test_a_published_command_that_is_repeated_is_recorded_once(yard: Yard) -> None:
    user = yard.user()
    for _ in range(2):
        yard.say(user, TOPIC, {"commandId": "a", "command": "on"})
    await yard.became("queued", "a")
    assert await yard.statuses("a") == ["queued"]
    assert len(yard.commands) == 1


async def test_an_answer_to_an_unknown_command_is_told_to_the_device(yard: Yard) -> None:
    pump = yard.pump()
    yard.say(pump, ACK, {"commandId": "nope"})
    await yard.see(lambda: yard.of(MessageRefused))
    assert yard.of(MessageRefused)[0].verdict.code is Code.COMMAND_ERROR
    assert pump.take() == b"\x40\x02\x00\x4d"


@pytest.mark.parametrize(
    "body",
    [
        {"commandId": "x", "status": "perhaps"},
        {"commandId": ""},
        {"commandId": "with space"},
        {"commandId": "x", "result": "y" * 17_000},
        {"status": "ok"},
    ],
)
async def test_a_malformed_answer_is_refused(yard: Yard, body: dict[str, Any]) -> None:
    yard.say(yard.pump(), ACK, body)
    await yard.see(lambda: yard.of(MessageRefused))
    assert yard.of(MessageRefused)[0].verdict.code is Code.COMMAND_ERROR


async def test_only_the_device_itself_answers(yard: Yard) -> None:
    command = await give(yard)
    yard.say(yard.user(), ACK, {"commandId": command["commandId"]})
    await yard.see(lambda: yard.of(MessageRefused))
    assert await yard.statuses(command["commandId"]) == ["queued"]


async def test_rights_are_those_in_the_organization_of_the_device(yard: Yard) -> None:
    for who in (VIEWER, STRANGER, ANONYMOUS):
        with pytest.raises(Forbidden):
            await yard.commands.give(who, PUMP, ON)
    command = await give(yard)
    for who in (STRANGER, ANONYMOUS):
        with pytest.raises(Forbidden):
            await yard.commands.get(who, PUMP, command["commandId"])
        with pytest.raises(Forbidden):
            await yard.commands.listed(who, PUMP, Listing())
    with pytest.raises(Forbidden):
        await yard.commands.cancel(VIEWER, PUMP, command["commandId"])
    # A command is one of its device: another organization's is not found below it.
    with pytest.raises(NotFound):
        await yard.commands.get(STRANGER, PUMPS[SOUTH], command["commandId"])


async def test_a_list_pages_and_filters(yard: Yard) -> None:
    first, second = await give(yard), await give(yard, NewOrder("off", ttl=1))
    yard.wait(1)
    await yard.became("expired")
    everything = await yard.commands.listed(VIEWER, PUMP, Listing(limit=1, descending=True))
    assert [row["commandId"] for row in everything.rows] == [second["commandId"]]
    assert everything.total == 2
    waiting = await yard.commands.listed(VIEWER, PUMP, Listing(status="queued"))
    assert [row["commandId"] for row in waiting.rows] == [first["commandId"]]
    one = await yard.commands.listed(VIEWER, PUMP, Listing(), second["commandId"])
    assert [row["status"] for row in one.rows] == ["expired"]


async def test_old_commands_are_forgotten_when_they_are_over(yard: Yard) -> None:
    over, waiting = await give(yard), await give(yard)
    await yard.result(yard.commands.cancel(ADMIN, PUMP, over["commandId"]))
    prune = yard.database.transact
    assert await prune(commands.prune, yard.now, 10) == 0
    assert await prune(commands.prune, Instant(yard.now + 1), 10) == 1
    left = await yard.commands.listed(ADMIN, PUMP, Listing())
    assert [row["commandId"] for row in left.rows] == [waiting["commandId"]]


async def test_a_sensor_takes_commands_as_well(yard: Yard) -> None:
    command = await give(yard, device=UUIDS[NORTH])
    assert command["deviceUuid"] == UUIDS[NORTH]
    with pytest.raises(NotFound):
        await yard.commands.give(ADMIN, "99999999-9999-4999-8999-999999999999", ON)


@pytest.mark.parametrize(
    "order",
    [
        NewOrder("on", ttl=1e9),
        NewOrder("blink", max_on=5),
        NewOrder("on", {"text": "x" * 70_000}),
        NewOrder({"stateName": "power", "value": "off"}, max_on=5),
    ],
)
async def test_an_order_that_cannot_be_kept_is_refused(yard: Yard, order: NewOrder) -> None:
    with pytest.raises(BadRequest):
        await yard.commands.give(ADMIN, PUMP, order)


async def test_a_qos_0_subscription_gets_it_and_nothing_is_said_about_receipt(yard: Yard) -> None:
    pump = yard.pump()
    yard.listen(pump, TOPIC, 0)
    command = await give(yard)
    message = await yard.received_by(pump)
    assert message.qos == 0
    assert await yard.statuses(command["commandId"]) == ["queued", "sent"]
    for topic_filter in (TOPIC, "devices/+/state"):  # it is the same session that subscribes
        yard.listen(pump, topic_filter, 0)
    assert await yard.quiet(pump)
