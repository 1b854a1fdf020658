"""Finds out who is asking: a user by JSON web token, a program by its key, a device by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from aemos.errors import StorageUnavailable, TokenExpired, Unauthenticated, Unavailable
from aemos.http.routing import Auth, bearer
from aemos.model import ANONYMOUS, Instant, Principal
from aemos.services.catalogue import Catalogue, Credential, Identity
from aemos.services.key_login import PREFIX

_LOOKUP_TIMEOUT = 2.0  # seconds, spec/http-api.md section 1.5
_AWAY = "Authentication service unavailable, please try again"


class UserTokens(Protocol):
    """What this needs of `aemos.services.auth.Authentication`."""

    async def principal_for_token(self, token: str) -> Principal:
        """@raise Unauthenticated: the token is not valid (any more)."""


class Keys(Protocol):
    """What this needs of `aemos.services.key_login.KeyLogin`."""

    async def principal(self, key: str) -> Principal:
        """@raise Unauthenticated: the key is not valid (any more)."""


class Authenticator:
    """Authenticates requests as their route declares it (spec/http-api.md section 1.5)."""

    def __init__(
        self,
        users: UserTokens,
        catalogue: Catalogue,
        clock: IReactorTime,
        used: Callable[[Identity, Credential], object] = lambda identity, credential: None,
        keys: Keys | None = None,
    ) -> None:
        """@param used: told about each valid device token, to keep `lastUsed`.

        @param keys: None = API keys are tokens like others: not valid.
        """
        self._users, self._catalogue, self._clock, self._used = users, catalogue, clock, used
        self._keys = keys

    async def principal(self, request: Request, auth: Auth) -> Principal:
        """@return: who asks; `ANONYMOUS` on an open route.

        @raise Unauthenticated: no token, or one that is not valid.
        @raise Unavailable: nobody can tell just now.
        """
        if auth is Auth.OPEN:
            return ANONYMOUS
        token = bearer(request)
        if token is None and auth is Auth.USER:
            token = request.getHeader("X-API-Key") or None
        if token is None:
            raise Unauthenticated("Authentication required")
        if auth is Auth.USER:
            if self._keys is not None and token.startswith(PREFIX):
                return await self._keys.principal(token)
            return await self._users.principal_for_token(token)
        return await self.device(token)

    async def device(self, token: str) -> Principal:
        """@return: the sensor or device that holds this token now.

        @raise Unauthenticated: unknown, revoked or expired.
        """
        identity = self._catalogue.held_token(token) or await self._identity(token)
        if identity is not None:
            credential = identity.credential(token, Instant.of(self._clock.seconds()))
            if credential is not None:
                self._used(identity, credential)
                return identity.principal(credential)
            raise TokenExpired("Invalid or expired token")
        raise Unauthenticated("Invalid or expired token")

    async def _identity(self, token: str) -> Identity | None:
        answer: defer.Deferred[Identity | StorageUnavailable | None] = defer.Deferred()

        def found(identity: Identity | StorageUnavailable | None) -> None:
            # In a turn of its own: while the catalogue is telling those who wait, it does not give
            # the identity to others, and nobody could take back a message that has to wait for it.
            self._clock.callLater(0, tell, identity)

        def tell(identity: Identity | StorageUnavailable | None) -> None:
            if not answer.called:
                answer.callback(identity)

        self._catalogue.find_token(token, found)
        answer.addTimeout(_LOOKUP_TIMEOUT, self._clock)
        try:
            identity = await answer
        except defer.TimeoutError:
            raise Unavailable(_AWAY) from None
        if isinstance(identity, StorageUnavailable):
            raise Unavailable(_AWAY)
        return identity
