"""The last word of a client whose connection was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from aemos.errors import AemosError, StorageUnavailable
from aemos.model import Principal, Verdict
from aemos.mqtt.adapter import DENIED, Route
from aemos.mqtt.collaborators import Login
from aemos.mqtt.packets import Will
from aemos.mqtt.session import Session

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker

_log = Logger()


def publish(broker: Broker, login: Login, session: Session, will: Will) -> None:
    """Publish with the rights that the client has now: a revoked device gets no last word."""
    route, client_id = Route(will.topic), session.client_id

    def refreshed(result: Principal | AemosError) -> None:
        if isinstance(result, StorageUnavailable):
            result = session.principal
        if isinstance(result, AemosError):
            _log.info("no will of {client_id!r}: {error}", client_id=client_id, error=result)
        elif not route.discarded:
            principal = result
            broker.authorization.may_publish(
                principal, client_id, will.topic, lambda allowed: decided(principal, allowed)
            )

    def decided(principal: Principal, allowed: bool) -> None:
        route.allow(allowed)
        if route.kind is None:
            speak()
            return
        message = route.message(principal, will.payload, will.qos, broker.now())
        if allowed:
            broker.router.handle(message, judged)
        else:
            broker.counters.denied += 1
            broker.router.refuse(message, DENIED, judged)

    def judged(verdict: Verdict) -> None:
        if verdict.accepted and route.forwards:
            speak()

    def speak() -> None:
        broker.publish(will.topic, will.payload, qos=will.qos, retain=will.retain)

    login.refresh(session.principal, refreshed)
