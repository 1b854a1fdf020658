"""`/areas` (spec/http-api.md section 4.2)."""

from __future__ import annotations

import re

import pytest

from tests.farm import NORTH, PUMPS, SOUTH, UUIDS, Farm

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def test_a_list_shows_areas_with_their_organization_in_both_spellings(farm: Farm) -> None:
    reply = await farm.call("GET", "/areas?organizationId=1", "north-viewer")
    assert (reply.status, reply.body["results"]) == (200, 1)
    (area,) = reply.data["areas"]
    assert area["id"] == NORTH
    assert area["name"] == "north field"
    assert area["parentArea"] is None
    assert area["description"] is None
    assert area["Organization"]["name"] == "north"
    assert area["Organization"]["createdAt"].endswith("Z")
    assert area["organization"] == {"id": NORTH, "name": "north"}


async def test_a_list_spans_the_organizations_where_the_right_is_held_whatever_is_asked(
    farm: Farm,
) -> None:
    for who, seen in (("root", [1, 2]), ("mixed", [1, 2]), ("south-admin", [2])):
        reply = await farm.call("GET", "/areas?organizationId=1", who)
        assert [area["id"] for area in reply.data["areas"]] == seen


@pytest.mark.parametrize("who", ["member", "nobody"])
async def test_a_list_needs_the_right_somewhere(farm: Farm, who: str) -> None:
    assert (await farm.call("GET", "/areas?organizationId=1", who)).status == 403


async def test_a_list_hides_inactive_and_archived_areas_but_not_those_without_status(
    farm: Farm,
) -> None:
    for number, status in ((10, "inactive"), (11, "archived"), (12, "under_review"), (13, None)):
        await farm.run(
            "INSERT INTO Area (id, name, organizationId, status) VALUES (%s, %s, %s, %s)",
            number, "x", NORTH, status,
        )  # fmt: skip
    for path in ("/areas?organizationId=1", "/areas/organization/1"):
        reply = await farm.call("GET", path, "north-viewer")
        assert [area["id"] for area in reply.data["areas"]] == [1, 12, 13]


@pytest.mark.parametrize(
    ("query", "field"), [("", "organizationId"), ("?organizationId=1&pages=1", "pages")]
)
async def test_a_list_takes_the_organization_and_nothing_else(
    farm: Farm, query: str, field: str
) -> None:
    reply = await farm.call("GET", f"/areas{query}", "north-viewer")
    assert reply.status == 400
    assert reply.body["status"] == "fail"
    assert f'"{field}"' in reply.body["message"]


async def test_the_areas_of_one_organization_come_as_bare_rows(farm: Farm) -> None:
    reply = await farm.call("GET", "/areas/organization/1?organizationId=1", "north-viewer")
    assert (reply.status, reply.body["results"]) == (200, 1)
    assert "Organization" not in reply.data["areas"][0]


@pytest.mark.parametrize(("who", "status"), [("south-admin", 403), ("member", 403), ("root", 200)])
async def test_the_areas_of_an_organization_need_the_right_in_it(
    farm: Farm, who: str, status: int
) -> None:
    assert (await farm.call("GET", "/areas/organization/1", who)).status == status


@pytest.mark.parametrize("path", ["/areas/organization/2", "/sensors/organization/2"])
async def test_a_path_that_names_the_organization_is_refused_for_it(farm: Farm, path: str) -> None:
    reply = await farm.call("GET", path, "north-admin")
    message = "Forbidden: Insufficient permissions for this organization"
    assert (reply.status, reply.body["message"]) == (403, message)


async def test_a_new_area_gets_a_uuid_and_a_status_and_keeps_its_description(farm: Farm) -> None:
    body = {"name": "pond", "organizationId": "1", "description": "fish", "uuid": "", "image": None}
    reply = await farm.call("POST", "/areas?organizationId=1", "north-admin", body)
    assert reply.status == 201
    area = reply.data["area"]
    assert area["organizationId"] == NORTH
    assert area["status"] == "under_review"
    assert area["description"] == "fish"
    assert GUID.fullmatch(area["uuid"])
    shown = await farm.call("GET", f"/areas/{area['id']}?organizationId=1", "north-viewer")
    assert shown.data["area"]["description"] == "fish"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"organizationId": 1}, 400, '"name" is required'),
        ({"name": "x" * 51, "organizationId": 1}, 400, '"name" length'),
        ({"name": "", "organizationId": 1}, 400, '"name"'),
        ({"name": "x"}, 400, '"organizationId" is required'),
        ({"name": "x", "organizationId": "abc"}, 400, '"organizationId" must be a number'),
        ({"name": "x", "organizationId": 1, "status": "lost"}, 400, '"status" must be one of'),
        ({"name": "x", "organizationId": 1, "uuid": "no"}, 400, '"uuid" must be a valid GUID'),
        ({"name": "x", "organizationId": 1, "color": 1}, 400, '"color" is not allowed'),
        ({"name": "x", "organizationId": 1, "parentArea": 99}, 404, "99"),
        ({"name": "x", "organizationId": 1, "parentArea": 2}, 403, "another organization"),
        ({"name": "x", "organizationId": 2}, 403, "Insufficient permissions"),
    ],
)
async def test_a_new_area_is_refused_with_the_reason(
    farm: Farm, body: dict[str, object], status: int, text: str
) -> None:
    reply = await farm.call("POST", "/areas", "north-admin", body)
    assert reply.status == status
    assert text in reply.body["message"]
    assert len(await farm.rows("SELECT id FROM Area")) == 2


async def test_a_new_area_of_an_unknown_organization_is_not_found(farm: Farm) -> None:
    reply = await farm.call("POST", "/areas", "root", {"name": "x", "organizationId": 99})
    assert reply.status == 404


async def test_the_right_in_one_organization_does_not_open_another(farm: Farm) -> None:
    """ORIGINAL BUG: a viewer in one who is administrator of the other could change both."""
    body = {"name": "mine", "organizationId": 1}
    assert (await farm.call("POST", "/areas", "mixed", body)).status == 403
    assert (await farm.call("PATCH", "/areas/1", "mixed", body)).status == 403
    assert (await farm.call("DELETE", "/areas/1?organizationId=1", "mixed")).status == 403
    assert (await farm.call("DELETE", "/areas/2?organizationId=2", "mixed")).status == 204


async def test_an_area_is_shown_only_with_the_organization_that_owns_it(farm: Farm) -> None:
    reply = await farm.call("GET", "/areas/1?organizationId=1", "north-viewer")
    assert reply.data["area"]["Organization"]["id"] == NORTH
    for path, who, status in (
        ("/areas/1", "north-viewer", 400),
        ("/areas/1?organizationId=2", "north-viewer", 403),
        ("/areas/1?organizationId=2", "south-admin", 403),
        ("/areas/99?organizationId=1", "north-viewer", 404),
        ("/areas/99?organizationId=1", "root", 404),
        ("/areas/abc?organizationId=1", "north-viewer", 404),
        ("/areas/1?organizationId=2", "root", 200),
    ):
        assert (await farm.call("GET", path, who)).status == status, (path, who)


async def test_a_change_keeps_what_is_not_given(farm: Farm) -> None:
    reply = await farm.call(
        "PATCH", "/areas/1?organizationId=1", "north-admin",
        {"organizationId": 1, "description": "wet", "status": "", "uuid": ""},
    )  # fmt: skip
    assert reply.status == 200
    area = reply.data["area"]
    assert (area["name"], area["description"]) == ("north field", "wet")
    assert (area["status"], area["uuid"]) == ("active", UUIDS[NORTH])
    reply = await farm.call(
        "PATCH", "/areas/1", "north-admin", {"organizationId": 1, "status": None, "uuid": None}
    )
    assert (reply.data["area"]["status"], reply.data["area"]["uuid"]) == ("active", UUIDS[NORTH])


async def test_a_parent_is_neither_the_area_itself_nor_below_it(farm: Farm) -> None:
    made = await farm.call(
        "POST", "/areas", "north-admin", {"name": "corner", "organizationId": 1, "parentArea": 1}
    )
    child = made.data["area"]["id"]
    for parent in (1, child):
        reply = await farm.call(
            "PATCH", "/areas/1", "north-admin", {"organizationId": 1, "parentArea": parent}
        )
        assert reply.status == 400
        assert '"parentArea"' in reply.body["message"]
    reply = await farm.call(
        "PATCH", f"/areas/{child}", "north-admin", {"organizationId": 1, "parentArea": None}
    )
    assert reply.data["area"]["parentArea"] is None


async def test_only_a_system_admin_moves_an_area_and_what_lies_in_it_is_told(farm: Farm) -> None:
    await farm.run("INSERT INTO Area (id, name, organizationId, parentArea) VALUES (7, 'c', 1, 1)")
    body = {"organizationId": 2}
    assert (await farm.call("PATCH", "/areas/1", "mixed", body)).status == 403
    assert farm.changed() == []
    reply = await farm.call("PATCH", "/areas/1", "root", body)
    assert reply.data["area"]["organizationId"] == SOUTH
    assert sorted(farm.changed()) == [UUIDS[NORTH], PUMPS[NORTH]]
    (child,) = await farm.rows("SELECT parentArea FROM Area WHERE id = 7")
    assert child["parentArea"] is None
    assert (await farm.call("PATCH", "/areas/1", "root", {"organizationId": 99})).status == 404


async def test_a_deleted_area_is_archived_and_deleting_it_again_is_no_error(farm: Farm) -> None:
    for _ in range(2):
        reply = await farm.call("DELETE", "/areas/1?organizationId=1", "north-admin")
        assert (reply.status, reply.body) == (204, None)
    shown = await farm.call("GET", "/areas/1?organizationId=1", "north-viewer")
    assert shown.data["area"]["status"] == "archived"
    assert (await farm.call("GET", "/areas/organization/1", "north-viewer")).body["results"] == 0
    assert sorted(farm.changed()) == [UUIDS[NORTH]] * 2 + [PUMPS[NORTH]] * 2
