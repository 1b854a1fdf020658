"""Signing up, in and out over HTTP (spec/http-api.md sections 1.5 and 3)."""

from __future__ import annotations

import jwt
import pytest
from twisted.internet.defer import ensureDeferred

from aemos.errors import Unauthenticated
from aemos.model import Instant
from aemos.services.events import UserChanged, UserWelcomed
from tests.accounts import MEMBERS, NORTH, SECRET, Accounts, credentials
from tests.farm import Reply


def registration(**changes: object) -> dict[str, object]:
    return {
        "userName": "Ada",
        "email": "ada@x.example",
        "password": "long enough",
        "phoneNumber": "",
        "notifyByEmail": True,
        "notifyBySMS": False,
        "termsAndConditions": True,
    } | changes


async def test_login_gives_the_user_permissions_roles_and_both_tokens(accounts: Accounts) -> None:
    reply = await accounts.login("north-viewer")
    assert reply.status == 200
    assert reply.body["status"] == "success"
    viewer = ["area.view", "device.view", "rule.view", "sensor.view"]
    assert reply.data["permissions"] == viewer
    assert reply.data["roles"] == ["Viewer"]
    user = reply.data["user"]
    assert type(user.pop("id")) is int
    assert user == {
        "email": "north-viewer@x.example",
        "userName": "north-viewer",
        "phoneNumber": None,
        "roles": ["Viewer"],
        "permissions": viewer,
    }
    assert set(reply.data) == {"user", "permissions", "roles", "token", "refreshToken"}
    assert jwt.get_unverified_header(reply.data["token"]) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(reply.data["token"], SECRET, algorithms=["HS256"])
    assert claims["email"] == "north-viewer@x.example"
    assert claims["permissions"] == viewer
    assert claims["roles"] == ["Viewer"]
    assert claims["exp"] - claims["iat"] == 24 * 3600
    refresh = jwt.decode(reply.data["refreshToken"], SECRET, algorithms=["HS256"])
    assert refresh["tokenType"] == "refresh"
    assert refresh["exp"] - refresh["iat"] == 7 * 24 * 3600


async def test_a_system_admin_has_every_permission_there_is(accounts: Accounts) -> None:
    reply = await accounts.login("root")
    names = await accounts.rows("SELECT name FROM Permission ORDER BY name")
    assert reply.data["permissions"] == [row["name"] for row in names]
    assert len(reply.data["permissions"]) >= 23


async def test_a_bad_login_is_refused_with_one_text(accounts: Accounts) -> None:
    for body in (
        credentials("north-admin", "wrong"),
        credentials("unknown"),
        credentials("north-admin", "correct horse" + "x" * 80),
    ):
        reply = await accounts.call("POST", "/auth/login", body=body)
        assert reply.status == 401
        assert reply.body == {
            "status": "fail",
            "statusCode": 401,
            "message": "Invalid email or password",
        }


async def test_an_inactive_user_cannot_sign_in_and_loses_the_session(accounts: Accounts) -> None:
    token = await accounts.token("north-admin")
    await accounts.run("UPDATE User SET status = %s WHERE userName = %s", False, "north-admin")
    (row,) = await accounts.rows("SELECT id FROM User WHERE userName = %s", "north-admin")
    accounts.events.publish(UserChanged(row["id"]))
    assert (await accounts.login("north-admin")).status == 401
    reply = await accounts.call("GET", "/organizations", token)
    assert (reply.status, reply.body["message"]) == (401, "User not found or inactive")


async def test_an_inactive_membership_grants_nothing(accounts: Accounts) -> None:
    reply = await accounts.login("suspended")
    assert (reply.data["permissions"], reply.data["roles"]) == ([], [])
    assert (await accounts.call("GET", "/organizations", "suspended")).status == 403


async def test_what_another_process_changed_counts_after_a_while(accounts: Accounts) -> None:
    assert (await accounts.call("GET", "/organizations", "north-admin")).status == 200
    await accounts.run("UPDATE OrganizationUser SET status = 'inactive'")
    assert (await accounts.call("GET", "/organizations", "north-admin")).status == 200
    accounts.clock.ahead += 61
    assert (await accounts.call("GET", "/organizations", "north-admin")).status == 403


async def test_a_password_of_over_72_bytes_is_cut_as_the_original_did(accounts: Accounts) -> None:
    long = "ü" * 40
    assert (
        await accounts.call("POST", "/auth/signup", body=registration(password=long))
    ).status == 201
    assert (await accounts.login("ada", long)).status == 200
    assert (await accounts.login("ada", "ü" * 36)).status == 200
    assert (await accounts.login("ada", "ü" * 35)).status == 401


async def test_email_is_found_in_any_case(accounts: Accounts) -> None:
    body = {"email": "North-Admin@X.example", "password": "correct horse"}
    assert (await accounts.call("POST", "/auth/login", body=body)).status == 200


async def test_signup_takes_the_form_of_the_dashboard(accounts: Accounts) -> None:
    reply = await accounts.call("POST", "/auth/signup", body=registration())
    assert reply.status == 201
    user = reply.data["user"]
    assert "password" not in user
    assert user["phoneNumber"] is None
    assert user["notifyByEmail"] is True
    assert user["notifyBySMS"] is False
    assert user["termsAndConditions"] is True
    assert user["status"] is True
    assert user["createdAt"] == user["updatedAt"]
    assert reply.data["permissions"] == reply.data["roles"] == []
    assert "notifications" not in reply.data
    me = await accounts.call("GET", "/auth/me", reply.data["token"])
    assert me.data["user"]["id"] == user["id"]
    assert me.data["user"]["termsAndConditions"] == "1"
    (row,) = await accounts.rows("SELECT password FROM User WHERE email = %s", "ada@x.example")
    assert row["password"].startswith("$2b$04$")


async def test_signup_tells_of_notifications_only_when_asked(accounts: Accounts) -> None:
    welcomed: list[UserWelcomed] = []
    accounts.events.subscribe(UserWelcomed, welcomed.append)
    reply = await accounts.call("POST", "/auth/signup", body=registration(notifyUser=True))
    assert reply.data["notifications"] == {"email": False, "sms": False, "socket": True}
    assert [event.user_id for event in welcomed] == [reply.data["user"]["id"]]


async def test_signup_refuses_an_email_that_is_taken(accounts: Accounts) -> None:
    for email in ("north-admin@x.example", "NORTH-ADMIN@x.example"):
        reply = await accounts.call("POST", "/auth/signup", body=registration(email=email))
        assert (reply.status, reply.body["message"]) == (409, "User with this email already exists")


async def test_an_email_stays_unique_without_the_index(accounts: Accounts) -> None:
    """An adopted database may have rows that break it (spec/data-model.md section 5)."""
    index = {"sqlite": "`User.email`", "mysql": "email ON User"}[accounts.database.dialect.name]
    await accounts.run(f"DROP INDEX {index}")
    reply = await accounts.call(
        "POST", "/auth/signup", body=registration(email="north-admin@x.example")
    )
    assert reply.status == 409


async def test_signup_names_the_field_that_is_wrong(accounts: Accounts) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"termsAndConditions": False}, "You must accept the terms and conditions"),
        ({"userName": "Al"}, '"userName" length must be at least 3 characters long'),
        ({"email": "nowhere"}, '"email" must be a valid email'),
        ({"password": "short"}, '"password" length must be at least 8 characters long'),
        ({"notifyBySMS": True}, '"smsNumber" is required'),
        ({"phoneNumber": "1" * 51}, '"phoneNumber" length must be less than or equal to 50'),
        ({"status": True}, '"status" is not allowed'),
        ({"createdBy": 1}, '"createdBy" is not allowed'),
    ]
    for changes, message in cases:
        reply = await accounts.call("POST", "/auth/signup", body=registration(**changes))
        assert reply.status == 400
        assert reply.body["message"].startswith(f"Invalid request body: {message}")


async def test_me_is_nested_and_flat_and_has_no_password(accounts: Accounts) -> None:
    reply = await accounts.call("GET", "/auth/me", "north-viewer")
    user = reply.data["user"]
    assert reply.data == {"user": user, **user}
    assert user["roles"] == ["Viewer"]
    assert "area.view" in user["permissions"]
    assert set(user) >= {"id", "userName", "email", "phoneNumber", "notifyByMessage", "createdBy"}
    assert "password" not in user


async def test_refreshing_gives_an_access_token_of_the_same_session(accounts: Accounts) -> None:
    login = await accounts.login("north-viewer")
    accounts.clock.ahead += 25 * 3600
    assert (await accounts.call("GET", "/auth/me", login.data["token"])).status == 401
    body = {"refreshToken": login.data["refreshToken"]}
    reply = await accounts.call("POST", "/auth/refresh-token", body=body)
    assert reply.status == 200
    assert reply.data["user"]["userName"] == "north-viewer"
    assert (await accounts.call("GET", "/auth/me", reply.data["token"])).status == 200
    assert (await accounts.call("POST", "/auth/logout", reply.data["token"])).status == 200
    again = await accounts.call("POST", "/auth/refresh-token", body=body)
    assert (again.status, again.body["message"]) == (401, "Invalid refresh token")


async def refresh(accounts: Accounts, token: str) -> Reply:
    return await accounts.call("POST", "/auth/refresh-token", body={"refreshToken": token})


async def test_a_refresh_token_is_good_until_its_successor_was_used(accounts: Accounts) -> None:
    first = (await accounts.login("north-viewer")).data["refreshToken"]
    # A client that ignores the new one goes on as ever.
    successors = [(await refresh(accounts, first)).data["refreshToken"] for _ in range(3)]
    second = await refresh(accounts, successors[0])
    assert second.status == 200
    assert (await refresh(accounts, successors[1])).status == 200


async def test_a_refresh_token_that_comes_too_late_ends_the_session(accounts: Accounts) -> None:
    first = (await accounts.login("north-viewer")).data["refreshToken"]
    second = (await refresh(accounts, first)).data
    third = (await refresh(accounts, second["refreshToken"])).data
    assert (await accounts.call("GET", "/auth/me", third["token"])).status == 200
    late = await refresh(accounts, first)
    assert (late.status, late.body["message"]) == (401, "Invalid refresh token")
    for token in (second["token"], third["token"]):
        assert (await accounts.call("GET", "/auth/me", token)).status == 401
    assert (await refresh(accounts, third["refreshToken"])).status == 401


async def test_refreshing_refuses_what_is_no_valid_refresh_token(accounts: Accounts) -> None:
    login = await accounts.login("north-viewer")

    async def refused(token: object) -> str:
        body = {"refreshToken": token}
        reply = await accounts.call("POST", "/auth/refresh-token", body=body)
        assert reply.status == 401
        return str(reply.body["message"])

    assert await refused(login.data["token"]) == "Invalid refresh token"
    assert await refused("garbage") == "Invalid refresh token"
    # One of the original: signing out could not revoke it.
    legacy = jwt.encode(
        {"id": login.data["user"]["id"], "tokenType": "refresh", "exp": 2**33}, SECRET
    )
    assert await refused(legacy) == "Invalid refresh token"
    accounts.clock.ahead += 8 * 86400
    assert await refused(login.data["refreshToken"]) == "Refresh token expired"


async def test_logout_voids_all_tokens_of_the_session_and_no_other(accounts: Accounts) -> None:
    first, second = await accounts.login("north-viewer"), await accounts.login("north-viewer")
    told: list[UserChanged] = []
    accounts.events.subscribe(UserChanged, told.append)
    reply = await accounts.call("POST", "/auth/logout", first.data["token"])
    assert (reply.status, reply.body) == (
        200,
        {"status": "success", "message": "Logged out successfully"},
    )
    assert [event.user_id for event in told] == [first.data["user"]["id"]]
    again = await accounts.call("GET", "/auth/me", first.data["token"])
    assert (again.status, again.body["message"]) == (401, "Token is no longer valid")
    body = {"refreshToken": first.data["refreshToken"]}
    assert (await accounts.call("POST", "/auth/refresh-token", body=body)).status == 401
    assert (await accounts.call("GET", "/auth/me", second.data["token"])).status == 200


async def test_a_token_of_the_original_is_taken_and_can_be_signed_out(accounts: Accounts) -> None:
    user = (await accounts.login("north-viewer")).data["user"]
    legacy = jwt.encode({"id": user["id"], "email": user["email"], "exp": 2**33}, SECRET)
    assert (await accounts.call("GET", "/auth/me", legacy)).status == 200
    assert (await accounts.call("POST", "/auth/logout", legacy)).status == 200
    assert (await accounts.call("GET", "/auth/me", legacy)).status == 401


async def test_a_session_that_nobody_opened_is_not_valid(accounts: Accounts) -> None:
    """The secret alone makes no session that cannot be ended."""
    forged = jwt.encode({"id": 1, "sid": "0" * 32, "exp": 2**33}, SECRET)
    assert (await accounts.call("GET", "/auth/me", forged)).status == 401


async def test_tokens_are_refused_for_what_is_wrong_with_them(accounts: Accounts) -> None:
    login = (await accounts.login("north-viewer")).data
    user = {"id": login["user"]["id"]}
    unsigned = jwt.encode({**user, "exp": 2**33}, None, algorithm="none")
    other_algorithm = jwt.encode({**user, "exp": 2**33}, SECRET * 2, algorithm="HS512")
    cases = {
        "garbage": "Invalid token",
        "a.b.c": "Invalid token",
        login["refreshToken"]: "Invalid token",
        jwt.encode({**user, "exp": 2**33}, "another secret, also long enough"): "Invalid token",
        unsigned: "Invalid token",
        other_algorithm: "Invalid token",
        jwt.encode(user, SECRET): "Invalid token",  # never expires
        jwt.encode({"id": "1", "exp": 2**33}, SECRET): "Invalid token",
        jwt.encode({"id": 2**70, "exp": 2**33}, SECRET): "Invalid token",
        jwt.encode({"id": 987654, "exp": 2**33}, SECRET): "User not found or inactive",
        jwt.encode({**user, "exp": 1_000_000_000}, SECRET): "Token expired",
    }
    for token, message in cases.items():
        reply = await accounts.call("GET", "/auth/me", token)
        assert (reply.status, reply.body["message"]) == (401, message), token
        assert reply.body["status"] == "fail"


async def test_a_request_without_a_token_is_refused(accounts: Accounts) -> None:
    for header in (None, "Basic abc", "Bearer", "Bearer  "):
        headers = {} if header is None else {"Authorization": header}
        reply = await accounts.call("GET", "/auth/me", **headers)
        assert (reply.status, reply.body["message"]) == (401, "Authentication required")
        assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_role_change_counts_at_once(accounts: Accounts) -> None:
    assert (await accounts.call("GET", "/organizations", "north-viewer")).status == 403
    await accounts.run(
        "UPDATE OrganizationUser SET role = (SELECT id FROM Role WHERE name = 'Org Admin')"
        " WHERE userId = (SELECT id FROM User WHERE userName = 'north-viewer')"
    )
    (row,) = await accounts.rows("SELECT id FROM User WHERE userName = 'north-viewer'")
    accounts.events.publish(UserChanged(row["id"]))
    assert (await accounts.call("GET", "/organizations", "north-viewer")).status == 200


async def test_principals_carry_rights_by_organization(accounts: Accounts) -> None:
    for name in MEMBERS:
        token = await accounts.token(name)
        principal = await accounts.authentication.principal_for_token(token)
        active = {where for where, _, status in MEMBERS[name] if status == "active"}
        assert principal.organizations == active
        assert principal.administrator is (name == "root")
        assert principal.name == f"{name}@x.example"
        assert principal.expires_at is not None
        assert principal.expires_at > Instant.of(accounts.clock.seconds() + 86000)
    mixed = await accounts.authentication.principal_for_token(await accounts.token("mixed"))
    assert not mixed.may("area.delete", NORTH)
    assert mixed.may("area.delete", 2)


async def test_a_principal_of_before_gets_the_rights_of_now_or_ends(accounts: Accounts) -> None:
    authentication = accounts.authentication
    token = await accounts.token("north-viewer")
    before = await authentication.principal_for_token(token)
    assert await authentication.principal_now(before) == before
    by_password = await authentication.principal_for_password(
        "north-viewer@x.example", "correct horse"
    )
    assert by_password.expires_at is None
    await authentication.logout(before)
    with pytest.raises(Unauthenticated, match="no longer valid"):
        await authentication.principal_now(before)
    assert await authentication.principal_now(by_password) == by_password


async def test_a_change_while_the_rights_are_read_is_not_lost(accounts: Accounts) -> None:
    token = await accounts.token("north-viewer")
    user_id = (await accounts.authentication.principal_for_token(token)).id
    accounts.events.publish(UserChanged(user_id))
    reading = ensureDeferred(accounts.authentication.principal_for_token(token))
    accounts.events.publish(UserChanged(user_id))
    await reading
    await accounts.run("UPDATE OrganizationUser SET status = 'inactive'")
    now = await accounts.authentication.principal_for_token(token)
    assert now.organizations == frozenset()


async def test_a_session_belongs_to_one_user(accounts: Accounts) -> None:
    mine = await accounts.authentication.principal_for_token(await accounts.token("north-viewer"))
    other = await accounts.authentication.principal_for_token(await accounts.token("root"))
    claims = {"id": other.id, "sid": mine.credential, "exp": 2**33}
    forged = jwt.encode(claims, SECRET)
    assert (await accounts.call("GET", "/auth/me", forged)).status == 401


async def test_a_principal_of_before_ends_with_its_token(accounts: Accounts) -> None:
    before = await accounts.authentication.principal_for_token(await accounts.token("root"))
    accounts.clock.ahead += 25 * 3600
    with pytest.raises(Unauthenticated, match="Token expired"):
        await accounts.authentication.principal_now(before)
