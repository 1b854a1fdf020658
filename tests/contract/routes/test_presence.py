"""`/presence`, the presence of sensors and devices where they are shown, and its retained topic."""

from __future__ import annotations

from aemos import json
from aemos.services.events import PresenceForgotten
from tests.farm import NORTH, PUMPS, SOUTH, UUIDS
from tests.rows import until
from tests.whole import Whole

TOPIC = "/api/v1/mqtt/retained?topic=devices/%2B/presence"


async def test_presence_is_shown_wherever_a_sensor_or_device_is(whole: Whole) -> None:
    presences, admin = whole.services.presences, (await whole.sign_in("System Admin"))[0]
    viewer = (await whole.sign_in("Viewer"))[0]
    presences.heard(UUIDS[NORTH])
    presences.freeze()
    seen = presences.shown(UUIDS[NORTH])["lastSeen"].iso()
    await until(lambda: len(whole.doors.broker.store.retained))

    reply = await whole.call("GET", "/api/v1/presence", viewer)
    assert reply.data["organizations"] == [
        {"organizationId": NORTH, "online": 1, "late": 0, "silent": 0, "offline": 1}
    ]
    reply = await whole.call("GET", "/api/v1/presence/things?presence=online", admin)
    assert [(thing["kind"], thing["uuid"]) for thing in reply.data["things"]] == [
        ("sensor", UUIDS[NORTH])
    ]
    reply = await whole.call("GET", "/api/v1/presence/things?organizationId=2", admin)
    assert {thing["uuid"] for thing in reply.data["things"]} == {UUIDS[SOUTH], PUMPS[SOUTH]}

    reply = await whole.call("GET", "/api/v1/sensors/1?organizationId=1", viewer)
    assert (reply.data["sensor"]["presence"], reply.data["sensor"]["lastSeen"]) == ("online", seen)
    reply = await whole.call("GET", "/api/v1/sensors?organizationId=1", viewer)
    assert [sensor["presence"] for sensor in reply.data["sensors"]] == ["online"]
    reply = await whole.call("GET", "/api/v1/devices?organizationId=1", viewer)
    assert [(device["presence"], device["lastSeen"]) for device in reply.data["devices"]] == [
        ("offline", None)
    ]

    [message] = (await whole.call("GET", TOPIC, admin)).data["messages"]
    assert message["topic"] == f"devices/{UUIDS[NORTH]}/presence"
    told = json.decode(message["payload"])
    assert (told["deviceUuid"], told["presence"]) == (UUIDS[NORTH], "online")
    assert (told["since"], told["lastSeen"]) == (seen, seen)
    whole.services.events.publish(PresenceForgotten(UUIDS[NORTH]))
    assert (await whole.call("GET", TOPIC, admin)).data["messages"] == []
    await presences.stop()
