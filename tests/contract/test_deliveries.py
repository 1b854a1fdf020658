"""Who is told of an alarm, when, and how often it is tried (docs/alarms.rst)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, FirstError, ensureDeferred, fail
from twisted.internet.task import Clock

from aemos import json
from aemos.config import schema
from aemos.config.alarms import Alarms
from aemos.errors import BadRequest, Forbidden, StorageUnavailable, Unavailable
from aemos.mail.smtp import SmtpMailer
from aemos.model import Instant
from aemos.services.alarms import forms
from aemos.services.alarms.deliveries import DeliveryRefused
from aemos.services.alarms.machinery import AlarmMachinery
from aemos.services.alarms.subject import Change, Transition
from aemos.services.alarms.targets import (
    EmailTarget,
    MqttTarget,
    RealtimeTarget,
    Target,
    WebhookTarget,
    body_of,
)
from aemos.services.events import AlarmChanged, Events
from aemos.services.outbox import Outbox
from aemos.storage import deliveries, mail
from aemos.storage.database import Database, open_database
from aemos.storage.listing import ALL
from tests.conftest import settings_for
from tests.farm import NORTH, SOUTH, USERS, UUIDS, sow
from tests.mailbox import Mailbox, text_of
from tests.mqtt_stage import Stage
from tests.rows import until
from tests.yard import Timed

MIDNIGHT = Instant.parse("2026-06-01T00:00:00Z") / 1000
MINUTE = 60
RULES = frozenset({"rule.view", "rule.create"})
ORGANIZATION = frozenset({"organization.view", "organization.update"})
ADMIN = attrs.evolve(
    USERS["north-admin"],
    permissions={NORTH: USERS["north-admin"].permissions[NORTH] | RULES | ORGANIZATION},
)
HOOK = WebhookTarget(url="https://sms.example/send", secret="eight or more")


class Receiver:
    """Takes webhooks as `aemos.webhooks` does, or raises what is in `trouble` first."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes, Mapping[str, str], str | None]] = []
        self.trouble: list[Exception] = []
        self.attempts = 0

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None
    ) -> str:
        self.attempts += 1
        if self.trouble:
            raise self.trouble.pop(0)
        self.got.append((url, body, headers, secret))
        return "answered 200"


@attrs.define
class World:
    """The alarms of one server with a receiver of webhooks and, perhaps, a mail server."""

    database: Database
    clock: Clock
    events: Events
    outbox: Outbox
    receiver: Receiver
    alarms: AlarmMachinery
    happened: list[AlarmChanged] = attrs.field(factory=list)

    async def channel(self, target: Target, **values: Any) -> int:
        row = {"organization_id": NORTH, "name": "Duty", **values}
        return int((await self.alarms.channels.create(ADMIN, row, target))["id"])

    async def define(self, *steps: forms.Step, **values: Any) -> int:
        row = {
            "organization_id": NORTH,
            "name": "Hot",
            "severity": "critical",
            "condition_tree": forms.Threshold(direction="above", level=30.0),
            "hold_seconds": 0.0,
            "clear_hold_seconds": 0.0,
            "message": "too hot",
            "steps": list(steps),
            "variable_name": "temperature",
            **values,
        }
        return int((await self.alarms.definitions.create(ADMIN, row))["id"])

    async def turn(self, change: Change, definition_id: int) -> None:
        """Raise the alarm of the sensor of `NORTH`, or clear it."""
        alarm = {
            "definition_id": definition_id,
            "organization_id": NORTH,
            "sensor_id": NORTH,
            "uuid": UUIDS[NORTH],
            "name": "Hot",
            "severity": "critical",
            "message": "too hot",
        }
        now = Instant.of(self.clock.seconds())
        self.alarms.recorder.put([Transition("k", change, now, alarm)])
        await self.settled()

    async def settled(self) -> None:
        await self.alarms.recorder.flush()
        await self.alarms.deliveries.settle()

    async def wait(self, seconds: float) -> None:
        """Let time pass, and what is due be sent."""
        for _ in range(int(seconds // 5)):
            self.clock.advance(5)
            await self.alarms.deliveries.settle()

    async def log(self, **equal: Any) -> list[dict[str, Any]]:
        return (await self.alarms.channels.log(ADMIN, None, equal, ALL)).rows

    async def states(self) -> list[tuple[str, str]]:
        return [(row["purpose"], row["state"]) for row in await self.log()]

    def told(self) -> list[str]:
        """@return: what came by webhook since the last question."""
        found = [json.decode(body)["change"] for _, body, _, _ in self.receiver.got]
        self.receiver.got.clear()
        return found


def open_world(database: Database, clock: Clock, smtp: schema.Mail | None = None) -> World:
    events, receiver = Events(), Receiver()
    outbox = Outbox(database, SmtpMailer(smtp, reactor) if smtp else None, clock)
    settings = Alarms(delivery_attempts=4)
    alarms = AlarmMachinery(database, events, outbox, receiver, clock, settings)
    world = World(database, clock, events, outbox, receiver, alarms)
    events.subscribe(AlarmChanged, world.happened.append)
    return world


@pytest_twisted.async_yield_fixture
async def world(database_url: str) -> AsyncIterator[World]:
    time = Timed()
    time.clock.advance(MIDNIGHT)
    database = open_database(time, settings_for(database_url))
    await database.start()
    await database.transact(sow)
    opened = open_world(database, time.clock)
    await opened.alarms.start()
    yield opened
    await opened.alarms.stop()
    await database.stop()


async def test_the_beginning_and_the_end_are_told_once_each(world: World) -> None:
    channel = await world.channel(HOOK)
    number = await world.define(forms.Step(channels=[channel]))
    for change in (Change.RAISE, Change.RAISE, Change.CLEAR, Change.CLEAR):
        await world.turn(change, number)
    (url, body, headers, secret), _ = world.receiver.got
    assert (url, secret) == ("https://sms.example/send", "eight or more")
    assert headers["Content-Type"] == "application/json"
    content = json.decode(body)
    assert (content["subject"], content["text"]) == ("[CRITICAL] Hot", "[CRITICAL] Hot: too hot")
    assert content["alarm"]["state"] == "active"
    assert world.told() == ["raised", "cleared"]
    assert await world.states() == [("raised", "sent"), ("cleared", "sent")]


async def test_the_end_is_not_told_where_nobody_wants_to_know(world: World) -> None:
    channel = await world.channel(HOOK)
    number = await world.define(forms.Step(channels=[channel]), tell_clear=False)
    await world.turn(Change.RAISE, number)
    await world.turn(Change.CLEAR, number)
    assert world.told() == ["raised"]


async def test_what_nobody_acknowledges_goes_to_the_next_and_is_in_the_history(
    world: World,
) -> None:
    first, second = await world.channel(HOOK), await world.channel(HOOK, name="Boss")
    number = await world.define(
        forms.Step(channels=[first]), forms.Step(channels=[second], afterMinutes=10)
    )
    await world.turn(Change.RAISE, number)
    assert world.told() == ["raised"]
    await world.wait(10 * MINUTE - 5)
    assert world.told() == []
    await world.wait(10)
    assert world.told() == ["escalated"]
    assert [event.kind for event in world.happened] == ["raised", "escalated"]
    assert world.happened[-1].comment == "told to Boss"
    await world.turn(Change.CLEAR, number)
    assert world.told() == ["cleared", "cleared"]


async def test_after_somebody_has_acknowledged_nobody_further_is_told(world: World) -> None:
    channel = await world.channel(HOOK)
    number = await world.define(
        forms.Step(channels=[channel]), forms.Step(channels=[channel], afterMinutes=1)
    )
    await world.turn(Change.RAISE, number)
    await world.alarms.alarms.acknowledge(ADMIN, world.happened[0].alarm["id"], "")
    await world.wait(5 * MINUTE)
    assert world.told() == ["raised"]
    assert await world.states() == [("raised", "sent"), ("escalated", "cancelled")]


async def test_an_escalation_survives_a_restart(world: World) -> None:
    channel = await world.channel(HOOK)
    number = await world.define(forms.Step(channels=[channel], afterMinutes=10))
    await world.turn(Change.RAISE, number)
    await world.alarms.stop()
    world.clock.advance(20 * MINUTE)
    after = open_world(world.database, world.clock)
    after.alarms.deliveries.start()
    await after.settled()
    assert after.told() == ["escalated"]
    await after.alarms.deliveries.stop()


async def test_in_quiet_hours_it_waits_and_is_not_told_if_it_is_over_by_then(world: World) -> None:
    channel = await world.channel(HOOK)
    # It is 02:00 in Berlin.
    quiet = forms.QuietHours(start="22:00", end="02:10", timeZone="Europe/Berlin")
    number = await world.define(forms.Step(channels=[channel]), quiet_hours=quiet)
    await world.turn(Change.RAISE, number)
    await world.turn(Change.CLEAR, number)
    await world.turn(Change.RAISE, number)
    await world.wait(10 * MINUTE - 5)
    assert world.told() == []
    await world.wait(10)
    assert world.told() == ["raised"]
    assert await world.states() == [("raised", "cancelled"), ("raised", "sent")]


async def test_what_fails_is_tried_again_after_twice_the_time(world: World) -> None:
    channel = await world.channel(HOOK)
    world.receiver.trouble = [Unavailable("answered 503"), ConnectionError(), Unavailable("x")]
    number = await world.define(forms.Step(channels=[channel]))
    await world.turn(Change.RAISE, number)
    assert [row["detail"] for row in await world.log()] == ["attempt 1: answered 503"]
    tried = []
    for seconds in range(5, 120, 5):
        before = world.receiver.attempts
        await world.wait(5)
        if world.receiver.attempts > before:
            tried.append(seconds)
    # 10, 20 and 40 seconds after each other, a quarter more or less, and up to 5 for the look.
    assert 7.5 <= tried[0] <= 17.5
    assert 15 <= tried[1] - tried[0] <= 30
    assert 30 <= tried[2] - tried[1] <= 55
    assert world.told() == ["raised"]
    (row,) = await world.log(state="sent")
    assert (row["attempts"], row["detail"]) == (4, "answered 200")


@contextlib.contextmanager
def away_for(database: Database, outcome: Any) -> Iterator[list[float]]:
    """Let the database be away whenever it is to do this; gives the attempts."""
    transact, refused = database.transact, []

    def refuse(function: Any, *args: Any) -> Any:
        if function is not outcome:
            return transact(function, *args)
        refused.append(database._clock.seconds())
        return fail(StorageUnavailable("the database is away"))

    database.transact = refuse  # type: ignore[method-assign]
    yield refused
    database.transact = transact  # type: ignore[method-assign]


async def test_what_was_sent_when_the_database_went_away_is_not_sent_again(world: World) -> None:
    channel = await world.channel(HOOK)
    with away_for(world.database, deliveries.sent) as refused:
        await world.alarms.channels.test(ADMIN, channel)
        await until(lambda: len(refused) == 1)
        for _ in range(30):
            world.clock.advance(1)
        assert len(refused) == 31
    world.clock.advance(1)
    await world.wait(5 * MINUTE)
    assert world.told() == ["test"]
    assert await world.states() == [("test", "sent")]


async def test_who_stops_need_not_wait_for_a_database_that_hangs(world: World) -> None:
    transact, hanging = world.database.transact, Deferred[None]()
    world.database.transact = lambda *args: hanging  # type: ignore[method-assign,assignment]
    world.alarms.deliveries.soon()
    stopping = ensureDeferred(world.alarms.deliveries.stop())
    assert not stopping.called
    stopping.cancel()
    with pytest.raises(FirstError):
        await stopping
    world.database.transact = transact  # type: ignore[method-assign]
    hanging.callback(None)
    world.alarms.deliveries.start()


async def test_after_so_many_attempts_it_is_given_up(world: World) -> None:
    channel = await world.channel(HOOK)
    world.receiver.trouble = [Unavailable("down")] * 9
    await world.alarms.channels.test(ADMIN, channel)
    await world.wait(3 * MINUTE)
    assert world.receiver.attempts == 4
    assert [(row["state"], row["detail"]) for row in await world.log()] == [
        ("failed", "attempt 4: down")
    ]


async def test_what_will_never_be_taken_is_not_tried_again(world: World) -> None:
    channel = await world.channel(HOOK)
    world.receiver.trouble = [DeliveryRefused("answered 404")]
    await world.alarms.channels.test(ADMIN, channel)
    await world.wait(3 * MINUTE)
    assert world.receiver.attempts == 1
    assert [(row["state"], row["detail"]) for row in await world.log()] == [
        ("failed", "answered 404")
    ]


async def test_letters_go_to_every_recipient(world: World) -> None:
    mailbox = Mailbox()
    mailing = open_world(world.database, world.clock, mailbox.settings())
    mailing.outbox.start()
    mailing.alarms.deliveries.start()
    target = EmailTarget(recipients=["one@x.example", "two@x.example"])
    number = await mailing.define(forms.Step(channels=[await mailing.channel(target)]))
    await mailing.turn(Change.RAISE, number)
    letters = [await mailbox.letters.get(), await mailbox.letters.get()]
    assert {letter["To"] for letter in letters} == {"one@x.example", "two@x.example"}
    assert {letter["Subject"] for letter in letters} == {"[CRITICAL] Hot"}
    assert "too hot" in text_of(letters[0])
    assert (await mailing.log())[0]["state"] == "sent"
    await mailing.alarms.deliveries.stop()
    await mailing.outbox.stop()
    await mailbox.close()


async def test_letters_are_written_once_although_the_server_died_right_behind_them(
    world: World,
) -> None:
    mailbox = Mailbox()
    dying = open_world(world.database, world.clock, mailbox.settings())
    channel = await dying.channel(EmailTarget(recipients=["one@x.example"]))
    await world.alarms.deliveries.stop()
    dying.alarms.deliveries.start()
    written: Deferred[None] = Deferred()

    async def dies(*args: Any) -> None:
        written.callback(None)

    dying.alarms.deliveries._note = dies  # type: ignore[method-assign]
    await dying.alarms.channels.test(ADMIN, channel)
    await written
    await mailbox.letters.get()
    await dying.alarms.deliveries.stop()
    await dying.outbox.stop()
    world.clock.advance(10 * MINUTE)
    after = open_world(world.database, world.clock, mailbox.settings())
    after.alarms.deliveries.start()
    await after.alarms.deliveries.settle()
    assert await world.states() == [("test", "sent")]
    await after.alarms.deliveries.stop()
    await after.outbox.stop()
    assert not mailbox.letters.pending
    await mailbox.close()


async def test_a_letter_that_left_when_the_database_went_away_is_not_sent_again(
    world: World,
) -> None:
    mailbox = Mailbox()
    outbox = open_world(world.database, world.clock, mailbox.settings()).outbox
    expires = Instant.of(world.clock.seconds() + 3600)
    await world.database.transact(outbox.put, "one@x.example", "s", "b", expires)
    with away_for(world.database, mail.delete) as refused:
        outbox.soon()
        await mailbox.letters.get()
        await until(lambda: len(refused) == 1)
        world.clock.advance(1)
        assert len(refused) == 2
    world.clock.advance(1)
    left = "SELECT COUNT(*) FROM mail_outbox"
    await until(lambda: outbox._delivering is None)
    assert await world.database.read(lambda tx: tx.value(left)) == 0
    await outbox.stop()
    await mailbox.close()


async def test_without_a_mail_server_the_log_says_so(world: World) -> None:
    channel = await world.channel(EmailTarget(recipients=["one@x.example"]))
    await world.alarms.channels.test(ADMIN, channel)
    await world.settled()
    (row,) = await world.log()
    assert (row["state"], "mail.host" in row["detail"]) == ("failed", True)


async def test_mqtt_is_a_channel_too(world: World) -> None:
    stage = Stage(events=world.events)
    client = stage.client("console")
    client.subscribe((f"organizations/{NORTH}/notifications", 1))
    for target in (MqttTarget(), RealtimeTarget()):
        await world.alarms.channels.test(ADMIN, await world.channel(target))
    await world.settled()
    [message] = client.publishes()
    assert json.decode(message.payload)["change"] == "test"


async def test_a_channel_that_is_switched_off_tells_nobody(world: World) -> None:
    channel = await world.channel(HOOK, enabled=False)
    await world.alarms.channels.test(ADMIN, channel)
    await world.settled()
    assert (await world.states(), world.told()) == ([("test", "failed")], [])


async def test_an_alarm_without_a_definition_goes_to_the_channels_that_want_it(
    world: World,
) -> None:
    await world.channel(HOOK)
    wants = await world.channel(HOOK, system_alarms=True)
    alarm = {
        "organization_id": NORTH,
        "name": "Actuator does not stop",
        "severity": "critical",
        "message": "m",
    }
    now = Instant.of(world.clock.seconds())
    world.alarms.recorder.put([Transition("actuator:p", Change.RAISE, now, alarm)])
    await world.settled()
    assert [row["channelId"] for row in await world.log()] == [wants]


async def test_an_alarm_that_cannot_be_stored_holds_up_no_other(
    world: World, hygiene: list[str]
) -> None:
    alarm = {"organization_id": NORTH, "name": "n", "severity": "info", "message": "m"}
    now = Instant.of(world.clock.seconds())
    alarms = [("a", alarm), ("b", {**alarm, "colour": "red"}), ("c", {**alarm, "name": None})]
    world.alarms.recorder.put(
        [Transition(key, Change.RAISE, now, values) for key, values in [*alarms, ("d", alarm)]]
    )
    await world.settled()
    opened = "SELECT open_key FROM alarm ORDER BY open_key"
    found = await world.database.read(lambda tx: tx.all(opened))
    assert [row["open_key"] for row in found] == ["a", "d"]
    (fault,) = hygiene  # what the database refuses is no fault of the server
    assert "alarm {key} cannot be stored" in fault
    hygiene.clear()


async def test_a_step_names_channels_of_its_own_organization(world: World) -> None:
    def plant(tx: Any) -> int:
        row = {"organization_id": SOUTH, "name": "x", "kind": "mqtt", "config": {"type": "mqtt"}}
        stamps = {"created_at": tx.now, "updated_at": tx.now}
        return int(tx.insert("notification_channel", {**row, **stamps}))

    foreign = await world.database.transact(plant)
    with pytest.raises(BadRequest, match="steps"):
        await world.define(forms.Step(channels=[foreign]))
    with pytest.raises(Forbidden):
        await world.alarms.channels.get(ADMIN, foreign)


def test_an_sms_is_a_webhook_with_a_template() -> None:
    content = {"text": 'Größe "1" & mehr\n', "alarm": {"id": 7, "severity": "info"}}
    form = {"template": "to=+49&text={{text}}", "contentType": "application/x-www-form-urlencoded"}
    assert body_of(form, content) == b"to=+49&text=Gr%C3%B6%C3%9Fe+%221%22+%26+mehr%0A"
    sms = {"template": '{"t": "{{ text }}", "n": {{alarmId}}}', "contentType": "application/json"}
    assert json.decode(body_of(sms, content)) == {"t": content["text"], "n": 7}
    plain = {"template": "{{severity}}: {{text}}", "contentType": "text/plain; charset=utf-8"}
    assert body_of(plain, content).decode() == f"info: {content['text']}"


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "ftp://x.example"},
        {"url": "https://u:p@x.example/"},
        {"url": "https://"},
        {"url": "https://x.example:99999/"},
        {"url": "https://x.example/a b"},
        {"template": "{{nonsense}}"},
    ],
)
async def test_a_webhook_that_makes_no_sense_is_refused(
    world: World, changes: Mapping[str, Any]
) -> None:
    with pytest.raises(BadRequest, match="target"):
        await world.channel(WebhookTarget(**{"url": "https://x.example", **changes}))
