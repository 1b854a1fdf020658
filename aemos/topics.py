"""MQTT topic names and filters: which are valid, what matches what, and which filter covers which.

Everything works on text (`str`); decoding bytes is the codec's task. Levels are separated by `/`
and may be empty, nothing is normalised [MQTT-4.7.3-4].
"""

from __future__ import annotations

from aemos.errors import BadRequest

MAX_LEVELS = 256
"""Levels of a name or filter unless the configuration says otherwise (`mqtt.max_topic_levels`)."""


class InvalidTopic(BadRequest):
    """Not a topic name or filter; `clause` is the statement of MQTT 3.1.1 that it breaks."""

    code = "invalid_topic"

    def __init__(self, message: str, clause: str) -> None:
        super().__init__(message)
        self.clause = clause


def check_name(topic: str, max_levels: int = MAX_LEVELS) -> None:
    """@raise InvalidTopic: `topic` cannot be published to."""
    if "+" in topic or "#" in topic:
        raise InvalidTopic("a topic name holds no wildcard", "MQTT-3.3.2-2")
    _check_text(topic, max_levels)


def check_filter(filter: str, max_levels: int = MAX_LEVELS) -> None:
    """@raise InvalidTopic: `filter` cannot be subscribed to."""
    _check_text(filter, max_levels)
    if "#" in filter:
        before, _, after = filter.partition("#")
        if after or (before and not before.endswith("/")):
            raise InvalidTopic("# stands alone in the last level", "MQTT-4.7.1-2")
    if "+" in filter:
        for level in filter.split("/"):
            if "+" in level and level != "+":
                raise InvalidTopic("+ fills a whole level", "MQTT-4.7.1-3")


def _check_text(topic: str, max_levels: int) -> None:
    if not topic:
        raise InvalidTopic("a topic has at least one character", "MQTT-4.7.3-1")
    if "\0" in topic:
        raise InvalidTopic("a topic holds no U+0000", "MQTT-4.7.3-2")
    # One character never takes more than four bytes: only long topics need to be encoded for this.
    if len(topic) > 0xFFFF // 4 and len(topic.encode("utf-8", "surrogatepass")) > 0xFFFF:
        raise InvalidTopic("a topic is longer than 65535 bytes", "MQTT-4.7.3-3")
    if topic.count("/") >= max_levels:
        raise InvalidTopic(f"a topic has more than {max_levels} levels", "MQTT-4.7.3")


def has_wildcard(filter: str) -> bool:
    """@return: whether a valid filter can match more than the one topic of its own name."""
    return "+" in filter or filter.endswith("#")


def matches(filter: str, topic: str) -> bool:
    """@return: whether a valid `filter` selects a valid topic name (section 4.7)."""
    if filter == topic:
        return True
    if topic[0] == "$" and filter[0] in "+#":
        return False  # [MQTT-4.7.2-1]
    wanted, levels = filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels):
            return False
        if level != "+" and level != levels[index]:
            return False
    return len(wanted) == len(levels) or wanted[len(levels) :] == ["#"]


def covers(allowed: str, filter: str) -> bool:
    """@return: whether `allowed` matches all that `filter` (a filter or a name) can match.

    Exact: when it is false there is a topic that `filter` matches and `allowed` does not.
    """
    if filter[0] == "$" and allowed[0] in "+#":
        return False
    granted, asked = allowed.split("/"), filter.split("/")
    if asked[0] == "#" and granted == ["+", "#"]:
        return True  # every topic has a first level
    for index, level in enumerate(granted):
        if level == "#":
            return True
        if index >= len(asked):
            return False
        wanted = asked[index]
        # "#" also matches nothing more, which neither a name nor "+" does.
        if wanted == "#" or (level != "+" and level != wanted):
            return False
    return len(granted) == len(asked)
