"""PUBLISH to `Message`, and what follows from its topic; pure, without broker or socket."""

from __future__ import annotations

from aemos.model import Code, Instant, Kind, Message, Principal, Verdict
from aemos.mqtt.packets.fields import write_text

_OF_DEVICES = {
    "datastream": Kind.DATASTREAM,
    "status": Kind.STATUS,
    "state": Kind.STATE,
    "commands": Kind.COMMAND,
    "commands/ack": Kind.COMMAND_ACK,
}
_OF_ORGANIZATIONS = {"broadcast": Kind.BROADCAST, "rule-chains": Kind.RULE_CHAINS}

DENIED = Verdict(Code.NOT_AUTHORIZED, "this client may not publish to the topic")


def classify(topic: str) -> tuple[Kind, str] | None:
    """@return: what a message on this topic is about, and the uuid or organization id it names.

    None for every other topic: such messages are only routed (spec/mqtt.md section 4).
    """
    root, _, rest = topic.partition("/")
    subject, _, tail = rest.partition("/")
    if root == "devices":
        kind = _OF_DEVICES.get(tail)
    elif root == "organizations":
        kind = _OF_ORGANIZATIONS.get(tail)
    else:
        kind = None
    return (kind, subject) if kind is not None and subject else None


class Route:
    """Where the messages of one topic go; a connection keeps those that it publishes to.

    `kind` is None for what is only routed, unless it is denied. `forwards` tells whether an
    accepted message goes on to subscribers as it came: a state does not, they get the announcement
    of the change. `allowed` is the answer of the authorization; `discarded` marks topics that start
    with `$`, which clients cannot publish to. `plain` topics are allowed and only routed. Messages
    that come together on a topic that `gathers` are judged together. `spare` is the device that
    gets the message from the service that judges it, not from the broker.
    """

    __slots__ = (
        "allowed",
        "discarded",
        "forwards",
        "gathers",
        "kind",
        "plain",
        "spare",
        "subject",
        "topic",
        "wire_topic",
    )

    def __init__(self, topic: str) -> None:
        found = classify(topic)
        self.topic = topic
        self.wire_topic = write_text(topic)
        self.kind: Kind | None = found[0] if found else None
        self.subject = found[1] if found else ""
        self.forwards = self.kind is not Kind.STATE
        self.spare = self.subject if self.kind is Kind.COMMAND else ""
        self.discarded = topic.startswith("$")
        self.allowed = self.plain = self.gathers = False

    def allow(self, allowed: bool) -> None:
        """Note what the authorization says; what it denies is refused like a message of ours."""
        self.allowed = allowed
        if not allowed and self.kind is None:
            self.kind = Kind.OTHER
        self.plain = allowed and self.kind is None and not self.discarded
        self.gathers = allowed and self.kind is Kind.DATASTREAM

    def message(self, principal: Principal, payload: bytes, qos: int, at: Instant) -> Message:
        """@return: the message for the router. `kind` must not be None."""
        kind = self.kind
        assert kind is not None  # noqa: S101 - only for the type checker
        return Message(kind, principal, self.subject, payload, at, "mqtt", self.topic, qos)
