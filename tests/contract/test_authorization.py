"""Who may publish, subscribe and join where (docs/access.rst), over real rows."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aemos.config.schema import Acl, AclRule, Ingest
from aemos.model import ANONYMOUS, SERVER, Principal, PrincipalKind
from aemos.services.authorization import Authorization
from aemos.services.catalogue import Catalogue
from aemos.services.events import Events
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

ALL = frozenset({"device.view", "device.update", "sensor.view"})


def plant(tx: Transaction) -> dict[str, int]:
    """Two organizations, each with a sensor (with one variable) and a pump."""
    ids = {}
    for letter in "ab":
        ids[letter] = organization = tx.insert("Organization", {"name": letter, "status": "active"})
        area = tx.insert(
            "Area",
            {"name": letter, "organizationId": organization, "uuid": letter, "status": "active"},
        )
        sensor = tx.insert("Sensor", {"name": "s", "uuid": f"sensor-{letter}", "status": "active"})
        tx.insert("AreaSensor", {"areaId": area, "sensorId": sensor})
        ids[f"variable-{letter}"] = tx.insert(
            "TelemetryData", {"variableName": "t", "sensorId": sensor}
        )
        pump = tx.insert(
            "Device",
            {"name": "p", "uuid": f"pump-{letter}", "deviceType": "actuator", "status": "active"},
        )
        tx.insert("AreaDevice", {"areaId": area, "deviceId": pump})
        ids[f"pump-{letter}"] = pump
    return ids


class Asked:
    """Authorization over the planted rows, asked with plain awaits."""

    def __init__(self, database: Database, ids: dict[str, int]) -> None:
        self.database, self.ids = database, ids
        self.catalogue = Catalogue(database, Events(), Ingest(), reactor)
        self.configure(Acl())
        organization = {ids["a"]: frozenset[str]()}
        self.sensor = Principal(PrincipalKind.SENSOR, "sensor-a", 1, organization)
        self.pump = Principal(PrincipalKind.DEVICE, "pump-a", 1, organization)
        self.user = Principal(PrincipalKind.USER, "u@a", 7, {ids["a"]: ALL})
        self.viewer = Principal(
            PrincipalKind.USER, "v@a", 8, {ids["a"]: frozenset({"device.view"})}
        )

    def configure(self, acl: Acl, anonymous: tuple[str, ...] = ()) -> None:
        self.authorization = Authorization(self.catalogue, self.database, reactor, acl, anonymous)

    async def publish(self, who: Principal, topic: str, client: str = "c") -> bool:
        answer: Deferred[bool] = Deferred()
        self.authorization.may_publish(who, client, topic, answer.callback)
        return await answer

    async def subscribe(self, who: Principal, filter: str, client: str = "c") -> bool:
        answer: Deferred[bool] = Deferred()
        self.authorization.may_subscribe(who, client, filter, answer.callback)
        return await answer

    async def join(self, who: Principal, room: str) -> bool:
        answer: Deferred[bool] = Deferred()
        self.authorization.may_join(who, room, answer.callback)
        return await answer


@pytest.fixture
def asked(database: Database) -> Asked:
    return Asked(database, pytest_twisted.blockon(database.transact(plant)))


@pytest.mark.parametrize(
    ("topic", "granted"),
    [
        ("devices/sensor-a/datastream", True),
        ("devices/sensor-a/status", True),
        ("devices/sensor-a/state", True),
        ("devices/sensor-a/commands", True),
        ("devices/sensor-a/errors", False),
        ("devices/sensor-a/commands/ack", True),
        ("devices/sensor-b/commands/ack", False),
        ("devices/sensor-a", False),
        ("devices/sensor-b/datastream", False),
        ("devices/pump-a/commands", False),
        ("organizations/1/broadcast", False),
        ("anything", False),
    ],
)
async def test_a_sensor_publishes_its_own_topics_only(
    asked: Asked, topic: str, granted: bool
) -> None:
    assert await asked.publish(asked.sensor, topic) is granted


async def test_a_sensor_hears_itself_its_organization_and_the_actuators_there(asked: Asked) -> None:
    own, foreign = asked.ids["a"], asked.ids["b"]
    for filter in (
        "devices/sensor-a/#",
        "devices/sensor-a/+",
        f"organizations/{own}/#",
        "devices/pump-a/state",
    ):
        assert await asked.subscribe(asked.sensor, filter), filter
    for filter in (
        "#",
        "+/+/+",
        "devices/#",
        "devices/+/state",
        "devices/sensor-b/#",
        "devices/pump-b/state",
        "devices/nobody/state",
        f"organizations/{foreign}/#",
        "organizations/+/broadcast",
        "organizations/x/#",
        "organizations/²/#",
        f"organizations/{'9' * 5000}/#",
        "$SYS/#",
        "other/topic",
    ):
        assert not await asked.subscribe(asked.sensor, filter), filter


async def test_a_device_has_its_own_commands_and_the_broadcasts(asked: Asked) -> None:
    own = asked.ids["a"]
    assert await asked.publish(asked.pump, "devices/pump-a/commands/ack")
    assert await asked.publish(asked.pump, "devices/pump-a/state")
    assert not await asked.publish(asked.pump, "devices/pump-a/commands")
    assert not await asked.publish(asked.pump, "devices/sensor-a/datastream")
    assert await asked.subscribe(asked.pump, "devices/pump-a/commands")
    assert await asked.subscribe(asked.pump, f"organizations/{own}/broadcast")
    assert not await asked.subscribe(asked.pump, f"organizations/{own}/#")
    assert not await asked.subscribe(asked.pump, "devices/sensor-a/datastream")


async def test_a_user_follows_the_permissions_of_the_organization(asked: Asked) -> None:
    own, foreign = asked.ids["a"], asked.ids["b"]
    assert await asked.publish(asked.user, "devices/pump-a/commands")
    assert await asked.publish(asked.user, f"organizations/{own}/broadcast")
    assert not await asked.publish(asked.viewer, "devices/pump-a/commands")
    assert not await asked.publish(asked.user, "devices/pump-b/commands")
    for not_own in (foreign, "²", "9" * 5000):
        assert not await asked.publish(asked.user, f"organizations/{not_own}/broadcast")
    assert not await asked.publish(asked.user, "devices/sensor-a/datastream")
    assert await asked.subscribe(asked.user, "devices/sensor-a/#")
    assert not await asked.subscribe(asked.viewer, "devices/sensor-a/#")
    assert await asked.subscribe(asked.viewer, "devices/pump-a/#")
    assert not await asked.subscribe(asked.user, "devices/pump-b/#")


async def test_the_server_and_administrators_may_all(asked: Asked) -> None:
    admin = Principal(PrincipalKind.USER, "root@x", 1, administrator=True)
    for who in (SERVER, admin):
        assert await asked.subscribe(who, "#")
        assert await asked.subscribe(who, "$SYS/#")
        assert await asked.publish(who, "devices/pump-b/commands")


async def test_anonymous_clients_may_only_bring_messages_that_carry_a_token(asked: Asked) -> None:
    assert await asked.publish(ANONYMOUS, "devices/sensor-a/datastream")
    assert not await asked.publish(ANONYMOUS, "devices/sensor-a/commands")
    assert not await asked.subscribe(ANONYMOUS, "devices/sensor-a/#")
    assert not await asked.subscribe(ANONYMOUS, "#")


async def test_open_mode_allows_all_but_what_a_rule_denies(asked: Asked) -> None:
    asked.configure(Acl("open", (AclRule(deny="subscribe", topic="test/nosubscribe"),)))
    assert await asked.publish(ANONYMOUS, "test/nosubscribe")
    assert await asked.subscribe(ANONYMOUS, "#")
    assert not await asked.subscribe(ANONYMOUS, "test/nosubscribe")
    assert not await asked.subscribe(ANONYMOUS, "$SYS/#")
    assert asked.authorization.filters_delivery
    assert not asked.authorization.may_receive(ANONYMOUS, "c", "test/nosubscribe")
    assert asked.authorization.may_receive(ANONYMOUS, "c", "test/other")


async def test_the_first_matching_rule_decides(asked: Asked) -> None:
    asked.configure(
        Acl(
            "devices",
            (
                AclRule(deny="publish", topic="site/%u/secret", user="sensor-*"),
                AclRule(allow="both", topic="site/%u/#", user="sensor-*"),
                AclRule(allow="subscribe", topic="client/%c/#", client="gw-*"),
            ),
        )
    )
    assert await asked.publish(asked.sensor, "site/sensor-a/x")
    assert not await asked.publish(asked.sensor, "site/sensor-a/secret")
    assert not await asked.publish(asked.sensor, "site/sensor-b/x")
    assert await asked.subscribe(asked.sensor, "site/sensor-a/#")
    assert not await asked.subscribe(asked.sensor, "site/#")
    assert not await asked.publish(asked.pump, "site/pump-a/x")
    assert await asked.subscribe(asked.sensor, "client/gw-1/x", client="gw-1")
    assert not await asked.subscribe(asked.sensor, "client/gw-1/x", client="other")


async def test_names_that_nobody_checked_or_that_hold_wildcards_open_nothing(asked: Asked) -> None:
    asked.configure(
        Acl(
            "devices",
            (AclRule(allow="both", topic="site/%c/#"), AclRule(allow="both", topic="u/%u/#")),
        )
    )
    assert not await asked.subscribe(ANONYMOUS, "site/c/#")
    assert not await asked.subscribe(asked.sensor, "site/#", client="#")
    assert not await asked.subscribe(asked.sensor, "site/+/#", client="+")
    assert not await asked.publish(ANONYMOUS, "u//x")


async def test_rooms_are_joined_within_ones_organization(asked: Asked) -> None:
    ids = asked.ids
    for room in (
        f"telemetry-{ids['variable-a']}",
        "device-uuid-pump-a",
        f"device-{ids['pump-a']}",
        "device-uuid-sensor-a",
        f"organization-{ids['a']}",
        "7",
    ):
        assert await asked.join(asked.user, room), room
    for room in (
        f"telemetry-{ids['variable-b']}",
        "telemetry-999999",
        "telemetry-x",
        "device-uuid-pump-b",
        f"device-{ids['pump-b']}",
        f"organization-{ids['b']}",
        "organization-",
        "8",
        "",
        "everything",
        "²",
        "telemetry-²",
        f"device-{'9' * 25}",
        f"organization-{'9' * 5000}",
    ):
        assert not await asked.join(asked.user, room), room
    assert not await asked.join(asked.viewer, f"telemetry-{ids['variable-a']}")


async def test_a_system_admin_joins_the_rooms_of_what_is_in_no_area_yet(asked: Asked) -> None:
    administrator = Principal(PrincipalKind.USER, "root@x", 1, administrator=True)

    def plant(tx: Transaction) -> int:
        sensor = tx.insert("Sensor", {"name": "s", "uuid": "new", "status": "active"})
        return tx.insert("TelemetryData", {"variableName": "t", "sensorId": sensor})

    variable = await asked.database.transact(plant)
    for room in (f"telemetry-{variable}", "device-uuid-new"):
        assert await asked.join(administrator, room), room
        assert not await asked.join(asked.user, room), room
    assert not await asked.join(administrator, "7")  # of another user


async def test_anonymous_sockets_join_telemetry_rooms_of_listed_organizations_only(
    asked: Asked,
) -> None:
    ids = asked.ids
    rooms = [
        f"telemetry-{ids['variable-a']}",
        f"telemetry-{ids['variable-b']}",
        "device-uuid-pump-a",
        "0",
    ]
    assert [await asked.join(ANONYMOUS, room) for room in rooms] == [False, False, False, False]
    asked.configure(Acl(), (str(ids["a"]),))
    assert [await asked.join(ANONYMOUS, room) for room in rooms] == [True, False, False, False]
    asked.configure(Acl(), ("all",))
    assert [await asked.join(ANONYMOUS, room) for room in rooms] == [True, True, False, False]
