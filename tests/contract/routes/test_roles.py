"""`/roles`, `/permissions` and `/user-roles` (spec/http-api.md section 4.10)."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.http.routing import Auth, table
from tests.accounts import NORTH, SOUTH, Accounts

ROLE = {"name": "Gardener", "organizationId": NORTH}

# Every route with the status for: an admin of NORTH, the admin of SOUTH, a viewer, a user without
# a role. `{role}` is a role of NORTH, `{user}` its viewer, `{area}` the permission area.view.
MATRIX: list[tuple[str, str, str, object, tuple[int, int, int, int]]] = [
    ("RoleRoutes.list_all", "GET", "/roles", None, (200, 200, 403, 403)),
    ("RoleRoutes.list_of_organization", "GET", "/roles/organization/1", None, (200, 403, 403, 403)),
    ("RoleRoutes.get", "GET", "/roles/{role}", None, (200, 403, 403, 403)),
    ("RoleRoutes.list_permissions", "GET", "/roles/{role}/permissions", None, (200, 403, 403, 403)),
    ("RoleRoutes.create", "POST", "/roles", {**ROLE, "name": "new"}, (201, 403, 403, 403)),
    ("RoleRoutes.rename", "PUT", "/roles/{role}", {"name": "renamed"}, (200, 403, 403, 403)),
    ("RoleRoutes.permit", "POST", "/roles/{role}/permissions", {"permissionId": "{area}"},
     (403, 403, 403, 403)),
    ("RoleRoutes.forbid", "DELETE", "/roles/{role}/permissions/{area}", None, (403, 403, 403, 403)),
    ("PermissionRoutes.list_all", "GET", "/permissions", None, (403, 403, 403, 403)),
    ("PermissionRoutes.get", "GET", "/permissions/{area}", None, (403, 403, 403, 403)),
    ("PermissionRoutes.list_of_user", "GET", "/permissions/user/{user}?organizationId=1", None,
     (200, 403, 403, 403)),
    ("PermissionRoutes.check", "GET",
     "/permissions/check?userId={user}&permissionName=area.view&organizationId=1", None,
     (200, 403, 403, 403)),
    ("PermissionRoutes.check_mine", "GET", "/permissions/my/check?permissionName=area.view", None,
     (200, 200, 200, 200)),
    ("UserRoleRoutes.list_all", "GET", "/user-roles?organizationId=1", None, (200, 403, 403, 403)),
    ("UserRoleRoutes.list_mine", "GET", "/user-roles/my/roles", None, (200, 200, 200, 200)),
    ("UserRoleRoutes.list_of_user", "GET", "/user-roles/{user}", None, (200, 200, 403, 403)),
    ("UserRoleRoutes.create", "POST", "/user-roles",
     {"userId": "{user}", "roleId": "{role}", "organizationId": 1}, (200, 403, 403, 403)),
    ("UserRoleRoutes.assign", "POST", "/user-roles/{user}",
     {"roleId": "{role}", "organizationId": 1}, (200, 403, 403, 403)),
    ("UserRoleRoutes.remove", "DELETE", "/user-roles/{user}/organization/1", None,
     (200, 403, 403, 403)),
    ("RoleRoutes.delete", "DELETE", "/roles/{role}", None, (200, 403, 403, 403)),
]  # fmt: skip
WHO = ("north-admin", "south-admin", "north-viewer", "nobody")


async def role_id(accounts: Accounts, name: str) -> int:
    rows = await accounts.rows("SELECT id FROM Role WHERE name = %s", name)
    return int(rows[0]["id"])


async def permission_id(accounts: Accounts, name: str) -> int:
    rows = await accounts.rows("SELECT id FROM Permission WHERE name = %s", name)
    return int(rows[0]["id"])


async def new_role(accounts: Accounts, *permissions: str, **changes: Any) -> int:
    """Made by root, with these permissions."""
    reply = await accounts.call("POST", "/roles", "root", {**ROLE, **changes})
    made = int(reply.data["id"])
    for name in permissions:
        body = {"permissionId": await permission_id(accounts, name)}
        await accounts.call("POST", f"/roles/{made}/permissions", "root", body)
    accounts.changed()
    return made


async def assign(accounts: Accounts, who: str, user: str, role: int, organization: int) -> Any:
    path = f"/user-roles/{await accounts.user_id(user)}"
    body = {"roleId": role, "organizationId": organization}
    return await accounts.call("POST", path, who, body)


async def test_every_route_asks_for_its_right_where_it_counts(accounts: Accounts) -> None:
    names = {
        endpoint.route.name
        for endpoint in table(accounts.groups)
        if endpoint.route.auth is Auth.USER
        and endpoint.route.name.startswith(("Role", "Permission", "UserRole"))
    }
    assert names == {row[0] for row in MATRIX}
    filling = {
        "{role}": await new_role(accounts, "area.view"),
        "{user}": await accounts.user_id("north-viewer"),
        "{area}": await permission_id(accounts, "area.view"),
    }
    for _, method, path, body, statuses in MATRIX:
        sent: Any = body
        for mark, value in filling.items():
            path = path.replace(mark, str(value))
        if isinstance(body, dict):
            sent = {key: filling.get(str(value), value) for key, value in body.items()}
        # From the least to the most, so that what works does so last.
        for who, status in reversed(list(zip(WHO, statuses, strict=True))):
            reply = await accounts.call(method, path, who, sent)
            assert reply.status == status, (method, path, who, reply.body)
        assert (await accounts.call(method, path, None, sent)).status == 401


async def test_roles_are_listed_with_their_permissions(accounts: Accounts) -> None:
    made = await new_role(accounts, "area.view")
    await new_role(accounts, name="Of the south", organizationId=SOUTH)
    reply = await accounts.call("GET", "/roles", "north-admin")
    names = {role["name"] for role in reply.data}
    assert names == {"System Admin", "Org Admin", "Supervisor", "Viewer", "Gardener"}
    (gardener,) = [role for role in reply.data if role["id"] == made]
    (permission,) = gardener["Permissions"]
    assert (permission["name"], gardener["organizationId"]) == ("area.view", NORTH)
    link = {"roleId": made, "permissionId": permission["id"]}
    assert permission["RolePermission"] == link
    shown = await accounts.call("GET", f"/roles/{made}", "north-admin")
    assert shown.data == gardener
    listed = await accounts.call("GET", f"/roles/{made}/permissions", "north-admin")
    assert listed.data == [permission]
    own = await accounts.call("GET", "/roles/organization/1", "north-admin")
    assert own.data == [{"id": made, "name": "Gardener", "organizationId": NORTH}]
    every = await accounts.call("GET", "/roles", "root")
    assert "Of the south" in {role["name"] for role in every.data}


REFUSED: list[tuple[str, str, str, object, int, str]] = [
    ("root", "GET", "/roles/99", None, 404, "Role not found"),
    ("root", "PUT", "/roles/99", {"name": "abc"}, 404, "Role not found"),
    ("root", "GET", "/roles/99/permissions", None, 404, "Role not found"),
    ("root", "POST", "/roles/99/permissions", {"permissionId": 1}, 404, "Role not found"),
    ("root", "GET", "/permissions/99999", None, 404, "Permission not found"),
    ("root", "POST", "/roles", {"name": "ab"}, 400, '"name" length must be at least 3'),
    ("root", "POST", "/roles", {"name": "abc", "organizationId": 99}, 404, "Organization with ID"),
    ("root", "POST", "/roles", {"name": "Viewer"}, 400, "A unique constraint was violated"),
    ("root", "GET", "/permissions/check?userId=1", None, 400, '"permissionName" is required'),
    ("root", "POST", "/user-roles/1", {"roleId": 99, "organizationId": 1}, 404, "Role not found"),
    ("root", "POST", "/user-roles/1", {"roleId": 1}, 400, '"organizationId" is required'),
    # Without an organization a role is system-wide, and those are a System Admin's matter.
    ("north-admin", "POST", "/roles", {"name": "abc"}, 403, "only a System Admin"),
    ("north-admin", "POST", "/roles", {"name": "system admin", "organizationId": 1}, 403,
     "only a System Admin"),
    ("north-admin", "POST", "/roles", {"name": "abc", "organizationId": 2}, 403, "Insufficient"),
]  # fmt: skip


async def test_what_does_not_fit_is_refused(accounts: Accounts) -> None:
    for who, method, path, body, status, says in REFUSED:
        reply = await accounts.call(method, path, who, body)
        assert (reply.status, says in reply.body["message"]) == (status, True), (path, reply.body)
    assert accounts.changed() == []


async def test_nobody_but_a_system_admin_touches_system_wide_roles(accounts: Accounts) -> None:
    admin, viewer = [await role_id(accounts, name) for name in ("System Admin", "Viewer")]
    before = (
        await accounts.rows("SELECT * FROM RolePermission"),
        await accounts.rows("SELECT * FROM Role"),
    )
    for role in (admin, viewer):
        body = {"name": "Mine now"}
        assert (await accounts.call("PUT", f"/roles/{role}", "north-admin", body)).status == 403
        assert (await accounts.call("DELETE", f"/roles/{role}", "north-admin")).status == 403
    made = await new_role(accounts)
    body = {"name": "System Admin"}
    assert (await accounts.call("PUT", f"/roles/{made}", "north-admin", body)).status == 403
    await accounts.call("DELETE", f"/roles/{made}", "root")
    assert before == (
        await accounts.rows("SELECT * FROM RolePermission"),
        await accounts.rows("SELECT * FROM Role"),
    )


async def test_the_role_of_system_admins_stays_whoever_asks(accounts: Accounts) -> None:
    admin = await role_id(accounts, "System Admin")
    body = {"name": "Boss"}
    assert (await accounts.call("PUT", f"/roles/{admin}", "root", body)).status == 409
    assert (await accounts.call("DELETE", f"/roles/{admin}", "root")).status == 409


async def test_a_changed_role_concerns_its_holders(accounts: Accounts) -> None:
    made = await new_role(accounts, "area.view")
    holder = await accounts.user_id("nobody")
    assert (await assign(accounts, "north-admin", "nobody", made, NORTH)).status == 200
    assert accounts.changed() == [holder]
    name = {"name": "Head gardener"}
    reply = await accounts.call("PUT", f"/roles/{made}", "north-admin", name)
    assert reply.body["message"] == "Role updated successfully"
    assert reply.data == {"id": made, "organizationId": NORTH, **name}
    assert accounts.changed() == [holder]
    area, sensor = [await permission_id(accounts, n) for n in ("area.view", "sensor.view")]
    path = f"/roles/{made}/permissions"
    reply = await accounts.call("POST", path, "root", {"permissionId": sensor, "id": made})
    assert (reply.status, reply.data) == (201, {"roleId": made, "permissionId": sensor})
    again = await accounts.call("POST", path, "root", {"permissionId": sensor})
    assert (again.status, again.body["message"]) == (400, "A unique constraint was violated")
    assert accounts.changed() == [holder]
    for _ in range(2):
        reply = await accounts.call("DELETE", f"{path}/{area}", "root")
        assert reply.body["message"] == "Permission removed from role successfully"
    assert accounts.changed() == [holder] * 2
    mine = "/permissions/my/check?permissionName={}&organizationId=1"
    for name_of, allowed in (("sensor.view", True), ("area.view", False)):
        reply = await accounts.call("GET", mine.format(name_of), "nobody")
        assert reply.data == {"hasPermission": allowed}
    reply = await accounts.call("DELETE", f"/roles/{made}", "north-admin")
    assert (reply.status, reply.body["message"]) == (200, "Role deleted successfully")
    assert accounts.changed() == [holder]
    assert (await accounts.call("DELETE", f"/roles/{made}", "north-admin")).status == 200
    assert (await accounts.call("GET", "/user-roles/my/roles", "nobody")).data == []


async def test_a_manager_of_permissions_grants_only_what_is_held_there(accounts: Accounts) -> None:
    manager = await new_role(accounts, "permission.manage", "area.view", name="Manager")
    made = await new_role(accounts)
    await assign(accounts, "root", "nobody", manager, NORTH)
    path = f"/roles/{made}/permissions"
    for name, status in (("area.view", 201), ("area.delete", 403), ("role.assign", 403)):
        body = {"permissionId": await permission_id(accounts, name)}
        assert (await accounts.call("POST", path, "nobody", body)).status == status
    viewer = await role_id(accounts, "Viewer")
    body = {"permissionId": await permission_id(accounts, "area.view")}
    reply = await accounts.call("POST", f"/roles/{viewer}/permissions", "nobody", body)
    assert reply.status == 403


async def test_roles_are_assigned_up_to_what_one_may_do_oneself(accounts: Accounts) -> None:
    named = {
        name: await role_id(accounts, name) for name in ("System Admin", "Org Admin", "Viewer")
    }
    mighty = await new_role(accounts, "organization.delete", name="Mighty")
    foreign = await new_role(accounts, name="Foreign", organizationId=SOUTH)
    for role, organization, status in (
        (named["System Admin"], NORTH, 403),
        (mighty, NORTH, 403),
        (foreign, NORTH, 403),
        (named["Viewer"], SOUTH, 403),
        (named["Org Admin"], NORTH, 200),
        (named["Viewer"], NORTH, 200),
    ):
        reply = await assign(accounts, "north-admin", "nobody", role, organization)
        assert reply.status == status, (role, reply.body)
    assert reply.body["message"] == "Role assigned successfully"
    assert reply.data["userId"] == await accounts.user_id("nobody")
    assert (reply.data["organizationId"], reply.data["role"]) == (NORTH, named["Viewer"])
    assert reply.data["status"] == "active"
    rows = await accounts.rows(
        "SELECT id FROM OrganizationUser WHERE userId = %s", reply.data["userId"]
    )
    assert len(rows) == 1


@pytest.mark.parametrize("holder", ["root", "mighty"])
async def test_nobody_takes_a_role_that_permits_more_than_the_own(
    accounts: Accounts, holder: str
) -> None:
    if holder == "mighty":
        holder = "nobody"
        role = await new_role(accounts, "organization.delete", name="Mighty")
        await assign(accounts, "root", holder, role, NORTH)
    viewer = await role_id(accounts, "Viewer")
    accounts.changed()
    assert (await assign(accounts, "north-admin", holder, viewer, NORTH)).status == 403
    path = f"/user-roles/{await accounts.user_id(holder)}/organization/1"
    assert (await accounts.call("DELETE", path, "north-admin")).status == 403
    assert accounts.changed() == []
    assert (await accounts.call("DELETE", path, "root")).status == 200
    assert accounts.changed() == [await accounts.user_id(holder)]


async def test_a_taken_role_ends_the_rights_and_taking_it_twice_is_no_error(
    accounts: Accounts,
) -> None:
    user = await accounts.user_id("north-viewer")
    path = f"/user-roles/{user}/organization/1"
    asked = "/permissions/my/check?permissionName=area.view"
    for expected in ({"hasPermission": True}, {"hasPermission": False}):
        assert (await accounts.call("GET", asked, "north-viewer")).data == expected
        reply = await accounts.call("DELETE", path, "north-admin", {"userId": user})
        assert (reply.status, reply.body["message"]) == (200, "Role removed successfully")
    assert accounts.changed() == [user, user]


async def test_the_roles_and_permissions_of_a_user_are_those_where_the_asker_may_look(
    accounts: Accounts,
) -> None:
    user = await accounts.user_id("mixed")
    for who, organizations in (("root", {1, 2}), ("north-admin", {1}), ("south-admin", {2})):
        reply = await accounts.call("GET", f"/user-roles/{user}", who)
        assert {role["organizationId"] for role in reply.data} == organizations
        assert {role["name"] for role in reply.data} <= {"Viewer", "Org Admin"}
    mine = await accounts.call("GET", "/user-roles/my/roles", "mixed")
    assert len(mine.data) == 2
    path = f"/permissions/user/{user}"
    viewed = await accounts.call("GET", path + "?organizationId=1", "north-admin")
    assert {row["name"] for row in viewed.data} == {
        "area.view", "device.view", "sensor.view", "rule.view",
    }  # fmt: skip
    assert set(viewed.data[0]) == {"id", "name", "description"}
    check = f"/permissions/check?userId={user}&permissionName=area.delete"
    for who, query, allowed in (
        ("north-admin", "", False),
        ("root", "", True),
        ("root", "&organizationId=1", False),
        ("root", "&organizationId=2", True),
    ):
        reply = await accounts.call("GET", check + query, who)
        assert reply.data == {"hasPermission": allowed}, (who, query)


async def test_a_system_admin_is_permitted_everything(accounts: Accounts) -> None:
    every = await accounts.call("GET", "/permissions", "root")
    assert len(every.data) == 23
    path = f"/permissions/user/{await accounts.user_id('root')}"
    assert (await accounts.call("GET", path, "root")).data == every.data
    one = every.data[0]
    assert (await accounts.call("GET", f"/permissions/{one['id']}", "root")).data == one


async def test_memberships_are_listed_with_role_and_user(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/user-roles?organizationId=1", "north-admin")
    named = {row["User"]["userName"]: row["Role"]["name"] for row in reply.data}
    assert named["north-viewer"] == "Viewer"
    assert {row["organizationId"] for row in reply.data} == {NORTH}
    assert not any("password" in row or "password" in row["User"] for row in reply.data)
    every = await accounts.call("GET", "/user-roles", "north-admin")
    assert {row["organizationId"] for row in every.data} == {NORTH}
