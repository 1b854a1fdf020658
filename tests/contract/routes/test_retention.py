"""`/retention`: who may say how long readings are kept (docs/history.rst)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.farm import Farm

DAYS = {"rawDays": 30, "hourlyDays": 90, "dailyDays": 400}


async def test_a_policy_is_made_shown_changed_and_deleted(farm: Farm) -> None:
    body = {"telemetryDataId": 1, **DAYS}
    made = await farm.call("POST", "/retention", "north-admin", body)
    assert made.status == 201
    policy = made.data["policy"]
    path = f"/retention/{policy['id']}"
    assert policy | {"id": 0, "createdAt": "", "updatedAt": ""} == {
        "id": 0, "organizationId": None, **body, "createdAt": "", "updatedAt": "",
    }  # fmt: skip
    assert policy["createdAt"].endswith("Z")
    assert (await farm.call("GET", path, "north-viewer")).data["policy"] == policy
    changed = await farm.call("PATCH", path, "north-admin", {"rawDays": 31, "dailyDays": None})
    assert changed.data["policy"] | {"updatedAt": ""} == policy | {
        "rawDays": 31, "dailyDays": None, "updatedAt": "",
    }  # fmt: skip
    for status in (204, 404):
        assert (await farm.call("DELETE", path, "north-admin")).status == status


async def test_a_list_holds_what_the_caller_may_see(farm: Farm) -> None:
    await farm.call("POST", "/retention", "south-admin", {"telemetryDataId": 2, **DAYS})
    for who, owners in (
        ("north-viewer", [(1, None)]),
        ("south-admin", [(2, None), (None, 2)]),
        ("root", [(1, None), (2, None), (None, 2)]),
    ):
        reply = await farm.call("GET", "/retention", who)
        found = [(row["organizationId"], row["telemetryDataId"]) for row in reply.data["policies"]]
        assert found == owners
        assert reply.body["results"] == len(owners)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"rawDays": 1}, 400),
        ({"rawDays": 1, "organizationId": 1, "telemetryDataId": 1}, 400),
        ({"telemetryDataId": 1}, 400),
        ({"telemetryDataId": 1, "rawDays": 0}, 400),
        ({"telemetryDataId": 1, "rawDays": 30, "hourlyDays": 29}, 400),
        ({"telemetryDataId": 1, "rawDays": 30, "hourlyDays": 40, "dailyDays": 39}, 400),
        ({"telemetryDataId": 1, "rawDays": 30, "dailyDays": 29}, 400),
        ({"telemetryDataId": 99, "rawDays": 1}, 404),
        ({"organizationId": 2, "rawDays": 1}, 403),
        ({"telemetryDataId": 2, "rawDays": 1}, 403),
        ({"organizationId": 1, "rawDays": 1}, 409),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused(
    farm: Farm, body: dict[str, Any], status: int
) -> None:
    reply = await farm.call("POST", "/retention", "north-admin", body)
    assert reply.status == status, reply


async def test_a_change_must_keep_the_order_of_ages(farm: Farm) -> None:
    reply = await farm.call("PATCH", "/retention/1", "north-admin", {"hourlyDays": 364})
    assert (reply.status, '"hourlyDays"' in reply.body["message"]) == (400, True)


async def test_a_viewer_deletes_no_history(farm: Farm) -> None:
    body = {"telemetryDataId": 1, **DAYS}
    assert (await farm.call("POST", "/retention", "north-viewer", body)).status == 403
    assert (await farm.call("PATCH", "/retention/1", "north-viewer", {"rawDays": 1})).status == 403
    assert (await farm.call("DELETE", "/retention/1", "north-viewer")).status == 403


async def test_a_variable_of_which_only_sums_are_left_is_not_deleted(farm: Farm) -> None:
    await farm.run(
        "INSERT INTO reading_rollup (telemetry_id, hours, start_at, readings, numbers, first_at,"
        " last_at) VALUES (1, 1, '2026-01-01 00:00:00', 1, 0, '2026-01-01 00:00:00',"
        " '2026-01-01 00:00:00')"
        if farm.database.dialect.name == "mysql"
        else "INSERT INTO reading_rollup VALUES (1, 1, 0, 1, 0, NULL, NULL, NULL, 0, '', 0, '')"
    )
    assert (await farm.call("DELETE", "/telemetry/1", "north-admin")).status == 409
