"""`/mqtt`: who is connected and who was, what is retained, and whose business that is."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.model import Principal, PrincipalKind
from aemos.mqtt.packets import PubAck, Publish
from tests.farm import NORTH, PUMPS, SOUTH, UUIDS, Farm
from tests.mqtt_stage import Client


def sensor(farm: Farm, organization: int, client_id: str, **options: Any) -> Client:
    """The sensor of an organization, connected."""
    farm.mqtt.login.known |= {
        UUIDS[org]: Principal(PrincipalKind.SENSOR, UUIDS[org], org, {org: frozenset()})
        for org in (NORTH, SOUTH)
    }
    return farm.mqtt.client(client_id, user=UUIDS[organization], **options)


async def clients(farm: Farm, who: str = "root", query: str = "") -> list[dict[str, Any]]:
    reply = await farm.call("GET", f"/mqtt/clients{query}", who)
    assert reply.status == 200, reply.body
    assert reply.body["results"] == len(reply.data["clients"])
    found: list[dict[str, Any]] = reply.data["clients"]
    return found


async def test_a_connected_client_is_shown_with_live_figures(farm: Farm) -> None:
    client = sensor(farm, NORTH, "one", keep_alive=30)
    client.subscribe(("a/#", 1))
    (shown,) = await clients(farm)
    client.send(Publish("x", b"1", 1, packet_id=1))
    farm.mqtt.broker.publish("a/b", b"x")
    reply = await farm.call("GET", f"/mqtt/clients/{shown['id']}", "root")
    now = reply.data["client"]
    assert (now["clientId"], now["kind"], now["name"]) == ("one", "sensor", UUIDS[NORTH])
    assert (now["peer"], now["transport"]) == ("192.168.1.1:54321", "tcp")
    assert (now["protocolLevel"], now["cleanSession"], now["keepAlive"]) == (4, True, 30)
    assert now["connectedAt"] == "2023-11-14T22:13:20.000Z"
    assert (now["connected"], now["disconnectedAt"], now["disconnectReason"]) == (True, None, None)
    assert (now["subscriptions"], now["inFlight"], now["queued"]) == (1, 1, 0)
    assert now["filters"] == [{"filter": "a/#", "qos": 1}]
    assert (now["messagesReceived"], now["messagesSent"]) == (1, 1)
    assert now["bytesReceived"] > 0


async def test_a_client_that_is_gone_keeps_its_record_and_the_reason(farm: Farm) -> None:
    client = sensor(farm, NORTH, "one")
    client.send(Publish("x", b"1", 1, packet_id=1))
    client.send(b"\x00\x00")
    farm.mqtt.clock.advance(5)
    sensor(farm, NORTH, "two").send(b"\xe0\x00")
    one, two = await clients(farm)
    assert (one["connected"], two["connected"]) == (False, False)
    assert one["disconnectReason"].startswith("protocol error")
    assert two["disconnectReason"] == "disconnect"
    assert (one["messagesReceived"], two["messagesReceived"]) == (1, 0)
    assert one["disconnectedAt"] < two["disconnectedAt"]


async def test_what_waits_for_an_absent_client_is_shown(farm: Farm) -> None:
    for name, clean in (("durable", False), ("clean", True)):
        client = sensor(farm, NORTH, name, clean=clean)
        client.subscribe(("a/#", 1))
        client.drop()
    farm.mqtt.broker.publish("a/b", b"12345")
    farm.mqtt.turn()
    durable, clean = await clients(farm)
    names = ("subscriptions", "queued", "queuedBytes")
    assert [durable[name] for name in names] == [1, 1, 8]
    assert [clean[name] for name in names] == [0, 0, 0]
    shown = [
        (await farm.call("GET", f"/mqtt/clients/{each['id']}", "root")).data["client"]["filters"]
        for each in (durable, clean)
    ]
    assert shown == [[{"filter": "a/#", "qos": 1}], []]


async def test_one_client_has_one_record_however_often_it_comes(farm: Farm) -> None:
    sensor(farm, NORTH, "one").drop()
    await clients(farm)
    sensor(farm, NORTH, "one")
    (shown,) = await clients(farm)
    assert (shown["connected"], shown["disconnectReason"]) == (True, None)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["one", "two", "three"]),
        ("?connected=true", ["one", "three"]),
        ("?connected=false", ["two"]),
        ("?search=T", ["two", "three"]),
        (f"?name={UUIDS[SOUTH]}", ["three"]),
        ("?sort=-clientId&limit=2", ["two", "three"]),
        ("?sort=clientId&limit=2&offset=2", ["two"]),
    ],
)
async def test_the_list_is_filtered_sorted_and_paged(
    farm: Farm, query: str, names: list[str]
) -> None:
    sensor(farm, NORTH, "one")
    await clients(farm)
    sensor(farm, NORTH, "two").drop()
    await clients(farm)
    sensor(farm, SOUTH, "three")
    assert [client["clientId"] for client in await clients(farm, query=query)] == names


@pytest.mark.parametrize("query", ["?sort=peer", "?connected=perhaps", "?limit=0"])
async def test_a_query_that_means_nothing_is_refused(farm: Farm, query: str) -> None:
    assert (await farm.call("GET", f"/mqtt/clients{query}", "root")).status == 400


async def test_an_organization_sees_its_own_devices_only(farm: Farm) -> None:
    for organization in (NORTH, SOUTH):
        sensor(farm, organization, f"c{organization}")
    farm.mqtt.client("user", user="root")
    farm.mqtt.client("anonymous")
    assert len(await clients(farm)) == 4
    (north,) = await clients(farm, "north-admin")
    (south,) = await clients(farm, "mixed")
    assert (north["clientId"], south["clientId"]) == ("c1", "c2")
    for method in ("GET", "DELETE"):
        reply = await farm.call(method, f"/mqtt/clients/{north['id']}", "south-admin")
        assert reply.status == 404
    assert [c.client_id for c in farm.mqtt.broker.clients() if c.client_id == "c1"] == ["c1"]


async def test_a_device_that_moved_takes_its_record_along(farm: Farm) -> None:
    sensor(farm, NORTH, "one").drop()
    assert len(await clients(farm, "north-admin")) == 1
    await farm.run("UPDATE AreaSensor SET areaId = %s WHERE sensorId = %s", SOUTH, NORTH)
    assert await clients(farm, "north-admin") == []
    assert len(await clients(farm, "south-admin")) == 1


@pytest.mark.parametrize("path", ["/clients", "/clients/1", "/stats", "/retained"])
async def test_who_may_not_change_devices_sees_nothing(farm: Farm, path: str) -> None:
    for who in ("north-viewer", "member", "nobody"):
        assert (await farm.call("GET", f"/mqtt{path}", who)).status == 403
    assert (await farm.call("GET", f"/mqtt{path}")).status == 401


async def test_a_client_is_disconnected_and_may_come_back(farm: Farm) -> None:
    client = sensor(farm, NORTH, "one")
    (shown,) = await clients(farm, "north-admin")
    path = f"/mqtt/clients/{shown['id']}"
    assert (await farm.call("DELETE", path, "north-admin")).status == 204
    assert client.closed
    (shown,) = await clients(farm)
    assert shown["disconnectReason"] == "disconnected by the server: by na@x.example"
    again = await farm.call("DELETE", path, "north-admin")
    assert (again.status, again.body["message"]) == (404, "The client is not connected")
    assert not sensor(farm, NORTH, "one").closed


async def test_stats_hold_the_figures_of_the_original_and_more(farm: Farm) -> None:
    sensor(farm, NORTH, "one").send(Publish("a", b"", 1, packet_id=1))
    farm.mqtt.client("anonymous").subscribe(("$share/g/a", 0))
    stats = (await farm.call("GET", "/mqtt/stats", "root")).data
    original = {
        "isInitialized": True,
        "connectedClients": 2,
        "authenticatedClients": 1,
        "port": 1883,
        "host": "0.0.0.0",
    }
    assert {key: stats[key] for key in original} == original
    assert (stats["messagesReceived"], stats["sharedSubscriptions"]) == (1, 1)
    own = (await farm.call("GET", "/mqtt/stats", "south-admin")).data
    assert own == {**original, "connectedClients": 0, "authenticatedClients": 0}


async def test_retained_messages_are_listed_to_whom_they_concern(farm: Farm) -> None:
    for topic in (
        f"devices/{UUIDS[NORTH]}/x",
        f"devices/{PUMPS[SOUTH]}/x",
        "organizations/1/x",
        "organizations/2/x",
        "other",
    ):
        farm.mqtt.broker.publish(topic, b"\xffy", retain=True)
    reply = await farm.call("GET", "/mqtt/retained?limit=2", "root")
    assert (reply.body["results"], reply.body["total"]) == (2, 5)
    reply = await farm.call("GET", "/mqtt/retained?topic=other", "root")
    assert reply.data["messages"] == [{"topic": "other", "qos": 1, "size": 2, "payload": "\ufffdy"}]
    reply = await farm.call("GET", "/mqtt/retained", "north-admin")
    assert [message["topic"] for message in reply.data["messages"]] == [
        f"devices/{UUIDS[NORTH]}/x",
        "organizations/1/x",
    ]
    assert (await farm.call("GET", "/mqtt/retained?topic=a/%23/b", "root")).status == 400


async def test_of_too_many_records_those_gone_longest_are_forgotten(farm: Farm) -> None:
    for number in range(6):  # the farm keeps 4
        client = sensor(farm, NORTH, f"c{number}")
        if number != 1:
            client.drop()
        farm.mqtt.clock.advance(1)
        await clients(farm)
    assert [shown["clientId"] for shown in await clients(farm)] == ["c1", "c3", "c4", "c5"]


async def test_after_a_crash_nobody_counts_as_connected(farm: Farm) -> None:
    sensor(farm, NORTH, "one")
    await clients(farm)
    await farm.clients.start()
    rows = await farm.rows("SELECT disconnect_reason, disconnected_at FROM mqtt_client")
    assert rows[0]["disconnect_reason"] == "the server ended"
    assert rows[0]["disconnected_at"] is not None


async def test_stopping_writes_down_who_was_there(farm: Farm) -> None:
    sensor(farm, NORTH, "one")
    await farm.clients.stop()
    (row,) = await farm.rows("SELECT client_id, disconnect_reason FROM mqtt_client")
    assert row == {"client_id": "one", "disconnect_reason": "server is stopping"}


async def test_the_longest_client_id_and_text_of_any_kind_are_remembered(farm: Farm) -> None:
    for name in ("x" * 65_000, "Grün/+#😀", "grün/+#😀"):
        sensor(farm, NORTH, name)
    assert len(await clients(farm)) == 3
    farm.mqtt.client("acked").send(PubAck(9))


async def test_bans_are_listed_and_lifted_by_administrators_alone(farm: Farm) -> None:
    for _ in range(61):  # one more than mqtt.flapping_connects
        user = UUIDS[NORTH]
        farm.mqtt.broker.guard.refusal(Principal(PrincipalKind.SENSOR, user), "c", "", 0)
    reply = await farm.call("GET", "/mqtt/bans", "root")
    (ban,) = reply.data["bans"]
    assert ban == {
        "id": 1,
        "kind": "client",
        "name": f"sensor:{UUIDS[NORTH]} c",
        "reason": "60 connects in 60 s",
        "since": "2023-11-14T22:13:20.000Z",
        "until": "2023-11-14T22:18:20.000Z",
    }
    for method, path in (("GET", "/mqtt/bans"), ("DELETE", "/mqtt/bans/1")):
        assert (await farm.call(method, path, "north-admin")).status == 403
    assert (await farm.call("DELETE", "/mqtt/bans/1", "root")).status == 204
    assert (await farm.call("DELETE", "/mqtt/bans/1", "root")).status == 404
    assert (await farm.call("GET", "/mqtt/bans", "root")).data["bans"] == []
