"""Where sessions and retained messages are kept between connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from aemos.model import Instant
from aemos.mqtt.publication import Publication
from aemos.mqtt.session import Session
from aemos.mqtt.subscriptions import RetainedMessages


class SessionStore(Protocol):
    """Keeps persistent sessions, named by (principal key, client id), and retained messages.

    Changes count as made at once; whoever owes an acknowledgement for them asks `commit` to call
    back when they are safe. `pending` says that there is something to wait for.
    """

    @property
    def pending(self) -> bool:
        """Whether changes were made that are not safe yet."""

    @property
    def full(self) -> bool:
        """Whether the limit of stored sessions is reached."""

    @property
    def retained(self) -> RetainedMessages:
        """The retained messages, to look at; `retain` changes them."""

    def sessions(self) -> Iterable[Session]:
        """@return: all stored sessions, their subscriptions included."""

    def open(self, key: tuple[str, str], opened: Callable[[Session | None], object]) -> None:
        """Call `opened` with the stored session, ready to be resumed, or None."""

    def add(self, session: Session) -> None:
        """Keep a new session from now on."""

    def discard(self, session: Session) -> None:
        """Forget a session and all that it is owed."""

    def left(self, session: Session, now: Instant) -> None:
        """The session's client is gone; the time of its expiry starts."""

    def expired(self, now: Instant) -> list[Session]:
        """@return: sessions absent for too long; the caller discards them."""

    def retain(self, message: Publication) -> bool:
        """Store or clear a retained message. @return: False when a limit kept it out."""

    def commit(self, done: Callable[[], object]) -> None:
        """Call `done` when everything changed so far is safe."""


class MemoryStore:
    """A `SessionStore` that lasts as long as the process: nothing is ever pending."""

    pending = False

    def __init__(self, max_sessions: int, max_retained: int, expiry: int) -> None:
        """@param expiry: seconds that an absent session is kept; 0 = for ever."""
        self._sessions: dict[tuple[str, str], Session] = {}
        self._absent: dict[tuple[str, str], Instant] = {}
        self._max_sessions = max_sessions
        self._expiry = expiry * 1000
        self._retained = RetainedMessages(max_retained)

    @property
    def full(self) -> bool:
        return len(self._sessions) >= self._max_sessions

    @property
    def retained(self) -> RetainedMessages:
        return self._retained

    def sessions(self) -> Iterable[Session]:
        return self._sessions.values()

    def open(self, key: tuple[str, str], opened: Callable[[Session | None], object]) -> None:
        self._absent.pop(key, None)
        opened(self._sessions.get(key))

    def add(self, session: Session) -> None:
        self._sessions[session.key] = session

    def discard(self, session: Session) -> None:
        self._sessions.pop(session.key, None)
        self._absent.pop(session.key, None)

    def left(self, session: Session, now: Instant) -> None:
        self._absent[session.key] = now

    def expired(self, now: Instant) -> list[Session]:
        # Sessions stand in the order in which they left.
        found: list[Session] = []
        for key, since in self._absent.items():
            if not self._expiry or since + self._expiry > now:
                break
            found.append(self._sessions[key])
        return found

    def retain(self, message: Publication) -> bool:
        return self._retained.store(message)

    def commit(self, done: Callable[[], object]) -> None:
        done()
