"""Keeps persistent sessions and retained messages: here to be used, in the database to last.

Changes count as made at once. Whoever owes an acknowledgement for them records them and asks
`commit` to call back when they are in the database; each such call is one unit of the writer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.config.schema import Mqtt
from aemos.errors import RowRefused, StorageUnavailable
from aemos.model import ANONYMOUS, Instant, Principal, PrincipalKind
from aemos.mqtt.counters import Counters
from aemos.mqtt.durable import DurableSession, StoredCopy
from aemos.mqtt.publication import Publication, SharedCopy
from aemos.mqtt.subscriptions import RetainedMessages
from aemos.storage import mqtt_sessions
from aemos.storage.mqtt_changes import (
    SESSION_CHANGES,
    Attached,
    Change,
    Created,
    Discarded,
    Expired,
    Left,
    Retained,
    SessionRow,
    SetAside,
    Subscribed,
)
from aemos.storage.transaction import Row
from aemos.storage.writer import Unit
from aemos.topics import InvalidTopic, check_filter, check_name

if TYPE_CHECKING:
    from aemos.mqtt.shared import SharedSubscription

T = TypeVar("T")

_LATER = 0.05
"""Seconds that what nobody waits for is gathered."""
_MUCH = 500
"""Changes that are not gathered for longer."""


_UNKNOWN: Mapping[int, frozenset[str]] = {}
"""The permissions of those who have not signed in yet."""


class Submits(Protocol):
    """`aemos.storage.writer.Writer`."""

    def submit(self, unit: Unit, /) -> None: ...


class Storage(Protocol):
    """`aemos.storage.database.Database`, as far as it is used here."""

    @property
    def writer(self) -> Submits: ...

    def read(self, function: Callable[..., T], /, *args: Any) -> Deferred[T]: ...


@attrs.define(slots=True, eq=False)
class _Commit:
    """Changes on their way, and who waits for them."""

    changes: Sequence[Change]
    waiting: list[Callable[[], object]]


class SessionStore:
    """Sessions named by (principal key, client id), and the retained messages."""

    _log = Logger()

    def __init__(
        self, database: Storage, clock: IReactorTime, settings: Mqtt, counters: Counters
    ) -> None:
        self._database, self._clock, self._settings = database, clock, settings
        self._counters = counters
        self._sessions: dict[tuple[str, str], DurableSession] = {}
        self._per_principal: Counter[str] = Counter()
        self._absent: dict[tuple[str, str], Instant] = {}
        self._position = 0
        self._changes: list[Change] = []
        self._later: list[Change] = []
        self._last: _Commit | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self.retained = RetainedMessages(settings.max_retained)

    # ------------------------------------------------------------------ start and stop

    async def load(self) -> None:
        """Read sessions and subscriptions, not what is queued; rows that make no sense are left.

        @raise StorageUnavailable: the database cannot be read.
        """
        read = self._database.read
        self._position = await read(mqtt_sessions.last_position)
        counts = {row["session_id"]: row for row in await read(mqtt_sessions.waiting)}
        now, after = self.now(), 0
        absent: list[tuple[Instant, tuple[str, str]]] = []
        while rows := await read(mqtt_sessions.sessions, after):
            first, after = rows[0]["id"], rows[-1]["id"]
            by_id: dict[int, DurableSession] = {}
            for row in rows:
                session = self._loaded_session(row)
                if session is None:
                    self._log.warn("MQTT session {id} in the database makes no sense", id=row["id"])
                    continue
                key = (session.row.principal, session.client_id)
                by_id[row["id"]] = self._sessions[key] = session
                self._per_principal[session.row.principal] += 1
                count = counts.get(row["id"], {"copies": 0, "size": 0})
                session.load_counts(count["copies"], int(count["size"] or 0), row["next_packet_id"])
                # Those that were connected when the server ended leave now.
                absent.append((Instant(min(row["seen_at"] or now, now)), key))
            for row in await read(mqtt_sessions.subscriptions, first, after):
                self._load_subscription(row, by_id)
        self._absent = {key: since for since, key in sorted(absent)}
        await self._load_retained()

    def _loaded_session(self, row: Row) -> DurableSession | None:
        stored = SessionRow(row["principal"], row["client_id"], row["id"])
        kind, _, name = stored.principal.partition(":")
        try:
            principal = Principal(PrincipalKind(kind), name, permissions=_UNKNOWN)
        except ValueError:
            return None
        if stored.digest != row["digest"]:
            return None
        if principal.key == ANONYMOUS.key:
            principal = ANONYMOUS
        return self._session(principal, stored)

    def _load_subscription(self, row: Row, sessions: dict[int, DurableSession]) -> None:
        session = sessions.get(row["session_id"])
        try:
            if session is None or row["qos"] not in (0, 1, 2):
                raise InvalidTopic("no session or no QoS", "")
            check_filter(row["topic_filter"], self._settings.max_topic_levels)
        except InvalidTopic as error:
            self._log.warn(
                "subscription of MQTT session {session_id} in the database makes no sense: {error}",
                session_id=row["session_id"],
                error=error,
            )
        else:
            session.subscriptions[row["topic_filter"]] = row["qos"]

    async def _load_retained(self) -> None:
        after = b""
        while rows := await self._database.read(mqtt_sessions.retained, after):
            after = rows[-1]["digest"]
            for row in rows:
                try:
                    check_name(row["topic"], self._settings.max_topic_levels)
                except InvalidTopic as error:
                    self._log.warn(
                        "retained message in the database makes no sense: {error}", error=error
                    )
                else:
                    self.retained.store(Publication(row["topic"], row["payload"], row["qos"]))

    def stop(self) -> None:
        """Write what was gathered; from now on everything is written at once."""
        self._stopped = True
        self._write_later()

    # ------------------------------------------------------------------ sessions

    @property
    def full(self) -> bool:
        """Whether the limit of stored sessions is reached."""
        return len(self._sessions) >= self._settings.max_sessions

    def surplus(self, principal: Principal) -> DurableSession | None:
        """@return: the session to give up before this principal makes one more, None = none.

        It is the one that has been absent longest. Firmware that makes up a client id at each start
        must not use up the sessions of all.
        """
        limit = self._settings.max_sessions_per_device
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        if anonymous or not limit or self._per_principal[principal.key] < limit:
            return None
        return next((self._sessions[key] for key in self._absent if key[0] == principal.key), None)

    def sessions(self) -> Iterable[DurableSession]:
        """@return: all of them, their subscriptions included."""
        return self._sessions.values()

    def find(self, key: tuple[str, str]) -> DurableSession | None:
        """@return: the session of this name; `resume` makes it ready to go on."""
        return self._sessions.get(key)

    def create(self, principal: Principal, client_id: str) -> DurableSession:
        """@return: a new session, to be committed."""
        session = self._session(principal, SessionRow(principal.key, client_id))
        session.loaded = True
        self._sessions[session.key] = session
        self._per_principal[principal.key] += 1
        self.record(Created(session.row))
        return session

    def resume(
        self, session: DurableSession, done: Callable[[StorageUnavailable | None], object]
    ) -> None:
        """Note that its client is back, and call `done` when that is stored and all is loaded."""
        self._absent.pop(session.key, None)
        self.record(Attached(session.row))
        if session.loaded:
            self.commit(lambda: done(None))
        else:
            self.fetch(session, done)

    def fetch(
        self, session: DurableSession, done: Callable[[StorageUnavailable | None], object]
    ) -> None:
        """Load what a session is owed; calls of the same time share one reading."""
        if session.fetched is not None:
            session.fetched.append(done)
            return
        session.fetched = [done]

        def answered(result: tuple[list[Row], list[int]] | Failure) -> None:
            waiting, session.fetched = session.fetched or [], None
            error: StorageUnavailable | None = None
            if isinstance(result, Failure):
                error = StorageUnavailable(result.getErrorMessage())
                if result.check(StorageUnavailable) is None:
                    self._log.failure("reading a queue failed", result)
            else:
                session.restore(*result)
            for call in waiting:
                call(error)

        def written() -> None:
            reading = self._database.read(mqtt_sessions.queue, session.row.id)
            reading.addBoth(answered).addErrback(
                lambda failure: self._log.failure("taking a queue up failed", failure)
            )

        # What was changed before has to be seen by the reader.
        self._write_later()
        self.commit(written)

    def discard(self, session: DurableSession) -> None:
        """Forget a session and all that it is owed."""
        if self._sessions.get(session.key) is session:
            del self._sessions[session.key]
            self._per_principal[session.row.principal] -= 1
            if not self._per_principal[session.row.principal]:
                del self._per_principal[session.row.principal]
        self._absent.pop(session.key, None)
        self.record(Discarded(session.row))

    def left(self, session: DurableSession) -> None:
        """The session's client is gone; the time of its expiry starts."""
        now = self._absent[session.key] = self.now()
        self.later(Left(session.row, now, session.next_packet_id))

    def expired(self) -> list[DurableSession]:
        """@return: sessions absent for too long; the caller discards them."""
        found: list[DurableSession] = []
        expiry, now = self._settings.session_expiry * 1000, self.now()
        # They stand in the order in which they left.
        for key, since in self._absent.items():
            if not expiry or since + expiry > now:
                break
            found.append(self._sessions[key])
        return found

    def expire_messages(self) -> None:
        """Give up what has been waiting for absent clients for too long."""
        if not self._settings.message_expiry:
            return
        change = Expired(Instant(self.now() - self._settings.message_expiry * 1000))
        self.record(change)
        self.commit(partial(self._expired, change))

    def _expired(self, change: Expired) -> None:
        by_row: defaultdict[int, list[int]] = defaultdict(list)
        for row in change.found:
            by_row[row["session_id"]].append(row["size"])
        if by_row:
            for session in self._sessions.values():
                sizes = by_row.get(session.row.id)
                if sizes:
                    session.forget(len(sizes), sum(sizes))

    def subscribed(self, session: DurableSession, topic_filter: str, qos: int | None) -> None:
        """Note a subscription, or (None) its end."""
        self.record(Subscribed(session.row, topic_filter, qos))

    def retain(self, message: Publication, *, record: bool = True) -> bool:
        """Keep or clear a retained message. @return: False when a limit kept it out.

        @param record: False if its row is on its way already.
        """
        if not self.retained.store(message):
            return False
        if record:
            self.record(Retained(message, message.qos))
        return True

    def set_aside(self, change: SetAside) -> None:
        """Leave rows out from now on, and say so."""
        self._log.warn(
            "{count} messages queued for MQTT client {client_id!r} make no sense, set aside",
            count=len(change.positions),
            client_id=change.row.client_id,
        )
        self.later(change)

    def _session(self, principal: Principal, row: SessionRow) -> DurableSession:
        return DurableSession(principal, row.client_id, self._settings, self._counters, self, row)

    # ------------------------------------------------------------------ changes

    def now(self) -> Instant:
        """@return: the server's time."""
        return Instant.of(self._clock.seconds())

    def next_position(self) -> int:
        """@return: where the next copy stands in its queue: behind all others."""
        self._position += 1
        return self._position

    @property
    def pending(self) -> bool:
        """Whether changes were recorded that wait for `commit`."""
        return bool(self._changes)

    def record(self, *changes: Change) -> None:
        """Make a change that somebody will `commit`."""
        self._changes += changes

    def later(self, change: Change) -> None:
        """Make a change that nobody waits for."""
        self._later.append(change)
        if self._stopped or len(self._later) >= _MUCH:
            self._write_later()
        elif self._timer is None:
            self._timer = self._clock.callLater(_LATER, self._write_later)

    def commit(self, done: Callable[[], object]) -> None:
        """Call `done` when everything recorded so far is in the database."""
        if self._changes:
            # What was gathered comes first: it may free a packet id that is used again by now.
            self._write_later()
            changes, self._changes = self._changes, []
            self._submit(changes, [done])
        elif self._last is not None:
            self._last.waiting.append(done)
        else:
            done()

    def commit_soon(self) -> None:
        """Have in the database what was recorded, though nobody waits for it."""
        if self._changes:
            self.commit(_nothing)

    def _write_later(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._later:
            changes, self._later = self._later, []
            self._submit(changes, [])

    def _submit(self, changes: Sequence[Change], waiting: list[Callable[[], object]]) -> None:
        commit = self._last = _Commit(changes, waiting)
        self._database.writer.submit(
            Unit(((SESSION_CHANGES, changes),), partial(self._committed, commit))
        )

    def _committed(self, commit: _Commit, error: RowRefused | None) -> None:
        if self._last is commit:
            self._last = None
        if error is not None:
            # As with any message that the database refuses: acknowledged, not stored, counted.
            self._log.error("the database refused changes of MQTT sessions: {error}", error=error)
            self._counters.dropped["refused_by_database"] += withdraw(commit.changes)
        else:
            settle(commit.changes)
        for done in commit.waiting:
            done()


def settle(changes: Iterable[Change]) -> None:
    """Send the copies among these changes, which are stored now."""
    for change in changes:
        if isinstance(change, StoredCopy):
            change.owner.stored(change)
            change.owner.pump()


def withdraw(changes: Iterable[Change]) -> int:
    """Take the copies among these changes, which will not be stored, out of their queues.

    @return: how many.
    """
    copies = [change for change in changes if isinstance(change, StoredCopy)]
    for copy in copies:
        copy.owner.refused(copy)
    return len(copies)


def shared_among(changes: Iterable[Change]) -> list[SharedSubscription]:
    """@return: the shared subscriptions that copies among these changes were made for."""
    copies = (change.publication for change in changes if isinstance(change, StoredCopy))
    return [copy.subscription for copy in copies if isinstance(copy, SharedCopy)]


def _nothing() -> None:
    pass
