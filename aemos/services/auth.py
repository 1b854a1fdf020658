"""Signs users in and out, and tells who holds a web token (spec/http-api.md section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos.errors import Conflict, DuplicateRow, Unauthenticated, Unavailable
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services.events import Events, UserChanged, UserWelcomed
from aemos.services.passwords import Passwords
from aemos.services.sign_in_limits import SignInLimits
from aemos.services.web_tokens import Expired, WebTokens, new_session
from aemos.storage import audit, login_sessions, roles, users
from aemos.storage.audit import Actor
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

SYSTEM_ADMIN = "System Admin"
"""Who holds a role of this name anywhere may do everything (spec/data-model.md section 4)."""

_BAD_LOGIN = "Invalid email or password"
_TAKEN = "User with this email already exists"
_REVOKED = "Token is no longer valid"
_NO_USER = "User not found or inactive"
_MAX_ACCOUNTS = 10_000
_ANYBODY = Actor(PrincipalKind.ANONYMOUS.value)


@attrs.frozen
class Account:
    """A user and what the active memberships grant. `user` is the row without the password.

    `permissions` are sorted names: all there are for a System Admin, else those held anywhere.
    """

    user: Row
    granted: Mapping[int, frozenset[str]]
    roles: Sequence[str]
    permissions: Sequence[str]

    @property
    def administrator(self) -> bool:
        return SYSTEM_ADMIN in self.roles

    def principal(self, session: str, expires_at: Instant) -> Principal:
        """@return: this user as signed in with that session until then."""
        return Principal(
            kind=PrincipalKind.USER,
            name=self.user["email"] or "",
            id=self.user["id"],
            permissions=self.granted,
            administrator=self.administrator,
            credential=session,
            expires_at=expires_at,
        )


@attrs.frozen
class SignIn:
    """A new session: the account and its tokens."""

    account: Account
    token: str
    refresh_token: str


@attrs.frozen
class _Standing:
    """What is remembered of a session that is valid: whose, and as of when (reactor seconds)."""

    account: Account
    loaded_at: float


class Authentication:
    """Everything about users' sessions, for every door.

    What a session may do is remembered until `UserChanged`, or for as long as changes of another
    process may stay unseen.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        passwords: Passwords,
        tokens: WebTokens,
        clock: IReactorTime,
        remember: float,
        limits: SignInLimits,
    ) -> None:
        """@param remember: seconds, the setting `ingest.catalogue_refresh`."""
        self._database, self._events, self._clock = database, events, clock
        self._passwords, self._tokens, self._remember = passwords, tokens, remember
        self._limits = limits
        self._standings: dict[str, _Standing] = {}
        self._changes = 0
        events.subscribe(UserChanged, self._changed)

    async def login(self, email: str, password: str, address: str = "") -> SignIn:
        """@param address: of the client, "" if unknown.

        @raise Unauthenticated: the same for unknown e-mail, wrong password and inactive user.
        @raise TooManySignIns: the same, after too many of these.
        """
        return await self._open_session(await self._checked(email, password, address), email)

    async def signup(
        self, values: Mapping[str, Any], password: str, welcome: bool = False
    ) -> SignIn:
        """Make a user, who has no membership yet, and sign in.

        @param values: columns of `User` but the password.
        @param welcome: tell the live connections of the user, if there are any.
        @raise Conflict: the e-mail is taken.
        """
        hashed = await self._passwords.hash(password)
        try:
            user_id = await self._database.transact(_create, {**values, "password": hashed})
        except DuplicateRow:
            raise Conflict(_TAKEN) from None
        sign_in = await self._open_session(user_id, values["email"])
        if welcome:
            message = f"Welcome to AEMOS, {values['userName']}!"
            now = Instant.of(self._clock.seconds())
            self._events.publish(UserWelcomed(user_id, message, now))
        return sign_in

    async def refresh(self, refresh_token: str) -> SignIn:
        """Go on with a session: a new access token, and the successor of the refresh token.

        A refresh token is good until its successor was used, so a client that never takes a new one
        keeps its own. One that comes after that was stolen, or its successor was: the session ends.

        @raise Unauthenticated: not a refresh token, expired, signed out, or the user is gone or
            inactive.
        """
        claims = self._tokens.read_refresh(refresh_token)
        account, standing = await self._database.read(_look_up, claims.user_id, claims.session)
        if account is None:
            raise Unauthenticated("User not found")
        if standing is None or standing["revoked_at"] is not None:
            raise Unauthenticated("Invalid refresh token")
        if not await self._database.transact(
            login_sessions.use_refresh, claims.session, claims.number
        ):
            await self._end(claims.session, claims.user_id)
            self._log.warn("a refresh token of user {id} came too late", id=claims.user_id)
            raise Unauthenticated("Invalid refresh token")
        return SignIn(
            account,
            self._access(account, claims.session),
            self._tokens.refresh(claims.user_id, claims.session, claims.number + 1),
        )

    async def logout(self, principal: Principal) -> None:
        """End the session that `principal` came with: all its tokens are void from now on."""
        await self._end(principal.credential, principal.id)

    async def _end(self, session: str, user_id: int) -> None:
        end = self._tokens.session_end()
        who = audit.actor() or Actor("user", user_id)

        def write(tx: Transaction) -> None:
            login_sessions.revoke(tx, session, user_id, end)
            audit.record(tx, who, "sign-out", "User", user_id)

        await self._database.transact(write)
        self._events.publish(UserChanged(user_id))

    async def account(self, principal: Principal) -> Account:
        """@return: the account as it is now. @raise Unauthenticated: gone or inactive."""
        account, _ = await self._database.read(_look_up, principal.id, principal.credential)
        if account is None:
            raise Unauthenticated(_NO_USER)
        return account

    async def principal_for_token(self, token: str) -> Principal:
        """@return: who holds this access token.

        @raise Unauthenticated: invalid, expired, signed out, or the user is gone or inactive.
        """
        claims = self._tokens.read_access(token)
        account = await self._standing(claims.user_id, claims.session, claims.recorded)
        return account.principal(claims.session, claims.expires_at)

    async def principal_for_password(self, email: str, password: str) -> Principal:
        """Sign in for one connection, without a session; `principal_now` looks at the user only.

        @raise Unauthenticated, TooManySignIns: as `login`.
        """
        user_id = await self._checked(email, password, "")
        account = await self._standing(user_id, "", False)
        self._note(audit.record, Actor("user", user_id, email), "sign-in", "User", user_id)
        return attrs.evolve(account.principal("", Instant(0)), expires_at=None)

    async def principal_now(self, principal: Principal) -> Principal:
        """@return: a principal of before with the rights of now.

        @raise Unauthenticated: its session must end.
        """
        end = principal.expires_at
        if end is not None and end <= Instant.of(self._clock.seconds()):
            raise Expired("Token expired")
        # A session without a record can only have been revoked, so its row is optional here.
        account = await self._standing(principal.id, principal.credential, False)
        return attrs.evolve(account.principal(principal.credential, Instant(0)), expires_at=end)

    async def _checked(self, email: str, password: str, address: str) -> int:
        self._limits.begin(email, address)
        try:
            row = await self._database.read(users.find_by_email, email)
            matches = await self._passwords.check(password, row["password"] if row else None)
        except Unavailable:
            self._limits.undecided(email, address)
            raise
        if row is None or not matches or row["status"] is False:
            who = attrs.evolve(audit.actor() or _ANYBODY, name=email)
            user_id = None if row is None else row["id"]
            self._note(audit.record, who, "sign-in-failed", "User", user_id)
            if row is not None:
                self._note(users.count_failure, row["id"])
            raise Unauthenticated(_BAD_LOGIN)
        self._limits.succeeded(email, address)
        if row["accessFailedCount"]:
            self._note(users.forget_failures, row["id"])
        found: int = row["id"]
        return found

    def _note(self, write: Callable[..., None], *args: object) -> None:
        """Write without waiting: how long an answer takes must not tell that there is a user."""
        self._database.transact(write, *args).addErrback(
            lambda failure: self._log.failure("a sign-in could not be written down", failure)
        )

    async def _open_session(self, user_id: int, email: str) -> SignIn:
        session, end = new_session(), self._tokens.session_end()
        who = attrs.evolve(audit.actor() or _ANYBODY, kind="user", id=user_id, name=email)

        def write(tx: Transaction) -> None:
            login_sessions.create(tx, session, user_id, end)
            audit.record(tx, who, "sign-in", "User", user_id)

        await self._database.transact(write)
        account, _ = await self._database.read(_look_up, user_id, session)
        if account is None:  # made inactive a moment ago
            raise Unauthenticated(_BAD_LOGIN)
        return SignIn(
            account, self._access(account, session), self._tokens.refresh(user_id, session)
        )

    def _access(self, account: Account, session: str) -> str:
        user = account.user
        return self._tokens.access(
            user["id"], user["email"], session, account.permissions, account.roles
        )

    async def _standing(self, user_id: int, session: str, recorded: bool) -> Account:
        """@param recorded: a session without a row is not valid."""
        key = f"{user_id}:{session}"
        known = self._standings.get(key)
        if known is not None and self._clock.seconds() - known.loaded_at < self._remember:
            return known.account
        changes = self._changes
        account, row = await self._database.read(_look_up, user_id, session)
        revoked = recorded if row is None else row["revoked_at"] is not None
        if revoked:
            raise Unauthenticated(_REVOKED)
        if account is None:
            raise Unauthenticated(_NO_USER)
        if changes == self._changes:  # else what was read may be outdated already
            self._standings.pop(key, None)
            if len(self._standings) >= _MAX_ACCOUNTS:
                del self._standings[next(iter(self._standings))]
            self._standings[key] = _Standing(account, self._clock.seconds())
        return account

    def _changed(self, event: UserChanged) -> None:
        self._changes += 1
        gone = [
            key
            for key, known in self._standings.items()
            if known.account.user["id"] == event.user_id
        ]
        for key in gone:
            del self._standings[key]


def _create(tx: Transaction, values: Mapping[str, Any]) -> int:
    # An adopted database may lack the unique index (spec/data-model.md section 5).
    if users.find_by_email(tx, values["email"]) is not None:
        raise Conflict(_TAKEN)
    return users.create(tx, values)


def _look_up(tx: Transaction, user_id: int, session: str) -> tuple[Account | None, Row | None]:
    """@return: the account, None when gone or inactive, and the row of the session."""
    row = login_sessions.find(tx, session)
    if row is not None and row["user_id"] != user_id:
        row = None
    return account_of(tx, user_id), row


def account_of(tx: Transaction, user_id: int) -> Account | None:
    """@return: the account as it is now, None when gone or inactive."""
    user = users.find(tx, user_id)
    if user is None or user["status"] is False:
        return None
    granted: dict[int, set[str]] = {}
    names: set[str] = set()
    for grant in users.grants(tx, user_id):
        names.add(grant["role"])
        held = granted.setdefault(grant["organizationId"], set())
        if grant["permission"] is not None:
            held.add(grant["permission"])
    everywhere = (
        roles.permission_names(tx) if SYSTEM_ADMIN in names else set().union(*granted.values())
    )
    return Account(
        user={column: value for column, value in user.items() if column != "password"},
        granted={organization: frozenset(held) for organization, held in granted.items()},
        roles=sorted(names),
        permissions=sorted(everywhere),
    )
