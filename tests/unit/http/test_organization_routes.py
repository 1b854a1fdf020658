"""Organizations over HTTP: shapes, rights, and the borders between tenants."""

from __future__ import annotations

from tests.accounts import MEMBERS, NORTH, NORTH_CHILD, SOUTH, SOUTH_CHILD, Accounts
from tests.farm import Reply

COLUMNS = {
    "id", "parentId", "name", "status", "detail", "paymentMethods", "image", "address", "email",
    "zip", "contactNumber", "isParent", "createdAt", "updatedAt",
}  # fmt: skip


def names(reply: Reply) -> list[str]:
    return [row["name"] for row in reply.data["organizations"]]


async def test_the_list_shows_organizations_where_the_right_is_held(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/organizations?organizationId=1", "north-admin")
    assert (reply.status, reply.body["status"], reply.body["results"]) == (200, "success", 1)
    (north,) = reply.data["organizations"]
    assert set(north) == COLUMNS | {"children"}
    assert north["name"] == "north"
    # A child needs organization.view too: a Viewer of the one lacks it, the other is foreign.
    assert north["children"] == []
    assert names(await accounts.call("GET", "/organizations", "mixed")) == ["south"]
    for name in ("north-viewer", "suspended", "nobody"):
        refused = await accounts.call("GET", "/organizations", name)
        assert refused.status == 403
        assert refused.body["message"] == "Forbidden: Insufficient permissions"


async def test_a_system_admin_sees_all_but_the_inactive_and_archived(accounts: Accounts) -> None:
    await accounts.run("UPDATE Organization SET status = 'archived' WHERE id = %s", SOUTH)
    reply = await accounts.call("GET", "/organizations", "root")
    assert names(reply) == ["north", "north child", "south child"]
    children = reply.data["organizations"][0]["children"]
    assert [child["id"] for child in children] == [NORTH_CHILD, SOUTH_CHILD]
    assert set(children[0]) == COLUMNS
    archived = await accounts.call("GET", "/organizations?status=archived", "root")
    assert names(archived) == ["south"]


async def test_the_list_can_be_filtered(accounts: Accounts) -> None:
    await accounts.run("UPDATE Organization SET isParent = %s WHERE id = %s", True, NORTH)
    for query, wanted in {
        "search=CHILD": ["north child", "south child"],
        "search=%25": [],
        "search=_": [],
        "search=": ["north", "south", "north child", "south child"],
        "parentId=1": ["north child", "south child"],
        "parentId=&isParent=": ["north", "south", "north child", "south child"],
        "isParent=true": ["north"],
        "isParent=false&search=th&parentId=1": ["north child", "south child"],
        "page=1&limit=10&anything=else": ["north", "south", "north child", "south child"],
        "page=2&limit=3&search=&status=&parentId=&isParent=": ["south child"],
    }.items():
        reply = await accounts.call("GET", f"/organizations?{query}", "root")
        assert names(reply) == wanted, query


async def test_one_organization_is_shown_to_its_members(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/organizations/1?organizationId=1", "north-admin")
    assert reply.status == 200
    assert set(reply.data["organization"]) == COLUMNS | {"children"}
    # Compat: the value of the query is not compared with the path.
    other = await accounts.call("GET", "/organizations/1?organizationId=2", "north-admin")
    assert other.data == reply.data


async def test_the_query_must_name_an_organization_and_nothing_else(accounts: Accounts) -> None:
    for query, message in {
        "": '"organizationId" is required',
        "?organizationId=x": '"organizationId" must be a number',
        "?organizationId=1&search=x": '"search" is not allowed',
    }.items():
        for method in ("GET", "DELETE"):
            reply = await accounts.call(method, f"/organizations/1{query}", "root")
            assert reply.status == 400
            assert reply.body["message"] == f"Invalid query parameters: {message}"
    last = await accounts.call("GET", "/organizations/1?organizationId=x&organizationId=1", "root")
    assert last.status == 200


async def test_what_does_not_exist_is_404_for_a_system_admin(accounts: Accounts) -> None:
    for method, body in (("GET", None), ("PATCH", {"organizationId": 1}), ("DELETE", None)):
        path = "/organizations/99?organizationId=99"
        reply = await accounts.call(method, path, "root", body)
        assert reply.status == 404
        assert reply.body["message"] == "Organization with ID 99 not found"
        for odd in ("abc", "-1", "1e3", "9" * 30):
            reply = await accounts.call(
                method, f"/organizations/{odd}?organizationId=1", "root", body
            )
            assert reply.status == 404, odd


async def test_strangers_reach_nothing_and_change_nothing(accounts: Accounts) -> None:
    before = await accounts.rows("SELECT * FROM Organization ORDER BY id")
    for name in MEMBERS:
        if name in ("root", "north-admin"):
            continue
        for method, body in (
            ("GET", None),
            ("PATCH", {"organizationId": SOUTH, "name": "mine"}),
            ("DELETE", None),
        ):
            reply = await accounts.call(
                method, f"/organizations/{NORTH}?organizationId={SOUTH}", name, body
            )
            assert reply.status == 403, (name, method)
            assert reply.body["message"].startswith("Forbidden: ")
            if name == "south-admin" and method != "DELETE":
                message = "Forbidden: You do not have access to this organization"
                assert reply.body["message"] == message
    assert await accounts.rows("SELECT * FROM Organization ORDER BY id") == before


async def test_an_org_admin_changes_the_own_organization_only(accounts: Accounts) -> None:
    body = {"organizationId": SOUTH, "name": "North Farm", "zip": "", "email": None}
    reply = await accounts.call("PATCH", "/organizations/1?organizationId=1", "north-admin", body)
    assert reply.status == 200
    assert set(reply.data["organization"]) == COLUMNS
    assert reply.data["organization"]["name"] == "North Farm"
    assert reply.data["organization"]["zip"] == ""
    (south,) = await accounts.rows("SELECT name FROM Organization WHERE id = %s", SOUTH)
    assert south["name"] == "south"
    deleted = await accounts.call("DELETE", "/organizations/1?organizationId=1", "north-admin")
    assert deleted.status == 403


async def test_a_system_admin_makes_changes_and_archives(accounts: Accounts) -> None:
    body = {
        "name": "east", "parentId": str(NORTH), "detail": "", "address": "Lane 1", "zip": "12",
        "contactNumber": "", "email": "", "isParent": "true",
    }  # fmt: skip
    made = await accounts.call("POST", "/organizations", "root", body)
    assert made.status == 201
    row = made.data["organization"]
    assert set(row) == COLUMNS
    assert (row["status"], row["parentId"], row["isParent"]) == ("pending", NORTH, True)
    assert row["createdAt"].endswith("Z")
    path = f"/organizations/{row['id']}?organizationId={row['id']}"
    for _ in range(2):  # deleting twice is fine
        deleted = await accounts.call("DELETE", path, "root")
        assert (deleted.status, deleted.body) == (204, b"")
    shown = await accounts.call("GET", path, "root")
    assert shown.data["organization"]["status"] == "archived"
    members = await accounts.rows(
        "SELECT * FROM OrganizationUser WHERE organizationId = %s", row["id"]
    )
    assert members == []


async def test_only_those_who_may_make_organizations(accounts: Accounts) -> None:
    for name in MEMBERS:
        if name != "root":
            reply = await accounts.call("POST", "/organizations", name, {"name": "mine"})
            assert reply.status == 403


async def test_a_right_to_create_counts_in_the_parent(accounts: Accounts) -> None:
    await accounts.run(
        "INSERT INTO RolePermission (roleId, permissionId)"
        " SELECT r.id, p.id FROM Role r, Permission p WHERE r.name = 'Org Admin'"
        " AND p.name = 'organization.create'"
    )

    async def made(parent: int | None) -> int:
        body = {"name": "branch", "parentId": parent}
        return (await accounts.call("POST", "/organizations", "mixed", body)).status

    assert await made(NORTH) == 403
    assert await made(SOUTH) == 201
    assert await made(None) == 201


async def test_parents_exist_and_make_no_circle(accounts: Accounts) -> None:
    async def moved(who: str, organization: int, parent: int | None) -> int:
        body = {"organizationId": organization, "parentId": parent}
        path = f"/organizations/{organization}"
        return (await accounts.call("PATCH", path, who, body)).status

    assert await moved("root", NORTH, NORTH) == 400
    assert await moved("root", NORTH, NORTH_CHILD) == 400
    assert await moved("root", NORTH, 99) == 404
    assert await moved("root", NORTH_CHILD, SOUTH) == 200
    assert await moved("root", NORTH_CHILD, None) == 200
    # organization.update is needed at both ends.
    assert await moved("south-admin", SOUTH, NORTH) == 403
    unknown = await accounts.call("POST", "/organizations", "root", {"name": "x", "parentId": 99})
    assert unknown.status == 404


async def test_wrong_bodies_name_the_field(accounts: Accounts) -> None:
    cases: list[tuple[object, str]] = [
        (None, '"name" is required'),
        ({"name": ""}, '"name" is not allowed to be empty'),
        ({"name": "x" * 51}, '"name" length must be less than or equal to 50 characters long'),
        ({"name": "x", "status": "open"}, '"status" must be one of [active, inactive, pending,'),
        ({"name": "x", "parentId": "y"}, '"parentId" must be a number'),
        ({"name": "x", "parentId": 2**63}, '"parentId" must be less than or equal to'),
        ({"name": "x", "isParent": "perhaps"}, '"isParent" must be a boolean'),
        ({"name": "x", "email": "y"}, '"email" must be a valid email'),
        ({"name": "x", "id": 7}, '"id" is not allowed'),
        ({"name": 5}, '"name" must be a string'),
        ([], '"value" must be of type object'),
    ]
    for body, message in cases:
        reply = await accounts.call("POST", "/organizations", "root", body)
        assert reply.status == 400
        assert reply.body["message"].startswith(f"Invalid request body: {message}")
    missing = await accounts.call("PATCH", "/organizations/1", "root", {"name": "x"})
    assert missing.body["message"] == 'Invalid request body: "organizationId" is required'


async def test_text_too_long_for_its_column_is_the_clients_fault(accounts: Accounts) -> None:
    body = {"name": "x", "detail": "y" * 70_000}
    reply = await accounts.call("POST", "/organizations", "root", body)
    assert (reply.status, reply.body["status"]) == (400, "fail")
    assert "detail" in reply.body["message"]
