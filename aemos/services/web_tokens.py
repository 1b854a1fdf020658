"""JSON web tokens: signs and reads them, and keeps the secret (spec/http-api.md section 3)."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import jwt
from twisted.internet.interfaces import IReactorTime

from aemos.config.checks import signing_secret
from aemos.config.schema import Auth, Settings
from aemos.errors import ConfigurationError, Unauthenticated
from aemos.model import Instant

_ALGORITHM = "HS256"
_SECRET_FILE = "jwt-secret"  # noqa: S105 - a file name
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BIGGEST_ID = 2**63 - 1


class Expired(Unauthenticated):
    """The token was valid once."""


@attrs.frozen
class Claims:
    """What a valid token says. `session` names the sign-in that it came from.

    `recorded` is false for an access token without a session id: one of the original, which shares
    the secret. Its session is named by its own digest. `number` counts the refresh tokens
    of a session.
    """

    user_id: int
    session: str
    recorded: bool
    expires_at: Instant
    number: int = 0


class WebTokens:
    """Signs and reads tokens, always with HS256, by the reactor's time."""

    def __init__(self, secret: str, settings: Auth, clock: IReactorTime) -> None:
        # HMAC pads short keys with zeros itself (RFC 2104): the signatures are the same, and the
        # library, which warns of keys under 32 bytes, stays silent about what was checked at start.
        self._key = secret.encode().ljust(32, b"\0")
        self._clock = clock
        self._access_lifetime = lifetime(settings.jwt_expires_in)
        self._refresh_lifetime = lifetime(settings.refresh_expires_in)

    def session_end(self) -> Instant:
        """@return: when a session that starts now is over with all its tokens."""
        return Instant.of(
            self._clock.seconds() + max(self._access_lifetime, self._refresh_lifetime)
        )

    def access(
        self,
        user_id: int,
        email: str,
        session: str,
        permissions: Sequence[str],
        roles: Sequence[str],
    ) -> str:
        """@return: an access token; the server trusts only its id and session."""
        claims = {
            "id": user_id,
            "email": email,
            "permissions": list(permissions),
            "roles": list(roles),
        }
        return self._sign(claims, session, self._access_lifetime)

    def refresh(self, user_id: int, session: str, number: int = 0) -> str:
        """@param number: of the token in its session. @return: a refresh token."""
        claims = {"id": user_id, "tokenType": "refresh", "number": number}
        return self._sign(claims, session, self._refresh_lifetime)

    def read_access(self, token: str) -> Claims:
        """@raise Unauthenticated: no token of ours, or a refresh token. @raise Expired: over."""
        claims = self._read(token, "Invalid token", "Token expired")
        if "tokenType" in claims:
            raise Unauthenticated("Invalid token")
        recorded = "sid" in claims
        session = claims["sid"] if recorded else hashlib.sha256(token.encode()).hexdigest()[:32]
        return Claims(claims["id"], session, recorded, Instant.of(claims["exp"]))

    def read_refresh(self, token: str) -> Claims:
        """@raise Unauthenticated: no refresh token of ours. @raise Expired: over.

        One of the original has no session: signing out could not revoke it, so it is refused.
        """
        claims = self._read(token, "Invalid refresh token", "Refresh token expired")
        if claims.get("tokenType") != "refresh" or "sid" not in claims:
            raise Unauthenticated("Invalid refresh token")
        number = claims.get("number", 0)
        return Claims(claims["id"], claims["sid"], True, Instant.of(claims["exp"]), number)

    def _sign(self, claims: dict[str, Any], session: str, seconds: int) -> str:
        now = int(self._clock.seconds())
        claims |= {"sid": session, "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def _read(self, token: str, invalid: str, expired: str) -> dict[str, Any]:
        try:
            # Times are checked below, by the clock that was given.
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                options={
                    "require": ["id", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                    "verify_sub": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise Unauthenticated(invalid) from None
        user_id, end, session = claims["id"], claims["exp"], claims.get("sid", "")
        if (
            type(user_id) is not int
            or not 0 < user_id <= _BIGGEST_ID
            or type(end) not in (int, float)
            or not 0 < end < 2**40
            or not isinstance(session, str)
        ):
            raise Unauthenticated(invalid)
        if end <= self._clock.seconds():
            raise Expired(expired)
        return claims


def new_session() -> str:
    """@return: an id that cannot be guessed, 32 hex digits."""
    return secrets.token_hex(16)


def lifetime(text: str) -> int:
    """@param text: checked by `aemos.config.checks.duration`: `3600`, `30m`, `24h`, `7d`.

    @return: seconds.
    """
    parts = re.fullmatch(r"(\d+) ?([smhdw]?)", text)
    if parts is None:
        raise ConfigurationError(f"{text!r} is not a time: give seconds, or 30m, 24h, 7d")
    return int(parts[1]) * _UNITS[parts[2]]


def signing_key(settings: Settings) -> str:
    """Take the secret of the configuration, or that of the data folder, made when missing.

    @raise ConfigurationError: a secret that is too short or known to everybody, or a file that
        cannot be read or made.
    """
    path = Path(settings.data_dir) / _SECRET_FILE
    secret, where = settings.auth.jwt_secret, "JWT_SECRET"
    if not secret:
        try:
            secret, where = _kept(path), str(path)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be used: {error.strerror}") from error
    if problem := signing_secret(secret) or ("" if secret else "is empty"):
        raise ConfigurationError(f"{where} {problem}")
    return secret


def _kept(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written aside and linked: of two servers that start at once, both get the first one's.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
    return path.read_text().strip()
