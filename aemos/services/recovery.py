"""Lets people back in who forgot their password, and confirms that an address is theirs.

Both work by a one-time token that is sent by mail (spec/http-api.md section 6, rows 5 and 6).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.catalogue import digest
from aemos.services.events import Events, UserChanged
from aemos.services.outbox import Outbox
from aemos.services.passwords import Passwords
from aemos.storage import account_tokens, login_sessions, users
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

RESET, VERIFY = "reset", "verify"
_LIFETIMES = {RESET: 3_600_000, VERIFY: 7 * 86_400_000}  # milliseconds
_PATHS = {RESET: "/reset-password", VERIFY: "/verify-email"}
_WINDOW, _LETTERS = 900_000, 3  # so many letters in so many milliseconds to one user
_MAX_WAITING = 100  # requests that are being looked at, for all users together
_INVALID = "Invalid or expired token"


def random_token() -> str:
    """@return: 32 bytes from the operating system as text that needs no escaping in a link."""
    return secrets.token_urlsafe(32)


@attrs.define
class Recovery:
    """Sends one-time tokens and takes them back."""

    _database: Database
    _events: Events
    _passwords: Passwords
    _outbox: Outbox
    _link: str
    _new_token: Callable[[], str] = random_token
    _waiting: int = attrs.field(default=0, init=False)

    _log = Logger()

    def ask_for_reset(self, email: str) -> None:
        """Send a token for a new password, if there is such an active user.

        Nothing that the caller can see, not even the time, tells whether there is one: the work is
        done afterwards. Beyond 3 letters in 15 minutes, a user gets no more.
        """
        self._later(RESET, email)

    def ask_to_verify(self, email: str) -> None:
        """Send a token that confirms the address of a new user."""
        self._later(VERIFY, email)

    async def reset(self, token: str, password: str) -> None:
        """Set a new password and end every session of the user.

        @raise BadRequest: the token is unknown, used or over.
        """
        found = await self._database.read(account_tokens.find, digest(token), RESET)
        if found is None:
            raise BadRequest(_INVALID)
        hashed = await self._passwords.hash(password)

        def write(tx: Transaction) -> int:
            row = _used(tx, token, RESET)
            tx.update("User", row["user_id"], {"password": hashed})
            # Whoever reads mail at the address has shown it, too.
            account_tokens.confirm(tx, row["user_id"], row["email"])
            login_sessions.revoke_all(tx, row["user_id"])
            return int(row["user_id"])

        self._events.publish(UserChanged(await self._database.transact(write)))

    async def verify(self, token: str) -> None:
        """Note that the address is confirmed. @raise BadRequest: as `reset`."""

        def write(tx: Transaction) -> None:
            row = _used(tx, token, VERIFY)
            account_tokens.confirm(tx, row["user_id"], row["email"])

        await self._database.transact(write)

    async def verified(self, user: Row) -> bool:
        """@return: whether the user has confirmed the address that the row shows."""
        email = await self._database.read(account_tokens.confirmed, user["id"])
        return email is not None and email == user["email"]

    def _later(self, purpose: str, email: str) -> None:
        if not self._outbox.enabled:
            self._log.warn(
                "a letter ({purpose}) was asked for, but mail.host is not set", purpose=purpose
            )
            return
        if self._waiting >= _MAX_WAITING:
            self._log.warn("too many letters are asked for at once; one is left out")
            return
        self._waiting += 1
        work = ensureDeferred(self._write(purpose, email))
        work.addErrback(
            lambda failure: self._log.failure(
                "writing a letter ({purpose}) failed", failure, purpose=purpose
            )
        )
        work.addBoth(self._written)

    def _written(self, _: Any) -> None:
        self._waiting -= 1

    async def _write(self, purpose: str, email: str) -> None:
        token = self._new_token()

        def write(tx: Transaction) -> None:
            user = users.find_by_email(tx, email)
            if user is None or user["status"] is False:
                return
            since = Instant(tx.now - _WINDOW)
            if account_tokens.made_since(tx, user["id"], purpose, since) >= _LETTERS:
                return
            ends = Instant(tx.now + _LIFETIMES[purpose])
            address = user["email"]
            account_tokens.create(tx, digest(token), user["id"], purpose, address, ends)
            subject, body = self._letter(purpose, token)
            self._outbox.put(tx, address, subject, body, ends)

        await self._database.transact(write)
        self._outbox.soon()

    def _letter(self, purpose: str, token: str) -> tuple[str, str]:
        """@return: subject and text."""
        shown = f"Token: {token}\n"
        if self._link:
            shown = f"{self._link.rstrip('/')}{_PATHS[purpose]}?token={token}\n"
        if purpose == RESET:
            return "Reset your AEMOS password", (
                "Somebody, hopefully you, asked to reset the password of your AEMOS account.\n"
                f"Within one hour, this sets a new one:\n\n{shown}\n"
                "If it was not you, there is nothing to do: your password stays as it is.\n"
            )
        return "Confirm your e-mail address for AEMOS", (
            "An AEMOS account was made with this e-mail address.\n"
            f"Within seven days, this confirms that it is yours:\n\n{shown}\n"
            "If it was not you, there is nothing to do.\n"
        )


def _used(tx: Transaction, token: str, purpose: str) -> Row:
    """Use a token, and void the others that the user has for the same purpose.

    @raise BadRequest: it is unknown, used or over.
    """
    row = account_tokens.find(tx, digest(token), purpose)
    if row is None:
        raise BadRequest(_INVALID)
    account_tokens.forget(tx, row["user_id"], purpose)
    return row
