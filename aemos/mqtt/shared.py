"""Shared subscriptions, `$share/{group}/{filter}`: each message goes to one member of the group.

They come from MQTT 5 (section 4.8.2) and are known to clients of 3.1.1, too. Members take turns as
long as they are connected; those that are absent collect nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from aemos.mqtt.counters import Counters
from aemos.mqtt.durable import DurableSession, StoredCopy
from aemos.mqtt.publication import Publication, SharedCopy
from aemos.mqtt.session import Session
from aemos.mqtt.subscriptions import Subscriptions

_PREFIX = "$share/"


class Receiver(Protocol):
    """What stands in the tree of subscriptions: a session, or a group of them."""

    def deliver(self, publication: Publication, granted: int, /) -> None: ...


def is_shared(topic_filter: str) -> bool:
    """@return: whether this asks for a shared subscription, well-formed or not."""
    return topic_filter.startswith(_PREFIX)


def inner_filter(topic_filter: str) -> str:
    """@return: the filter without `$share/{group}/`; "" for a shared one that is not well-formed.

    @param topic_filter: any valid filter; one that is not shared is its own answer.
    """
    if not is_shared(topic_filter):
        return topic_filter
    group, _, inner = topic_filter.removeprefix(_PREFIX).partition("/")
    if not group or "+" in group or "#" in group or is_shared(inner):
        return ""
    return inner


class SharedSubscription:
    """One group with one filter."""

    __slots__ = ("_allows", "_counters", "_members", "_turns")

    def __init__(self, allows: Callable[[Session, str], bool], counters: Counters) -> None:
        """@param allows: whether a member may receive a topic."""
        self._allows, self._counters = allows, counters
        self._members: dict[Session, int] = {}
        self._turns: deque[Session] = deque()

    @property
    def members(self) -> Iterable[Session]:
        return self._members

    def add(self, session: Session, qos: int) -> None:
        """Let a session join, or change its QoS."""
        if session not in self._members:
            self._turns.append(session)
        self._members[session] = qos

    def remove(self, session: Session) -> None:
        """Let a session leave."""
        if self._members.pop(session, None) is not None:
            self._turns.remove(session)

    def deliver(self, publication: Publication, granted: int) -> None:
        """Give a message to the member whose turn it is. (`granted` counts for each by itself.)"""
        member = self._next(publication.topic)
        if member is None:
            self._counters.dropped["no_shared_member"] += 1
        else:
            member.deliver(SharedCopy(publication, self), self._members[member])

    def keep(self, publication: Publication) -> StoredCopy | None:
        """Take a message into the queue of the member whose turn it is, if that is stored.

        @return: what the caller has stored then; None = `deliver` it instead.
        """
        member = self._find(publication.topic)
        if not isinstance(member, DurableSession):
            return None
        qos = min(publication.qos, self._members[member])
        copy = member.keep(SharedCopy(publication, self), qos) if qos else None
        if copy is not None:
            self._has_had_its_turn(member)
        return copy

    def hand_over(self, copy: SharedCopy, leaving: Session) -> bool:
        """Give another member what `leaving` has not acknowledged.

        @return: False if there is nobody else. An absent member is better than none.
        """
        heir = self._next(copy.topic, leaving)
        if heir is None and leaving.clean:
            heirs = (
                member
                for member in self._turns
                if not member.clean and self._allows(member, copy.topic)
            )
            heir = next(heirs, None)
        if heir is None:
            return False
        heir.deliver(copy, self._members[heir])
        return True

    def _next(self, topic: str, but: Session | None = None) -> Session | None:
        member = self._find(topic, but)
        if member is not None:
            self._has_had_its_turn(member)
        return member

    def _has_had_its_turn(self, member: Session) -> None:
        self._turns.remove(member)
        self._turns.append(member)

    def _find(self, topic: str, but: Session | None = None) -> Session | None:
        """@return: the next connected member with nothing waiting, else the one with the least."""
        least: Session | None = None
        for member in self._turns:
            if member is but or member.outbox is None or not self._allows(member, topic):
                continue
            if not member.queued:
                return member
            if least is None or member.queued < least.queued:
                least = member
        return least


class Filters:
    """The subscriptions of all sessions, the shared ones among them: adds, removes, matches."""

    def __init__(self, allows: Callable[[Session, str], bool], counters: Counters) -> None:
        """@param allows: whether a session may receive a topic."""
        self._allows, self._counters = allows, counters
        self._tree: Subscriptions[Receiver] = Subscriptions()
        self._shared: dict[str, SharedSubscription] = {}
        self.match = self._tree.match

    @property
    def count(self) -> int:
        """Subscriptions; each shared one counts once."""
        return self._tree.count

    @property
    def shared_count(self) -> int:
        """Shared subscriptions."""
        return len(self._shared)

    def add(self, topic_filter: str, session: Session, qos: int) -> None:
        """Subscribe, or change the granted QoS. @param topic_filter: allowed already."""
        if not is_shared(topic_filter):
            self._tree.add(topic_filter, session, qos)
            return
        group = self._shared.get(topic_filter)
        if group is None:
            group = self._shared[topic_filter] = SharedSubscription(self._allows, self._counters)
            self._tree.add(inner_filter(topic_filter), group, 2)
        group.add(session, qos)

    def remove(self, topic_filter: str, session: Session) -> None:
        """Unsubscribe."""
        if not is_shared(topic_filter):
            self._tree.remove(topic_filter, session)
            return
        group = self._shared.get(topic_filter)
        if group is not None:
            group.remove(session)
            if not group.members:
                del self._shared[topic_filter]
                self._tree.remove(inner_filter(topic_filter), group)

    def below(self, prefix: tuple[str, ...]) -> set[Session]:
        """@return: the sessions with filters that begin with these levels, spelled out."""
        found: set[Session] = set()
        for holder in self._tree.below(prefix):
            if isinstance(holder, SharedSubscription):
                found.update(holder.members)
            elif isinstance(holder, Session):
                found.add(holder)
        return found
