"""`/reports` (spec/http-api.md section 4.13)."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.model import Instant
from aemos.services.reports import REPORTS
from aemos.storage.transaction import Transaction
from tests.accounts import NORTH, NORTH_CHILD, SOUTH, Accounts

HOUR = 3_600_000


async def report(accounts: Accounts, name: str, who: str = "north-admin", **query: Any) -> Any:
    query = {"organizationId": NORTH, **query}
    path = f"/reports/{name}?" + "&".join(f"{key}={value}" for key, value in query.items())
    reply = await accounts.call("GET", path, who)
    assert reply.status == 200, reply.body
    return reply.body


async def sow(accounts: Accounts) -> None:
    """In NORTH two areas with devices and readings; tickets and cards; the same in SOUTH, less."""

    def write(tx: Transaction) -> None:
        for number, organization in ((1, NORTH), (2, NORTH), (3, SOUTH)):
            area = {"id": number, "name": f"field {number}", "organizationId": organization}
            tx.insert("Area", area)
        for number, status, areas in (
            (1, "active", (1, 2)),
            (2, "inactive", (1,)),
            (3, "faulty", (1,)),
            (4, "active", (3,)),
        ):
            tx.insert("Device", {"id": number, "uuid": f"d{number}", "status": status})
            for area_id in areas:
                tx.insert("AreaDevice", {"areaId": area_id, "deviceId": number})
        for number, area_id in ((1, 1), (2, 2), (3, 3)):
            tx.insert("Sensor", {"id": number, "name": f"s{number}", "uuid": f"s{number}"})
            tx.insert("AreaSensor", {"areaId": area_id, "sensorId": number})
        for number, sensor, name in (
            (1, 1, "temperature"),
            (2, 1, "Humidity"),
            (3, 2, "soil_moisture"),
            (4, 3, "temperature"),
        ):
            variable = {"id": number, "sensorId": sensor, "variableName": name}
            tx.insert("TelemetryData", variable)
        for variable_id, value, hours in (
            (1, "20", 1),
            (1, "25.5", 2),
            (1, "broken", 3),
            (1, "31", 4),
            (1, "99", 25),
            (2, "80", 1),
            (2, "80.1", 2),
            (3, "29.9", 6),
            (4, "99", 1),
        ):
            reading = {"telemetryDataId": variable_id, "value": value}
            tx.insert("DataStream", {**reading, "recievedAt": Instant(tx.now - hours * HOUR)})

    await accounts.database.transact(write)


async def test_devices_are_counted_by_whether_they_are_active(accounts: Accounts) -> None:
    await sow(accounts)
    body = await report(accounts, "device-status")
    assert body == {
        "status": "success",
        "totalItems": 1,
        "totalPages": 1,
        "currentPage": 1,
        "pageSize": 20,
        "data": [
            {
                "organization": "north",
                "total_devices": 3,
                "active_devices": "1",
                "inactive_devices": "2",
                "active_percentage": "33.33",
            }
        ],
    }
    body = await report(accounts, "device-status", "root", organizationId=NORTH_CHILD)
    assert body["data"][0]["active_percentage"] == "0.00"


async def test_readings_of_a_day_are_summed_up_as_far_as_they_are_numbers(
    accounts: Accounts,
) -> None:
    await sow(accounts)
    body = await report(accounts, "sensor-telemetry")
    assert body["data"] == [
        {
            "sensor_name": "s1", "variableName": "Humidity", "readings_count": 2,
            "min_value": "80.00", "max_value": "80.10", "avg_value": "80.050000",
        },
        {
            "sensor_name": "s1", "variableName": "temperature", "readings_count": 4,
            "min_value": "20.00", "max_value": "31.00", "avg_value": "25.500000",
        },
        {
            "sensor_name": "s2", "variableName": "soil_moisture", "readings_count": 1,
            "min_value": "29.90", "max_value": "29.90", "avg_value": "29.900000",
        },
    ]  # fmt: skip


async def test_unusual_readings_come_newest_first(accounts: Accounts) -> None:
    await sow(accounts)
    body = await report(accounts, "sensor-anomaly")
    assert [(row["value"], row["sensor"], row["anomaly_status"]) for row in body["data"]] == [
        ("80.1", "s1", "High humidity"),
        ("31", "s1", "Temperature anomaly"),
        ("29.9", "s2", "Low moisture"),
    ]
    assert body["data"][0]["recievedAt"].endswith("Z")
    south = await report(accounts, "sensor-anomaly", "south-admin", organizationId=SOUTH)
    assert [row["value"] for row in south["data"]] == ["99"]


async def test_organizations_are_shown_below_each_other(accounts: Accounts) -> None:
    await accounts.run("UPDATE Organization SET parentId = %s WHERE id = %s", NORTH_CHILD, SOUTH)
    body = await report(accounts, "organization-hierarchy", "root")
    assert [(row["id"], row["organization"], row["depth_level"]) for row in body["data"]] == [
        (1, "north", 0),
        (3, "    north child", 1),
        (2, "        south", 2),
        (4, "    south child", 1),
    ]
    # What one is no member of stays hidden, also below what one is a member of.
    body = await report(accounts, "organization-hierarchy")
    assert [row["organization"] for row in body["data"]] == ["north", "    north child"]
    await accounts.run("UPDATE Organization SET parentId = %s WHERE id = %s", SOUTH, NORTH)
    body = await report(accounts, "organization-hierarchy")
    assert [row["id"] for row in body["data"]] == [1, 3]


async def test_areas_show_their_share_of_what_the_organization_has(accounts: Accounts) -> None:
    await sow(accounts)
    body = await report(accounts, "area-utilization")
    assert body["data"] == [
        {
            "id": 1, "area": "field 1", "organization": "north", "device_count": 3,
            "sensor_count": 1, "device_percentage": "75.00%", "sensor_percentage": "50.00%",
        },
        {
            "id": 2, "area": "field 2", "organization": "north", "device_count": 1,
            "sensor_count": 1, "device_percentage": "25.00%", "sensor_percentage": "50.00%",
        },
    ]  # fmt: skip


async def sow_tickets(accounts: Accounts) -> int:
    user = await accounts.user_id("mixed")

    def write(tx: Transaction) -> None:
        for organization in (NORTH, SOUTH):
            notification = {"id": organization, "organizationId": organization}
            tx.insert("Notification", notification)
        for organization, assigned, hours in (
            (NORTH, True, 1),
            (NORTH, True, 4),
            (NORTH, True, None),
            (NORTH, False, None),
            (SOUTH, True, None),
        ):
            ticket = {"notificationId": organization, "assignedTo": user, "createdAt": tx.now}
            if assigned:
                ticket["assignedAt"] = tx.now
            if hours is not None:
                ticket["acknowledgedAt"] = Instant(tx.now + hours * HOUR)
            tx.insert("Ticket", ticket)

    await accounts.database.transact(write)
    return user


async def test_tickets_count_in_the_organization_of_their_notification(accounts: Accounts) -> None:
    user = await sow_tickets(accounts)
    body = await report(accounts, "user-activity")
    (row,) = [row for row in body["data"] if row["id"] == user]
    assert row == {
        "id": user, "userName": "mixed", "email": "mixed@x.example", "total_notifications": 4,
        "acknowledged": "2", "pending": "1", "unassigned": "1",
    }  # fmt: skip
    others = [row for row in body["data"] if row["id"] != user]
    assert {row["userName"] for row in others} == {
        "root", "north-admin", "north-viewer", "suspended",
    }  # fmt: skip
    assert {row["total_notifications"] for row in others} == {0}
    body = await report(accounts, "ticket-resolution")
    assert body["data"] == [
        {
            "id": user, "assigned_to": "mixed", "total_tickets": 4, "avg_resolution_hours": "2.50",
            "pending_tickets": "2", "completion_rate": "50.00%",
        }
    ]  # fmt: skip


async def test_payment_cards_show_brands_and_what_ends_soon(accounts: Accounts) -> None:
    def write(tx: Transaction) -> None:
        for number, days in (("4111", 30), ("4222", -1), ("5111", 200), ("9", None)):
            expiry = None if days is None else Instant(tx.now + days * 24 * HOUR)
            card = {"organizationId": NORTH, "cardNumber": number, "expiry": expiry}
            tx.insert("PaymentCard", card)

    await accounts.database.transact(write)
    expected = {
        "id": 1, "organization": "north", "payment_cards": 4,
        "card_types": "Visa,Mastercard,Other", "expiring_soon": "1",
    }  # fmt: skip
    assert (await report(accounts, "payment-method"))["data"] == [expected]
    body = await report(accounts, "payment-method", "root")
    assert body["data"][0] == expected
    assert (body["totalItems"], body["data"][1]["card_types"]) == (4, None)


async def test_rule_chains_tell_when_they_ran(accounts: Accounts) -> None:
    def write(tx: Transaction) -> None:
        ago = Instant(tx.now - 50 * HOUR)
        for name, ran, failed in (("a", None, None), ("b", ago, None), ("c", ago, ago)):
            tx.insert(
                "RuleChain",
                {
                    "organizationId": NORTH,
                    "name": name,
                    "lastExecutedAt": ran,
                    "lastErrorAt": failed,
                    "cronExpression": "0 * * * *",
                    "scheduleEnabled": name == "b",
                },
            )

    await accounts.database.transact(write)
    rows = (await report(accounts, "rule-chain-execution"))["data"]
    assert [
        (row["rule_chain"], row["status"], row["days_since_last_exec"], row["executionInterval"])
        for row in rows
    ] == [
        ("a", "Never executed", None, None),
        ("b", "Executed", 2, "0 * * * *"),
        ("c", "Failed", 2, None),
    ]
    assert rows[1]["lastExecution"].endswith("Z")
    assert rows[0]["organization"] == "north"


async def test_members_are_counted_by_role(accounts: Accounts) -> None:
    rows = (await report(accounts, "user-role-distribution"))["data"]
    assert {row["role"]: (row["user_count"], row["percentage"]) for row in rows} == {
        "System Admin": (1, "20.00%"),
        "Org Admin": (2, "40.00%"),
        "Viewer": (2, "40.00%"),
    }
    assert {row["organizations"] for row in rows} == {"north"}


async def test_a_report_comes_in_pages_and_clamps_what_is_out_of_range(accounts: Accounts) -> None:
    query = {"page": 2, "limit": 2}
    body = await report(accounts, "user-activity", **query)
    pages = [body["totalItems"], body["totalPages"], body["currentPage"], body["pageSize"]]
    assert (pages, len(body["data"])) == ([5, 3, 2, 2], 2)
    for page, limit, shown in ((-1, 0, (1, 1, 1)), (10**18, 10**18, (10**9, 1000, 0))):
        body = await report(accounts, "user-activity", page=page, limit=limit)
        assert (body["currentPage"], body["pageSize"], len(body["data"])) == shown
        body = await report(accounts, "organization-hierarchy", page=page, limit=limit)
        assert len(body["data"]) == shown[2]


@pytest.mark.parametrize("name", sorted(REPORTS))
async def test_a_report_is_for_readers_in_the_organization(accounts: Accounts, name: str) -> None:
    path = f"/reports/{name}"
    for who, query, status, says in (
        (None, "?organizationId=1", 401, "Authentication required"),
        ("nobody", "?organizationId=1", 403, "Insufficient role permissions"),
        ("suspended", "?organizationId=1", 403, "Insufficient role permissions"),
        ("south-admin", "?organizationId=1", 403, "do not have access to this organization"),
        ("north-admin", "", 400, "Organization ID is required"),
        ("root", "", 400, "Organization ID is required"),
    ):
        reply = await accounts.call("GET", path + query, who)
        assert (reply.status, says in reply.body["message"]) == (status, True), (who, reply.body)
        assert reply.body["statusCode"] == status
    for who, organization in (("north-viewer", 1), ("mixed", 2), ("root", 2), ("root", 99)):
        await report(accounts, name, who, organizationId=organization)


async def test_another_role_reads_no_reports(accounts: Accounts) -> None:
    role = (await accounts.call("POST", "/roles", "root", {"name": "Gardener"})).data["id"]
    path = f"/user-roles/{await accounts.user_id('mixed')}"
    await accounts.call("POST", path, "root", {"roleId": role, "organizationId": NORTH})
    reply = await accounts.call("GET", "/reports/device-status?organizationId=1", "mixed")
    assert (reply.status, reply.body["message"]) == (403, "Insufficient role permissions")
