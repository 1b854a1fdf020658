"""Who wants which topic: the tree of subscriptions, and the tree of retained messages.

Both are tries over topic levels in which `+` and `#` are ordinary keys of filters. A bounded dict
in front of the subscription tree answers for topics seen before; it is what the hot path asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from aemos.mqtt.publication import Publication
from aemos.topics import has_wildcard

S = TypeVar("S")

_LONG_TOPIC = 1024  # longer ones are not remembered: their number is bounded, so must their size be


class _Node(Generic[S]):
    """One level; `holders` have a filter that ends here, with the QoS granted to each."""

    __slots__ = ("children", "holders")

    def __init__(self) -> None:
        self.children: dict[str, _Node[S]] = {}
        self.holders: dict[S, int] = {}


class Subscriptions(Generic[S]):
    """Topic filters and their holders (sessions, or anything hashable)."""

    def __init__(self, cache_size: int = 10_000) -> None:
        """@param cache_size: topics whose holders are remembered."""
        self._root: _Node[S] = _Node()
        self._cache: dict[str, tuple[tuple[S, int], ...]] = {}
        self._cache_size = cache_size
        self.count = 0

    def add(self, filter: str, holder: S, qos: int) -> None:
        """Subscribe, or change the granted QoS of a filter held already [MQTT-3.8.4-3]."""
        node = self._root
        for level in filter.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        if holder not in node.holders:
            self.count += 1
        node.holders[holder] = qos
        self._forget(filter)

    def remove(self, filter: str, holder: S) -> bool:
        """@return: whether there was such a subscription."""
        levels = filter.split("/")
        path = [self._root]
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return False
            path.append(child)
        if path[-1].holders.pop(holder, None) is None:
            return False
        self.count -= 1
        for index in range(len(levels), 0, -1):
            if path[index].holders or path[index].children:
                break
            del path[index - 1].children[levels[index - 1]]
        self._forget(filter)
        return True

    def match(self, topic: str) -> tuple[tuple[S, int], ...]:
        """@return: every holder of a matching filter, once, with the highest QoS granted to it."""
        found = self._cache.get(topic)
        if found is None:
            found = tuple(self._find(topic).items())
            if len(topic) <= _LONG_TOPIC:
                if len(self._cache) >= self._cache_size:
                    self._cache.clear()
                self._cache[topic] = found
        return found

    def below(self, prefix: Sequence[str]) -> set[S]:
        """@return: the holders of filters that begin with these levels, spelled out."""
        node = self._root
        for level in prefix:
            child = node.children.get(level)
            if child is None:
                return set()
            node = child
        found: set[S] = set()
        todo = [node]
        while todo:
            node = todo.pop()
            found.update(node.holders)
            todo.extend(node.children.values())
        return found

    def _forget(self, filter: str) -> None:
        if has_wildcard(filter):
            self._cache.clear()
        else:
            self._cache.pop(filter, None)

    def _find(self, topic: str) -> dict[S, int]:
        found: dict[S, int] = {}
        nodes = [self._root]
        # Filters that start with a wildcard do not see topics that start with $ [MQTT-4.7.2-1].
        hidden = topic.startswith("$")
        for level in topic.split("/"):
            following = []
            for node in nodes:
                children = node.children
                if not hidden:
                    rest = children.get("#")
                    if rest is not None:
                        _merge(found, rest.holders)
                    any_level = children.get("+")
                    if any_level is not None:
                        following.append(any_level)
                child = children.get(level)
                if child is not None:
                    following.append(child)
            hidden = False
            nodes = following
            if not nodes:
                return found
        for node in nodes:
            _merge(found, node.holders)
            # "a/#" matches "a" too.
            rest = node.children.get("#")
            if rest is not None:
                _merge(found, rest.holders)
        return found


def _merge(found: dict[S, int], holders: dict[S, int]) -> None:
    for holder, qos in holders.items():
        if found.get(holder, -1) < qos:
            found[holder] = qos


class _Level:
    """One level of a topic with a retained message, or on the way to one."""

    __slots__ = ("children", "message")

    def __init__(self) -> None:
        self.children: dict[str, _Level] = {}
        self.message: Publication | None = None


class RetainedMessages:
    """The last retained message of each topic."""

    def __init__(self, limit: int) -> None:
        """@param limit: topics; beyond it no new topic is taken."""
        self._root = _Level()
        self._by_topic: dict[str, Publication] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._by_topic)

    def get(self, topic: str) -> Publication | None:
        return self._by_topic.get(topic)

    def takes(self, topic: str) -> bool:
        """@return: whether the limit lets a message on this topic in."""
        return topic in self._by_topic or len(self._by_topic) < self._limit

    def store(self, message: Publication) -> bool:
        """Keep a message in place of the one before; an empty payload only removes that one.

        @return: False when the limit kept it out.
        """
        if not message.payload:  # [MQTT-3.3.1-10], [MQTT-3.3.1-11]
            self._remove(message.topic)
            return True
        if not self.takes(message.topic):
            return False
        self._by_topic[message.topic] = message
        node = self._root
        for level in message.topic.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Level()
            node = child
        node.message = message
        return True

    def topics(self, filter: str) -> list[str]:
        """@return: the topics with a retained message that the filter matches."""
        if not has_wildcard(filter):
            return [filter] if filter in self._by_topic else []
        levels = filter.split("/")
        nodes = [self._root]
        for index, level in enumerate(levels):
            if level == "#":
                return [message.topic for message in _all(nodes, from_root=index == 0)]
            if level == "+":
                nodes = [
                    child
                    for node in nodes
                    for name, child in node.children.items()
                    if index or not name.startswith("$")
                ]
            else:
                nodes = [node.children[level] for node in nodes if level in node.children]
        return [node.message.topic for node in nodes if node.message is not None]

    def _remove(self, topic: str) -> None:
        if self._by_topic.pop(topic, None) is None:
            return
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        path[-1].message = None
        for index in range(len(levels), 0, -1):
            if path[index].message is not None or path[index].children:
                break
            del path[index - 1].children[levels[index - 1]]


def _all(nodes: list[_Level], *, from_root: bool) -> Iterator[Publication]:
    """Give the messages at and below these levels; from the root, not those whose topic has a $."""
    todo = nodes
    if from_root:
        todo = [node for name, node in nodes[0].children.items() if not name.startswith("$")]
    while todo:
        node = todo.pop()
        if node.message is not None:
            yield node.message
        todo.extend(node.children.values())
