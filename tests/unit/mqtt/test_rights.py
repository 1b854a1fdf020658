"""Identity belongs to the connection, and rights to now (promises P4 and P5)."""

from __future__ import annotations

import attrs

from aemos.errors import StorageUnavailable
from aemos.model import Instant
from aemos.mqtt.administration import Administration
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import Connect, PingReq, PingResp, PubAck, Publish, Will
from aemos.services.events import IdentityChanged, UserChanged
from tests.mqtt_stage import ROOT, Stage, sensor


def two_sensors() -> Stage:
    stage = Stage()
    stage.login.known |= {"u": sensor("u"), "v": sensor("v")}
    return stage


def test_same_client_id_of_another_principal_is_another_session() -> None:
    stage = two_sensors()
    mine = stage.client("same", user="u", clean=False)
    mine.subscribe(("devices/u/#", 1))
    theirs = stage.client("same", user="v", clean=False, present=False)
    anonymous = stage.client("same", clean=False, present=False)
    assert not mine.closed
    stage.client("pub").send(Publish("devices/u/errors", b"x"))
    assert len(mine.publishes()) == 1
    assert theirs.publishes() == anonymous.publishes() == []


def test_revoked_device_is_disconnected_at_once_and_its_will_is_not_published() -> None:
    stage = two_sensors()
    watch = stage.client("watch")
    watch.subscribe(("#", 0))
    mine = stage.client("c", user="u", will=Will("devices/u/status", b"offline"))
    other = stage.client("c", user="v")
    del stage.login.known["u"]
    stage.events.publish(IdentityChanged("u"))
    assert mine.closed
    assert not other.closed
    assert watch.publishes() == []
    assert stage.broker.totals().closed[CloseReason.REVOKED] == 1


def test_will_of_a_device_revoked_unnoticed_is_not_published() -> None:
    stage = two_sensors()
    watch = stage.client("watch")
    watch.subscribe(("#", 0))
    mine = stage.client("c", user="u", will=Will("devices/u/status", b"offline"))
    del stage.login.known["u"]
    mine.drop()
    assert watch.publishes() == []


def test_changed_device_keeps_its_connection_with_its_new_principal() -> None:
    stage = two_sensors()
    mine = stage.client("c", user="u")
    moved = attrs.evolve(sensor("u"), permissions={2: frozenset()})
    stage.login.known["u"] = moved
    stage.events.publish(IdentityChanged("u"))
    mine.send(Publish("devices/u/datastream", b"{}"))
    assert stage.router.handled[-1].principal == moved


def test_subscription_that_is_not_allowed_any_more_ends_and_the_others_go_on() -> None:
    stage = two_sensors()
    mine = stage.client("c", user="u")
    mine.subscribe(("organizations/1/#", 1), ("devices/u/#", 1))
    stage.rights.subscribe_denied.add("organizations")
    stage.events.publish(IdentityChanged("u"))
    stage.broker.publish("organizations/1/broadcast", b"1")
    stage.broker.publish("devices/u/commands", b"2")
    assert [p.payload for p in mine.publishes()] == [b"2"]


def test_reader_of_a_device_is_checked_when_the_device_changes() -> None:
    stage = two_sensors()
    reader = stage.client("c", user="v")
    reader.subscribe(("devices/pump/#", 1), ("devices/u/#", 1))
    stage.rights.subscribe_denied.add("pump")
    stage.events.publish(IdentityChanged("pump"))
    stage.broker.publish("devices/pump/state", b"1")
    stage.broker.publish("devices/u/x", b"2")
    assert [p.payload for p in reader.publishes()] == [b"2"]


def test_right_to_publish_is_asked_again_after_a_change() -> None:
    stage = two_sensors()
    mine = stage.client("c", user="u")
    mine.send(Publish("a", b"", 1, packet_id=1))
    stage.rights.publish_denied.add("a")
    mine.send(Publish("a", b"", 1, packet_id=2))
    assert stage.broker.totals().denied == 0  # remembered
    stage.events.publish(IdentityChanged("anybody"))
    mine.send(Publish("a", b"", 1, packet_id=3))
    assert mine.packets() == [PubAck(1), PubAck(2), PubAck(3)]
    assert stage.broker.totals().denied == 1


def test_user_is_found_by_id_whatever_changes_about_it() -> None:
    stage = Stage()
    mine = stage.client("c", user="root")
    stage.login.known["root"] = attrs.evolve(ROOT, administrator=False)
    stage.events.publish(UserChanged(1))
    mine.send(Publish("devices/x/commands", b"{}"))
    assert not stage.router.handled[-1].principal.administrator
    del stage.login.known["root"]
    stage.events.publish(UserChanged(2))
    assert not mine.closed
    stage.events.publish(UserChanged(1))
    assert mine.closed


def test_connection_ends_when_the_credential_expires() -> None:
    stage = two_sensors()
    ends = Instant.of(stage.clock.seconds() + 3 * 86400)
    stage.login.known["u"] = sensor("u", expires_at=ends)
    mine = stage.client("c", user="u")
    for _ in range(71):
        stage.clock.advance(3600)
    assert not mine.closed
    stage.clock.advance(3601)
    assert mine.closed
    assert stage.broker.totals().closed[CloseReason.REVOKED] == 1


def test_renewed_credential_keeps_the_connection() -> None:
    stage = two_sensors()
    now = stage.clock.seconds()
    stage.login.known["u"] = sensor("u", expires_at=Instant.of(now + 100))
    mine = stage.client("c", user="u")
    stage.login.known["u"] = sensor("u", expires_at=Instant.of(now + 1000))
    stage.clock.advance(101)
    assert not mine.closed
    stage.clock.advance(1000)
    assert mine.closed


def test_unreachable_database_ends_no_connection() -> None:
    stage = two_sensors()
    mine = stage.client("c", user="u")
    stage.login.failure = StorageUnavailable("away")
    stage.events.publish(IdentityChanged("u"))
    mine.send(PingReq())
    assert mine.packets() == [PingResp()]


def test_expired_credential_ends_the_connection_though_the_database_is_away() -> None:
    stage = two_sensors()
    stage.login.known["u"] = sensor("u", expires_at=Instant.of(stage.clock.seconds() + 100))
    mine = stage.client("c", user="u")
    stage.login.failure = StorageUnavailable("away")
    stage.events.publish(IdentityChanged("u"))
    assert not mine.closed
    stage.clock.advance(101)
    assert mine.closed


def absent_reader(stage: Stage) -> None:
    reader = stage.client("p", user="u", clean=False)
    reader.subscribe(("organizations/1/#", 1), ("devices/u/#", 1))
    reader.drop()
    stage.broker.publish("organizations/1/broadcast", b"1")
    stage.broker.publish("devices/u/commands", b"2")


def test_resumed_session_is_checked_again_and_gets_nothing_that_is_denied_by_now() -> None:
    stage = two_sensors()
    absent_reader(stage)
    stage.rights.subscribe_denied.add("organizations")
    reader = stage.client("p", user="u", clean=False, present=True)
    assert [p.payload for p in reader.publishes()] == [b"2"]


def test_absent_session_loses_what_it_may_not_have_when_rights_change() -> None:
    stage = two_sensors()
    absent_reader(stage)
    stage.rights.subscribe_denied.add("organizations")
    stage.events.publish(IdentityChanged("u"))
    stage.rights.subscribe_denied.clear()
    stage.broker.publish("organizations/1/broadcast", b"3")
    reader = stage.client("p", user="u", clean=False, present=True)
    assert [p.payload for p in reader.publishes()] == [b"2"]


def test_resumed_session_waits_for_its_rights() -> None:
    stage = two_sensors()
    absent_reader(stage)
    stage.rights.door.later = True
    client = stage.open()
    client.send(Connect("p", clean_session=False, username="u", password=b"pw"), PingReq())
    assert client.take() == b""
    stage.rights.door.open()
    assert len(client.packets()) == 4


def test_client_that_takes_over_while_the_first_waits_gets_the_session() -> None:
    stage = two_sensors()
    absent_reader(stage)
    stage.rights.door.later = True
    first, second = stage.open(), stage.open()
    for client in (first, second):
        client.send(Connect("p", clean_session=False, username="u", password=b"pw"))
    assert first.closed
    stage.rights.door.open()
    assert first.take() == b""
    assert [type(packet).__name__ for packet in second.packets()] == [
        "ConnAck",
        "Publish",
        "Publish",
    ]


def test_topics_denied_inside_a_granted_filter_are_left_out() -> None:
    stage = Stage()
    stage.rights.receive_denied.add("secret")
    for topic in ("a/secret", "a/open"):
        stage.broker.publish(topic, b"kept", retain=True)
    client = stage.client("c")
    got = client.subscribe(("a/#", 0))[1:]
    for topic in ("a/secret", "a/open"):
        stage.broker.publish(topic, b"live")
    got += client.packets()
    assert [(p.topic, p.payload) for p in got if isinstance(p, Publish)] == [
        ("a/open", b"kept"),
        ("a/open", b"live"),
    ]


def test_one_client_can_be_disconnected_by_name() -> None:
    stage = two_sensors()
    mine, other = stage.client("c", user="u"), stage.client("d", user="u")
    administration = Administration(stage.broker)
    assert not administration.disconnect("sensor:v", "c", "test")
    assert administration.disconnect("sensor:u", "c", "test")
    assert (mine.closed, other.closed) == (True, False)
