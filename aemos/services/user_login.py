"""Signs users in over MQTT: the name is the e-mail, the password a web token or the user's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos.errors import AemosError, StorageUnavailable, Unauthenticated, Unavailable
from aemos.model import Principal
from aemos.services.auth import Authentication

LoginDone = Callable[[Principal | AemosError], object]

_MAX_EMAIL = 256
_MAX_PASSWORD = 8192  # bytes; web tokens of users with many permissions are long
_ASK_AGAIN = 1.0  # seconds, while the database is away


class UserLogin:
    """CONNECT authentication of users (docs/access.rst)."""

    _log = Logger()

    def __init__(self, authentication: Authentication, clock: IReactorTime) -> None:
        self._authentication, self._clock = authentication, clock

    def authenticate(self, email: str, password: bytes, private: bool, done: LoginDone) -> None:
        """Call `done` with the principal, or with why not.

        A web token is good on any connection; the user's own password is not even looked at unless
        nobody on the way can read it.
        """
        self._answer(lambda: self._sign_in(email, password, private), done)

    def refresh(self, principal: Principal, done: LoginDone) -> None:
        """Call `done` with the principal as its rights are now, or with why its sessions must end.

        Waits for the database if need be: a sign-out must not be forgotten because it met an
        outage.
        """

        def answered(result: Principal | AemosError) -> None:
            if isinstance(result, StorageUnavailable):
                self._clock.callLater(_ASK_AGAIN, self.refresh, principal, done)
            else:
                done(result)

        self._answer(lambda: self._authentication.principal_now(principal), answered)

    async def _sign_in(self, email: str, password: bytes, private: bool) -> Principal:
        if len(email) > _MAX_EMAIL or len(password) > _MAX_PASSWORD:
            raise Unauthenticated("unknown user or wrong password")
        try:
            text = password.decode()
        except UnicodeDecodeError:
            raise Unauthenticated("unknown user or wrong password") from None
        if _is_web_token(text):
            principal = await self._authentication.principal_for_token(text)
            if principal.name.lower() != email.lower():
                raise Unauthenticated("the web token is that of another user")
            return principal
        if not private:
            raise Unauthenticated(
                "a user's password is taken over TLS or from this machine only; a web token is"
                " taken everywhere"
            )
        return await self._authentication.principal_for_password(email, text)

    def _answer(self, ask: Callable[[], Awaitable[Principal]], done: LoginDone) -> None:
        async def answered() -> None:
            result: Principal | AemosError
            try:
                result = await ask()
            except AemosError as error:
                result = error
            except Exception:
                self._log.failure("a sign-in could not be decided")
                result = Unavailable("a fault of the server")
            done(result)

        ensureDeferred(answered()).addErrback(
            lambda failure: self._log.failure("the answer to a sign-in failed", failure)
        )


def _is_web_token(password: str) -> bool:
    """Three parts, the first of which begins as every JSON object does in base64."""
    return password.startswith("ey") and password.count(".") == 2
