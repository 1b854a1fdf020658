"""Who may publish, subscribe and listen where: one answer for every door.

Rules of the configuration come first (first match wins), then either everything (`acl.mode: open`)
or the built-in rules of docs/access.rst. A filter is granted only if every topic that it can match
is allowed; topics that a rule denies inside a wider granted filter are left out on delivery
(`may_receive`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos import topics
from aemos.config.schema import Acl, AclRule
from aemos.errors import StorageUnavailable
from aemos.model import Principal, PrincipalKind, id_in
from aemos.services.catalogue import Catalogue, Identity
from aemos.storage import identities
from aemos.storage.database import Database

_ASK_AGAIN = 1.0  # seconds, while the database is away

Decided = Callable[[bool], object]

_SENSOR_PUBLISHES = frozenset({"datastream", "status", "state", "commands", "commands/ack"})
_DEVICE_PUBLISHES = frozenset({"status", "state", "commands/ack"})
_ANONYMOUS_PUBLISHES = frozenset({"datastream", "status"})  # the payload's token says who it is


@attrs.frozen
class _Rule:
    """One configured rule, ready to be asked."""

    grants: bool
    publish: bool
    subscribe: bool
    topic: str
    user: re.Pattern[str] | None
    client: re.Pattern[str] | None

    @classmethod
    def of(cls, rule: AclRule) -> _Rule:
        action = rule.allow or rule.deny
        return cls(
            grants=bool(rule.allow),
            publish=action in ("publish", "both"),
            subscribe=action in ("subscribe", "both"),
            topic=rule.topic,
            user=re.compile(translate(rule.user)) if rule.user else None,
            client=re.compile(translate(rule.client)) if rule.client else None,
        )

    def filter_for(self, principal: Principal, client_id: str) -> str | None:
        """@return: the topic filter that this rule is about for this client; None = not for it.

        Names count only when they were authenticated: anonymous clients choose theirs freely, so
        an allowing rule never trusts them (a denying one may still name their client id).
        """
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        if self.user is not None and (anonymous or not self.user.match(principal.name)):
            return None
        if self.client is not None and (
            (anonymous and self.grants) or not self.client.match(client_id)
        ):
            return None
        topic = self.topic
        for mark, name in (("%u", principal.name), ("%c", client_id)):
            if mark in topic:
                # A name must stay one literal level: "+" or "#" in it would widen the rule.
                if anonymous or not name or any(c in name for c in "+#/"):
                    return None
                topic = topic.replace(mark, name)
        return topic


class Authorization:
    """Answers through a callback: at once whenever memory is enough, after one read otherwise.

    While the database is away, what memory cannot answer waits until it is back: a refusal would be
    wrong.
    """

    _log = Logger()

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database,
        clock: IReactorTime,
        acl: Acl,
        anonymous_rooms: Sequence[str] = (),
    ) -> None:
        """@param anonymous_rooms: organization ids, or "all": the setting `realtime.anonymous`."""
        self._catalogue, self._database, self._clock = catalogue, database, clock
        self.configure(acl)
        self._anonymous_all = "all" in anonymous_rooms
        self._anonymous = frozenset(int(name) for name in anonymous_rooms if name != "all")

    def configure(self, acl: Acl) -> None:
        """Take these rules from now on; whoever remembers answers has to be told by the caller."""
        self._open = acl.mode == "open"
        self._rules = [_Rule.of(rule) for rule in acl.rules]
        self.filters_delivery = any(not rule.grants and rule.subscribe for rule in self._rules)

    def may_publish(self, principal: Principal, client_id: str, topic: str, done: Decided) -> None:
        """May this client publish to this topic? (Those with `$` are the broker's matter.)"""
        for rule in self._rules:
            if (
                rule.publish
                and (named := rule.filter_for(principal, client_id))
                and topics.matches(named, topic)
            ):
                done(rule.grants)
                return
        if principal.administrator or self._open:
            done(True)
            return
        root, _, rest = topic.partition("/")
        subject, _, tail = rest.partition("/")
        kind = principal.kind
        if kind is PrincipalKind.SENSOR:
            done(root == "devices" and subject == principal.name and tail in _SENSOR_PUBLISHES)
        elif kind is PrincipalKind.DEVICE:
            done(root == "devices" and subject == principal.name and tail in _DEVICE_PUBLISHES)
        elif kind is PrincipalKind.ANONYMOUS:
            done(root == "devices" and bool(subject) and tail in _ANONYMOUS_PUBLISHES)
        elif root == "organizations" and tail == "broadcast":
            owner = id_in(subject)
            done(owner is not None and principal.may("device.update", owner))
        elif root == "devices" and tail == "commands":
            self._in_organization(
                subject, lambda owner, _kind: principal.may("device.update", owner), done
            )
        else:
            done(False)

    def may_subscribe(
        self, principal: Principal, client_id: str, filter: str, done: Decided
    ) -> None:
        """May this client have everything that this filter can match?"""
        for rule in self._rules:
            if (
                rule.subscribe
                and (named := rule.filter_for(principal, client_id))
                and topics.covers(named, filter)
            ):
                done(rule.grants)
                return
        root, _, rest = filter.partition("/")
        if principal.administrator or (self._open and not root.startswith("$")):
            done(True)
            return
        subject, _, tail = rest.partition("/")
        if subject in ("", "+", "#") or principal.kind is PrincipalKind.ANONYMOUS:
            done(False)
        elif root == "organizations":
            own = id_in(subject) in principal.permissions
            done(own and (principal.kind is not PrincipalKind.DEVICE or tail == "broadcast"))
        elif root != "devices":
            done(False)
        elif principal.kind is PrincipalKind.DEVICE or subject == principal.name:
            done(subject == principal.name)
        elif principal.kind is PrincipalKind.SENSOR:
            # A sensor reads the actuators of its organization, not the other sensors.
            self._in_organization(
                subject,
                lambda owner, kind: kind is PrincipalKind.DEVICE and owner in principal.permissions,
                done,
            )
        else:
            self._in_organization(
                subject, lambda owner, kind: principal.may(_viewing(kind), owner), done
            )

    def may_receive(self, principal: Principal, client_id: str, topic: str) -> bool:
        """Is this topic of a granted filter not one that a rule denies?

        Needs to be asked only if `filters_delivery`.
        """
        for rule in self._rules:
            if (
                rule.subscribe
                and (named := rule.filter_for(principal, client_id))
                and topics.matches(named, topic)
            ):
                return rule.grants
        return True

    def may_join(self, principal: Principal, room: str, done: Decided) -> None:
        """May this client listen to a realtime room (spec/realtime.md section 3)?"""
        if principal.administrator and not room.isdigit():
            # Also of what belongs to no organization yet: a sensor that is in no area, say.
            done(True)
        elif (variable := _id_of("telemetry-", room)) is not None:
            self._of_row(
                identities.organization_of_variable,
                variable,
                lambda owner: self._hears(principal, owner),
                done,
            )
        elif room.startswith("device-uuid-"):
            self._in_organization(
                room[12:], lambda owner, kind: principal.may(_viewing(kind), owner), done
            )
        elif (device := _id_of("device-", room)) is not None:
            self._of_row(
                identities.organization_of_device,
                device,
                lambda owner: principal.may("device.view", owner),
                done,
            )
        elif (owner := _id_of("organization-", room)) is not None:
            # Of what happens there, a member hears what it holds the right for.
            done(principal.may("sensor.view", owner) or principal.may("device.view", owner))
        else:
            done(principal.kind is PrincipalKind.USER and id_in(room) == principal.id)

    def _hears(self, principal: Principal, owner: int) -> bool:
        if principal.kind is PrincipalKind.ANONYMOUS:
            return self._anonymous_all or owner in self._anonymous
        return principal.may("sensor.view", owner)

    def _in_organization(
        self, uuid: str, rule: Callable[[int, PrincipalKind], bool], done: Decided
    ) -> None:
        def found(identity: Identity | StorageUnavailable | None) -> None:
            if isinstance(identity, Identity) and identity.organization_id is not None:
                done(rule(identity.organization_id, identity.kind))
            else:
                done(False)

        self._catalogue.find(uuid, found, patient=True)

    def _of_row(
        self,
        owner_of: Callable[..., int | None],
        row_id: int,
        rule: Callable[[int], bool],
        done: Decided,
    ) -> None:
        def failed(failure: Failure) -> None:
            failure.trap(StorageUnavailable)
            self._clock.callLater(_ASK_AGAIN, self._of_row, owner_of, row_id, rule, done)

        reading: Deferred[int | None] = self._database.read(owner_of, row_id)
        reading.addCallbacks(lambda owner: done(owner is not None and rule(owner)), failed)
        reading.addErrback(
            lambda failure: self._log.failure(
                "deciding about room of row {row} failed", failure, row=row_id
            )
        )


def _id_of(prefix: str, room: str) -> int | None:
    """@return: the id behind the prefix; None = the room has another name."""
    return id_in(room.removeprefix(prefix)) if room.startswith(prefix) else None


def _viewing(kind: PrincipalKind) -> str:
    return "sensor.view" if kind is PrincipalKind.SENSOR else "device.view"
