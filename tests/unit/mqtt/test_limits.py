"""Self-defence: who comes too often, too fast or with guesses waits or stays out, nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from aemos.config.schema import Mqtt
from aemos.model import Principal, PrincipalKind
from aemos.mqtt.counters import Counters
from aemos.mqtt.guard import Guard, Recent, address_key
from aemos.mqtt.limits import Bucket
from aemos.mqtt.packets import ConnAck, Connect, PubAck, Publish
from tests.mqtt_stage import Client, Stage, sensor

HERE, THERE = IPv4Address("TCP", "10.0.0.1", 1), IPv4Address("TCP", "10.0.0.2", 1)
UNAVAILABLE, NOT_AUTHORIZED = ConnAck(3), ConnAck(5)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What was logged as a warning."""
    found: list[str] = []

    def observe(event: dict[str, object]) -> None:
        if getattr(event.get("log_level"), "name", "") == "warn":
            found.append(str(event["log_format"]))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def let_in(stage: Stage, address: object = HERE) -> bool:
    return stage.broker.admits(address)


def knock(stage: Stage, address: IPv4Address = HERE) -> Client:
    """A connection that was let in."""
    return Client(stage, address=address)


def connect(
    stage: Stage, user: str = "u", password: bytes = b"pw", client_id: str = "c"
) -> tuple[Client, list[object]]:
    """@return: a client that has sent its CONNECT, and the answer so far."""
    client = stage.open()
    client.send(Connect(client_id, username=user, password=password))
    return client, list(client.packets())


def known(**settings: object) -> Stage:
    stage = Stage(**settings)
    stage.login.known |= {"u": sensor("u"), "v": sensor("v")}
    return stage


# ---------------------------------------------------------------------- connections


def test_one_address_has_so_many_connections_and_others_are_not_disturbed() -> None:
    stage = Stage(max_per_address=2)
    first, second = knock(stage), knock(stage)
    assert not let_in(stage)
    assert let_in(stage, THERE)
    first.drop()
    assert let_in(stage)
    knock(stage)
    second.drop()
    assert let_in(stage)
    totals = stage.broker.totals()
    assert (totals.turned_away, totals.limited) == (1, {"mqtt.max_per_address": 1})


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(host: str, key: str) -> None:
    assert address_key(host) == key


def test_limits_by_address_do_not_concern_unix_sockets() -> None:
    stage = Stage(max_per_address=1, connect_rate_per_address=0.1)
    assert all(let_in(stage, UNIXAddress("/run/x")) for _ in range(10))
    assert let_in(stage, IPv6Address("TCP", "2001:db8::1", 1))


def test_connects_of_one_address_are_limited_by_time_after_a_burst() -> None:
    stage = Stage(connect_rate_per_address=2, connect_rate=0)
    assert [let_in(stage) for _ in range(21)] == [True] * 20 + [False]
    assert let_in(stage, THERE)
    stage.clock.advance(1)
    assert [let_in(stage) for _ in range(3)] == [True, True, False]


def test_connects_of_all_are_limited_by_time_after_a_burst() -> None:
    stage = Stage(connect_rate=1)
    taken = [let_in(stage, (HERE, THERE)[n % 2]) for n in range(12)]
    assert taken == [True] * 10 + [False] * 2
    stage.clock.advance(1)
    assert let_in(stage)
    assert stage.broker.totals().limited == {"mqtt.connect_rate": 2}


def test_each_cause_is_logged_once_a_minute(warnings: list[str]) -> None:
    stage = Stage(max_per_address=1)
    knock(stage).send(Connect("c"))
    for _ in range(5):
        assert not let_in(stage)
    assert len(warnings) == 1
    stage.clock.advance(60)
    assert not let_in(stage)
    assert len(warnings) == 2
    assert stage.broker.totals().turned_away == 6


def test_one_device_has_so_many_connections_and_may_replace_each() -> None:
    stage = known(max_per_device=2)
    stage.client("a", user="u")
    stage.client("b", user="u")
    assert connect(stage, client_id="c")[1] == [UNAVAILABLE]
    assert connect(stage, client_id="b")[1] == [ConnAck(0)]
    assert connect(stage, "v", client_id="c")[1] == [ConnAck(0)]
    for name in ("x", "y", "z"):
        stage.client(name)  # anonymous clients are no device
    assert stage.broker.totals().limited == {"mqtt.max_per_device": 1}


# ---------------------------------------------------------------------- publishing


def publish(client: Client, count: int, start: int = 1, payload: bytes = b"") -> None:
    client.send(*(Publish("a", payload, 1, packet_id=start + n) for n in range(count)))


def test_a_device_that_publishes_too_fast_is_read_more_slowly_and_loses_nothing() -> None:
    stage = known(publish_rate=10)
    client = stage.client("c", user="u")
    publish(client, 10)
    assert client.transport.producerState == "producing"
    publish(client, 20, 11)
    assert client.transport.producerState == "paused"
    assert client.packets() == [PubAck(n) for n in range(1, 31)]
    publish(client, 5, 31)  # what was on its way already
    assert client.packets() == []
    stage.clock.advance(1.9)
    assert client.packets() == []
    stage.clock.advance(0.2)
    assert client.packets() == [PubAck(n) for n in range(31, 36)]
    stage.clock.advance(1)
    assert client.transport.producerState == "producing"
    assert stage.broker.totals().throttled == 2


def test_bytes_count_as_well_as_messages() -> None:
    stage = known(publish_bytes=1000)
    client = stage.client("c", user="u")
    publish(client, 1, payload=b"x" * 3000)
    assert client.transport.producerState == "paused"
    stage.clock.advance(1.9)
    assert client.transport.producerState == "paused"
    stage.clock.advance(0.2)
    assert client.transport.producerState == "producing"


def test_all_connections_of_a_device_share_its_allowance() -> None:
    stage = known(publish_rate=10)
    one, two, other = (stage.client(n, user=u) for n, u in (("a", "u"), ("b", "u"), ("c", "v")))
    publish(one, 10)
    publish(two, 1)
    publish(other, 10)
    states = [client.transport.producerState for client in (one, two, other)]
    assert states == ["producing", "paused", "producing"]


def test_anonymous_clients_have_an_allowance_each() -> None:
    stage = Stage(publish_rate=10)
    one, two = stage.client("a"), stage.client("b")
    publish(one, 11)
    publish(two, 1)
    assert one.transport.producerState == "paused"
    assert two.transport.producerState == "producing"


def test_a_client_that_waits_is_not_taken_for_dead() -> None:
    stage = known(publish_rate=1)
    client = stage.client("c", user="u", keep_alive=2)
    publish(client, 20)
    stage.clock.pump([1.0] * 15)
    assert not client.closed


def test_a_client_that_leaves_while_it_waits_leaves_no_timer() -> None:
    stage = known(publish_rate=1)
    before = len(stage.clock.getDelayedCalls())
    client = stage.client("c", user="u")
    publish(client, 20)
    client.drop()
    assert len(stage.clock.getDelayedCalls()) == before


def test_too_fast_is_logged_once_for_a_connection(warnings: list[str]) -> None:
    stage = known(publish_rate=1)
    client = stage.client("c", user="u")
    for start in (1, 11, 21):
        publish(client, 10, start)
        stage.clock.advance(20)
    assert stage.broker.totals().throttled == 3
    assert len(warnings) == 1


def test_a_bucket_fills_with_time_up_to_its_brim() -> None:
    clock = Clock()
    bucket = Bucket(2, 4, clock)
    assert [bucket.has(1) for _ in range(5)] == [True] * 4 + [False]
    clock.advance(1)
    assert [bucket.has(1) for _ in range(3)] == [True, True, False]
    clock.advance(100)
    assert bucket.take(10) == 3.0
    clock.advance(3)
    assert bucket.take(0) == 0.0


# ---------------------------------------------------------------------- flapping


def test_a_client_that_comes_too_often_is_banned_for_a_while() -> None:
    stage = known(flapping_connects=3, flapping_window=10.0, ban_time=60)
    for _ in range(3):
        assert connect(stage)[1] == [ConnAck(0)]
    assert connect(stage)[1] == [UNAVAILABLE]
    (ban,) = stage.broker.guard.bans()
    assert (ban.kind, ban.name) == ("client", "sensor:u c")
    assert ban.reason == "3 connects in 10 s"
    assert ban.until - ban.since == 60_000
    assert connect(stage)[1] == [UNAVAILABLE]
    assert connect(stage, client_id="other")[1] == [ConnAck(0)]
    stage.clock.advance(60)
    assert stage.broker.guard.bans() == []
    assert connect(stage)[1] == [ConnAck(0)]
    totals = stage.broker.totals()
    assert (totals.banned, totals.limited) == (1, {"banned": 2})


def test_the_one_that_is_connected_stays_when_the_next_is_banned() -> None:
    stage = known(flapping_connects=1)
    client = stage.client("c", user="u")
    assert connect(stage)[1] == [UNAVAILABLE]
    assert not client.closed


def test_a_client_that_comes_again_now_and_then_is_not_banned() -> None:
    stage = known(flapping_connects=3, flapping_window=10.0)
    for _ in range(10):
        assert connect(stage)[1] == [ConnAck(0)]
        stage.clock.advance(4)


def test_who_has_no_name_cannot_get_the_client_id_of_others_banned() -> None:
    guard = Guard(Mqtt(flapping_connects=1), Clock(), Counters())
    nobody = Principal(PrincipalKind.ANONYMOUS)
    assert guard.refusal(nobody, "c", "10.0.0.1", 0) == ""
    assert guard.refusal(nobody, "c", "10.0.0.1", 0) != ""
    assert guard.refusal(nobody, "c", "10.0.0.2", 0) == ""
    assert guard.refusal(sensor("u"), "c", "10.0.0.1", 0) == ""


def test_a_lifted_ban_is_over() -> None:
    stage = known(flapping_connects=1)
    connect(stage), connect(stage)
    (ban,) = stage.broker.guard.bans()
    assert stage.broker.guard.lift(ban.id)
    assert not stage.broker.guard.lift(ban.id)
    assert connect(stage)[1] == [ConnAck(0)]


# ---------------------------------------------------------------------- failed sign-ins


def test_an_address_that_guesses_waits_longer_and_longer_and_is_banned() -> None:
    stage = known(max_failed_logins=20, ban_time=60)
    waits = []
    for attempt in range(20):
        client, answer = connect(stage, password=b"guess %d" % attempt)
        wait = 0.0
        while not answer:
            stage.clock.advance(0.1)
            wait += 0.1
            answer = list(client.packets())
        assert answer == [NOT_AUTHORIZED]
        waits.append(round(wait, 1))
    assert waits[:10] == [0] * 10
    growing = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5]
    assert waits[10:] == pytest.approx(growing, abs=0.11)  # looked at ten times a second
    (ban,) = stage.broker.guard.bans()
    assert (ban.kind, ban.name) == ("address", "192.168.1.1")
    assert ban.reason == "20 failed sign-ins in 600 s"
    there = IPv4Address("TCP", "192.168.1.1", 9)
    assert not let_in(stage, there)
    assert let_in(stage, THERE)
    stage.clock.advance(60)
    assert let_in(stage, there)


def test_a_device_that_is_set_up_wrongly_bans_nobody_however_often_it_tries() -> None:
    stage = known(max_failed_logins=2)
    for _ in range(50):
        assert connect(stage, password=b"old token")[1] == [NOT_AUTHORIZED]
    assert stage.broker.guard.bans() == []
    connect(stage, password=b"another")
    assert len(stage.broker.guard.bans()) == 1


def test_failures_are_forgotten_after_a_while() -> None:
    stage = known(max_failed_logins=3, failed_login_window=10.0)
    for attempt in range(10):
        connect(stage, password=b"%d" % attempt)
        stage.clock.advance(6)
    assert stage.broker.guard.bans() == []


@pytest.mark.parametrize(("user", "password"), [("u", b"wrong"), ("unknown", b"pw")])
def test_whatever_is_wrong_the_refusal_comes_at_the_same_time(user: str, password: bytes) -> None:
    for took in (0.0, 0.15):
        stage = known(refusal_time=0.2)
        stage.login.door.later = True
        client, answer = connect(stage, user, password)
        stage.clock.advance(took)
        stage.login.door.open()
        stage.clock.advance(0.19 - took)
        assert answer == client.packets() == []
        stage.clock.advance(0.02)
        assert client.packets() == [NOT_AUTHORIZED]


def test_a_client_that_leaves_before_its_refusal_leaves_no_timer() -> None:
    stage = known(refusal_time=0.2)
    client, _ = connect(stage, password=b"wrong")
    client.drop()
    assert stage.clock.getDelayedCalls() == []


def test_who_gives_no_name_is_refused_at_once_and_guesses_nothing() -> None:
    stage = known(refusal_time=0.2, max_failed_logins=1)
    stage.login.known.clear()
    client = stage.open()
    client.send(Connect("c", username="", password=b""))
    assert client.packets() == [NOT_AUTHORIZED]
    assert stage.broker.guard.bans() == []


# ---------------------------------------------------------------------- memory


def test_what_is_remembered_is_bounded() -> None:
    recent: Recent[int] = Recent(3)
    for number in range(5):
        recent.set(str(number), number)
    recent.set("2", 7)
    recent.set("5", 5)
    assert list(recent.values()) == [4, 7, 5]


def test_addresses_without_connections_are_not_remembered() -> None:
    stage = Stage()
    for number in range(100):
        knock(stage, IPv4Address("TCP", f"10.0.1.{number}", 1)).drop()
    assert not stage.broker.guard._open


def test_clients_of_trusted_networks_are_not_kept_out() -> None:
    settings = Mqtt(
        trusted_networks=("10.0.0.0/8", "::1"),
        connect_rate_per_address=0.1,
        flapping_connects=1,
        max_failed_logins=1,
    )
    guard = Guard(settings, Clock(), Counters())
    client = Principal(PrincipalKind.SENSOR, "u")
    for host in ("10.1.2.3", "::ffff:10.1.2.3", "::1"):
        assert [guard.refusal(client, "c", host, 0) for _ in range(3)] == ["", "", ""]
        assert guard.failed(host, "u", b"guess") == 0.0
        assert [guard.objection(host) for _ in range(20)] == [""] * 20
    assert guard.failed("192.0.2.1", "u", b"guess") == 0.0
    assert guard.objection("192.0.2.1") == "banned"
