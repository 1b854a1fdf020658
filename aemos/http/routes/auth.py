"""`/auth`: sign up, in and out (spec/http-api.md section 3)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from aemos.errors import BadRequest
from aemos.http.render import Answer, success
from aemos.http.routing import API, Auth, Call, route
from aemos.http.schemas import UNSET, Body, Email, Short, UnsetType, given
from aemos.services.auth import Account, Authentication, SignIn
from aemos.services.recovery import Recovery

NewPassword = Annotated[str, Meta(min_length=8)]
Token = Annotated[str, Meta(min_length=1, max_length=200)]


class Credentials(Body):
    """Body of `POST /auth/login`."""

    email: Email
    password: Annotated[str, Meta(min_length=1)]


class Registration(Body):
    """Body of `POST /auth/signup`; empty text counts as not given (the dashboard sends it)."""

    userName: Annotated[str, Meta(min_length=3, max_length=256)]
    email: Email
    password: NewPassword
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


class Forgotten(Body):
    """Body of `POST /auth/forgot-password`."""

    email: Email


class Reset(Body):
    """Body of `POST /auth/reset-password`."""

    token: Token
    password: NewPassword


class Verification(Body):
    """Body of `POST /auth/verify-email`."""

    token: Token


class AuthRoutes:
    """Sessions of users."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/auth",)

    def __init__(self, authentication: Authentication, recovery: Recovery) -> None:
        self._authentication, self._recovery = authentication, recovery

    @route("POST", "/login", auth=Auth.OPEN, failures=(401,))
    async def login(self, call: Call, body: Credentials) -> Answer:
        """Sign in with e-mail and password."""
        sign_in = await self._authentication.login(body.email, body.password, call.network)
        return success(data={"user": _brief(sign_in.account), **_session(sign_in)})

    @route("POST", "/signup", auth=Auth.OPEN, status=201, failures=(409,))
    async def signup(self, call: Call, body: Registration) -> Answer:
        """Make an account, without any role, and sign in."""
        sign_in = await self._authentication.signup(body.columns(), body.password, body.notifyUser)
        self._recovery.ask_to_verify(body.email)
        user = {**_full(sign_in.account), "termsAndConditions": True}
        data = {"user": user, **_session(sign_in)}
        if body.notifyUser:
            # Compat: the original only logged letters and SMS; none is sent.
            data["notifications"] = {"email": False, "sms": False, "socket": True}
        return success(data=data)

    @route("POST", "/refresh-token", auth=Auth.OPEN, failures=(401,))
    async def refresh(self, call: Call, body: Refreshing) -> Answer:
        """Get a new access token for the same session."""
        session = await self._authentication.refresh(body.refreshToken)
        return success(
            data={
                "token": session.token,
                "refreshToken": session.refresh_token,
                "user": _brief(session.account),
            }
        )

    @route("POST", "/logout", keys=False)
    async def logout(self, call: Call) -> Answer:
        """Sign out: void the access and refresh tokens of this session."""
        await self._authentication.logout(call.principal)
        return success(message="Logged out successfully")

    @route("GET", "/me", keys=False, data={"user": "User"})
    async def me(self, call: Call) -> Answer:
        """Show the caller's account: under `user`, and flat as the dashboard reads it."""
        account = await self._authentication.account(call.principal)
        verified = await self._recovery.verified(account.user)
        user = {**_full(account), "emailVerified": verified}
        return success(data={"user": user, **user})

    @route("POST", "/forgot-password", auth=Auth.OPEN)
    async def forgot_password(self, call: Call, body: Forgotten) -> Answer:
        """Get a token for a new password by mail; the answer tells nothing about the account."""
        self._recovery.ask_for_reset(body.email)
        return success(message="If there is such an account, a letter is on its way")

    @route("POST", "/reset-password", auth=Auth.OPEN)
    async def reset_password(self, call: Call, body: Reset) -> Answer:
        """Set a new password with the token from the letter; every session of the user ends."""
        await self._recovery.reset(body.token, body.password)
        return success(message="Password reset successfully")

    @route("POST", "/verify-email", auth=Auth.OPEN)
    async def verify_email(self, call: Call, body: Verification) -> Answer:
        """Confirm an e-mail address with the token from the letter."""
        await self._recovery.verify(body.token)
        return success(message="Email verified successfully")


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
