"""`/auth`: sign up, in and out (spec/http-api.md section 3)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from aemos.errors import BadRequest
from aemos.http.render import Answer, success
from aemos.http.routing import API, Auth, Call, route
from aemos.http.schemas import UNSET, Body, Email, Short, UnsetType, given
from aemos.services.auth import Account, Authentication, SignIn


class Credentials(Body):
    """Body of `POST /auth/login`."""

    email: Email
    password: Annotated[str, Meta(min_length=1)]


class Registration(Body):
    """Body of `POST /auth/signup`; empty text counts as not given (the dashboard sends it)."""

    userName: Annotated[str, Meta(min_length=3, max_length=256)]
    email: Email
    password: Annotated[str, Meta(min_length=8)]
    termsAndConditions: bool
    phoneNumber: Short | UnsetType | None = UNSET
    notifyByEmail: bool | UnsetType = UNSET
    notifyBySMS: bool | UnsetType = UNSET
    notifyByMessage: bool | UnsetType = UNSET
    notifyUser: bool = False
    smsNumber: Short | UnsetType | None = UNSET
    detail: str | UnsetType | None = UNSET

    def columns(self) -> dict[str, Any]:
        """@return: columns of `User` but the password.

        @raise BadRequest: the terms were not accepted, or there is no number for SMS.
        """
        if not self.termsAndConditions:
            raise BadRequest("Invalid request body: You must accept the terms and conditions")
        if self.notifyBySMS is True and not self.smsNumber:
            raise BadRequest('Invalid request body: "smsNumber" is required')
        values = given(self)
        del values["password"], values["notifyUser"]
        # Compat: the column is text, and the original stored its `true` as "1".
        return {name: None if value == "" else value for name, value in values.items()} | {
            "termsAndConditions": "1"
        }


class Refreshing(Body):
    """Body of `POST /auth/refresh-token`."""

    refreshToken: Annotated[str, Meta(min_length=1)]


class AuthRoutes:
    """Sessions of users."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/auth",)

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    @route("POST", "/login", auth=Auth.OPEN)
    async def login(self, call: Call, body: Credentials) -> Answer:
        """Sign in with e-mail and password."""
        sign_in = await self._authentication.login(body.email, body.password)
        return success(data={"user": _brief(sign_in.account), **_session(sign_in)})

    @route("POST", "/signup", auth=Auth.OPEN, status=201)
    async def signup(self, call: Call, body: Registration) -> Answer:
        """Make an account, without any role, and sign in."""
        sign_in = await self._authentication.signup(body.columns(), body.password)
        user = {**_full(sign_in.account), "termsAndConditions": True}
        data = {"user": user, **_session(sign_in)}
        if body.notifyUser:
            # Compat: the original only logged these; nothing is sent, and the answer says so.
            data["notifications"] = {"email": False, "sms": False, "socket": False}
        return success(data=data)

    @route("POST", "/refresh-token", auth=Auth.OPEN)
    async def refresh(self, call: Call, body: Refreshing) -> Answer:
        """Get a new access token for the same session."""
        account, token = await self._authentication.refresh(body.refreshToken)
        return success(data={"token": token, "user": _brief(account)})

    @route("POST", "/logout")
    async def logout(self, call: Call) -> Answer:
        """Sign out: void the access and refresh tokens of this session."""
        await self._authentication.logout(call.principal)
        return success(message="Logged out successfully")

    @route("GET", "/me", data={"user": "User"})
    async def me(self, call: Call) -> Answer:
        """Show the caller's account: under `user`, and flat as the dashboard reads it."""
        user = _full(await self._authentication.account(call.principal))
        return success(data={"user": user, **user})


def _brief(account: Account) -> dict[str, Any]:
    user = account.user
    return {
        "id": user["id"],
        "email": user["email"],
        "userName": user["userName"],
        "phoneNumber": user["phoneNumber"],
        "roles": account.roles,
        "permissions": account.permissions,
    }


def _full(account: Account) -> dict[str, Any]:
    return {**account.user, "permissions": account.permissions, "roles": account.roles}


def _session(sign_in: SignIn) -> dict[str, Any]:
    return {
        "permissions": sign_in.account.permissions,
        "roles": sign_in.account.roles,
        "token": sign_in.token,
        "refreshToken": sign_in.refresh_token,
    }
