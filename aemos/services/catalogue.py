"""The sensors and devices that the hot path needs, in memory, with their tokens and variables.

Filled when first asked for, bounded, dropped by `IdentityChanged`. What is in here keeps logins and
judging going while the database is away. Tokens are held as digests only.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.config.schema import Ingest
from aemos.errors import StorageUnavailable
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services.events import Events, IdentityChanged
from aemos.storage import identities
from aemos.storage.database import Database

_LONGEST_UUID = 128  # of 36 characters; what is longer is not looked up, and fills no memory
_SWEEP = 2000  # identities re-read per sweep: a bounded load on the shared database
_PAUSE = 1.0  # seconds between attempts while the database is away


def digest(token: str | bytes) -> str:
    """@return: the form in which a token is held and compared: BLAKE2s-256 as 64 hex digits.

    Tokens are random, so a fast hash is enough; this one costs half of what SHA-256 does.
    """
    return hashlib.blake2s(token if isinstance(token, bytes) else token.encode()).hexdigest()


@attrs.frozen(slots=True)
class Credential:
    """One active token of an identity."""

    id: int
    digest: str
    expires_at: Instant | None


@attrs.frozen(slots=True)
class Variable:
    """One `TelemetryData` row of a sensor."""

    id: int
    name: str
    datatype: str


@attrs.frozen(slots=True, eq=False)
class Identity:
    """A sensor (or a device that is no sensor) as of `loaded_at` (reactor seconds)."""

    kind: PrincipalKind
    id: int
    uuid: str
    name: str
    organization_id: int | None
    credentials: Mapping[str, Credential]
    variables: Mapping[int, Variable]
    variables_by_name: Mapping[str, Variable]
    loaded_at: float

    def credential(self, token: str | bytes, now: Instant) -> Credential | None:
        """@return: the credential of this token if it is valid now."""
        found = self.credentials.get(digest(token))
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            return None
        return found

    def credential_by_digest(self, token_digest: str, now: Instant) -> Credential | None:
        found = self.credentials.get(token_digest)
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            return None
        return found

    def principal(self, credential: Credential) -> Principal:
        """@return: who signs in with `credential`."""
        permissions: dict[int, frozenset[str]] = {}
        if self.organization_id is not None:
            permissions[self.organization_id] = frozenset()
        return Principal(
            kind=self.kind,
            name=self.uuid,
            id=self.id,
            permissions=permissions,
            credential=credential.digest,
            expires_at=credential.expires_at,
        )


Found = Callable[[Identity | StorageUnavailable | None], object]


@attrs.frozen(slots=True)
class _Waiter:
    """Who waits for an identity; `seen` is the one that did not do, if there was one."""

    found: Found
    patient: bool
    seen: Identity | None = None


class Catalogue:
    """Answers at once for what it holds, after one read for what it does not."""

    _log = Logger()

    def __init__(
        self, database: Database, events: Events, settings: Ingest, clock: IReactorTime
    ) -> None:
        self._database, self._clock, self._settings = database, clock, settings
        self._events = events
        self._known: dict[str, Identity] = {}
        self._unknown: dict[str, float] = {}
        self._by_token: dict[str, str] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._outdated: set[str] = set()
        self._sweep_at = 0
        events.subscribe(IdentityChanged, lambda event: self.forget(event.uuid))

    def __len__(self) -> int:
        return len(self._known)

    def held(self, uuid: str) -> Identity | None:
        """@return: the identity if usable at once; None = ask `find`, where others may wait."""
        return None if uuid in self._waiting else self._known.get(uuid)

    def held_token(self, token: str) -> Identity | None:
        """As `held`, for the identity that holds this token; None = ask `find_token`."""
        token_digest = digest(token)
        identity = self.held(self._by_token.get(token_digest, ""))
        return identity if identity is not None and token_digest in identity.credentials else None

    def find(self, uuid: str, found: Found, *, patient: bool = False) -> None:
        """Call `found` with the identity of that uuid, with None if there is none, or with a
        `StorageUnavailable` if it is not known here and the database cannot tell.

        Calls for one uuid are answered in their order, so messages of one device keep theirs.
        @param patient: wait for the database instead of being told that it is away.
        """
        if uuid in self._waiting:
            self._waiting[uuid].append(_Waiter(found, patient))
            return
        identity = self._known.get(uuid)
        if identity is not None or len(uuid) > _LONGEST_UUID:
            found(identity)
            return
        unknown_since = self._unknown.get(uuid)
        if unknown_since is not None:
            if self._clock.seconds() - unknown_since < self._settings.negative_expiry:
                found(None)
                return
            del self._unknown[uuid]
        self._waiting[uuid] = deque([_Waiter(found, patient)])
        self._read(uuid)

    def find_again(self, identity: Identity, found: Found) -> bool:
        """Read an identity anew because something, e.g. a new variable, was not found in it.

        Waits for the database if it is away.
        @return: False (and `found` is not called) if it was read so recently that the answer
            stands.
        """
        if self._clock.seconds() - identity.loaded_at < self._settings.negative_expiry:
            return False
        waiter = _Waiter(found, True, identity)
        if identity.uuid in self._waiting:
            self._waiting[identity.uuid].append(waiter)
        else:
            self._waiting[identity.uuid] = deque([waiter])
            self._read(identity.uuid)
        return True

    def find_token(self, token: str, found: Found) -> None:
        """As `find`, for the identity that holds this token; it may have expired."""
        token_digest = digest(token)

        def check(identity: Identity | StorageUnavailable | None) -> None:
            if isinstance(identity, Identity) and token_digest not in identity.credentials:
                identity = None
            found(identity)

        uuid = self._by_token.get(token_digest)
        if uuid is not None:
            self.find(uuid, check)
            return
        unknown_since = self._unknown.get(token_digest)
        if (
            unknown_since is not None
            and self._clock.seconds() - unknown_since < self._settings.negative_expiry
        ):
            found(None)
            return

        def located(uuid: str | None) -> None:
            if uuid is None:
                self._remember_unknown(token_digest)
                found(None)
            else:
                self._known.pop(uuid, None)  # what is held does not have this token: outdated
                self.find(uuid, check)

        reading: Deferred[str | None] = self._database.read(
            identities.uuid_of_token, token, token_digest
        )
        reading.addCallbacks(located, lambda failure: found(self._unavailable(failure)))
        reading.addErrback(lambda failure: self._log.failure("a token look-up failed", failure))

    def forget(self, uuid: str) -> None:
        """Drop what is held about a uuid; a read that is under way is repeated."""
        identity = self._known.pop(uuid, None)
        self._unknown.pop(uuid, None)
        if identity is not None:
            for token_digest in identity.credentials:
                self._by_token.pop(token_digest, None)
        if uuid in self._waiting:
            self._outdated.add(uuid)

    def _read(self, uuid: str) -> None:
        self._outdated.discard(uuid)
        reading: Deferred[dict[str, Any] | None] = self._database.read(identities.load, uuid)
        reading.addCallbacks(
            lambda row: self._loaded(uuid, row),
            lambda failure: self._failed(uuid, self._unavailable(failure)),
        )
        reading.addErrback(
            lambda failure: self._log.failure("loading identity {uuid} failed", failure, uuid=uuid)
        )

    def _loaded(self, uuid: str, row: dict[str, Any] | None) -> None:
        if uuid in self._outdated:
            self._read(uuid)
            return
        self.forget(uuid)
        self._outdated.discard(uuid)
        if row is None:
            self._remember_unknown(uuid)
            self._answer(uuid, None)
            return
        identity = self._identity(row)
        if len(self._known) >= self._settings.catalogue_size:
            self.forget(next(iter(self._known)))
        self._known[uuid] = identity
        for token_digest in identity.credentials:
            self._by_token[token_digest] = uuid
        self._answer(uuid, identity)

    def _failed(self, uuid: str, error: StorageUnavailable) -> None:
        waiting = self._waiting[uuid]
        patient = deque(waiter for waiter in waiting if waiter.patient)
        for waiter in [waiter for waiter in waiting if not waiter.patient]:
            self._tell(uuid, waiter.found, error)
        if not patient:
            del self._waiting[uuid]
            return
        self._waiting[uuid] = patient
        self._clock.callLater(_PAUSE, self._read, uuid)

    def _answer(self, uuid: str, answer: Identity | None) -> None:
        waiting = self._waiting[uuid]
        again: deque[_Waiter] = deque()
        while waiting:  # those who ask meanwhile queue behind the others
            waiter = waiting.popleft()
            if answer is not None and waiter.seen is answer:
                again.append(waiter)
            else:
                self._tell(uuid, waiter.found, answer)
        if again:
            self._waiting[uuid] = again
            self._read(uuid)
        else:
            del self._waiting[uuid]

    def _tell(self, uuid: str, found: Found, answer: Identity | StorageUnavailable | None) -> None:
        try:
            found(answer)
        except Exception:
            self._log.failure("use of identity {uuid} failed", uuid=uuid)

    def _identity(self, row: dict[str, Any]) -> Identity:
        credentials = {}
        for token in row["tokens"]:
            token_digest = token.get("digest") or digest(token["token"])
            credentials[token_digest] = Credential(token["id"], token_digest, token["expiresAt"])
        variables = [
            Variable(variable["id"], variable["variableName"] or "", variable["datatype"] or "")
            for variable in row["variables"]
        ]
        return Identity(
            kind=PrincipalKind(row["kind"]),
            id=row["id"],
            uuid=row["uuid"],
            name=row["name"] or "",
            organization_id=row["organizationId"],
            credentials=credentials,
            variables={variable.id: variable for variable in variables},
            # names are unique by convention only: rows come newest first, so that the oldest wins
            variables_by_name={variable.name: variable for variable in variables},
            loaded_at=self._clock.seconds(),
        )

    def _remember_unknown(self, name: str) -> None:
        if len(self._unknown) >= self._settings.catalogue_size:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[name] = self._clock.seconds()

    def _unavailable(self, failure: Failure) -> StorageUnavailable:
        if isinstance(failure.value, StorageUnavailable):
            return failure.value
        self._log.failure("reading an identity failed", failure)
        return StorageUnavailable("the identity could not be read")

    async def sweep(self) -> None:
        """Look for tokens and memberships that another process changed on a shared database.

        Reads at most 2,000 of those held at a time, round robin, and publishes `IdentityChanged`
        for those that differ.

        @raise StorageUnavailable: the database cannot tell.
        """
        if self._sweep_at >= len(self._known):
            self._sweep_at = 0
        held = list(islice(self._known.values(), self._sweep_at, self._sweep_at + _SWEEP))
        self._sweep_at += _SWEEP
        for kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE):
            await self._compare(kind, [identity for identity in held if identity.kind is kind])

    async def _compare(self, kind: PrincipalKind, held: Sequence[Identity]) -> None:
        """Publish `IdentityChanged` for those, all of one kind, that are not as the database has
        them."""
        if not held:
            return
        ids = [identity.id for identity in held]
        rows = await self._database.read(identities.active_tokens, kind, ids)
        owners = await self._database.read(identities.organizations_of, kind, ids)
        tokens: dict[int, set[tuple[str, Instant | None]]] = {}
        for row in rows:
            token_digest = row.get("digest") or digest(row["token"])
            tokens.setdefault(row["holder"], set()).add((token_digest, row["expiresAt"]))
        for identity in held:
            known = {(one.digest, one.expires_at) for one in identity.credentials.values()}
            if self._known.get(identity.uuid) is identity and (
                identity.id not in owners
                or owners[identity.id] != identity.organization_id
                or tokens.get(identity.id, set()) != known
            ):
                self._events.publish(IdentityChanged(identity.uuid))
