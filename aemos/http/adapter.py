"""Readings over HTTP: a request's body becomes a `Message`, the router's verdict an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from aemos.errors import (
    AemosError,
    BadRequest,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from aemos.messages.router import Router
from aemos.model import Code, Instant, Kind, Message, Principal, Verdict
from aemos.services.ledger import Ledger
from aemos.storage.readings import Reading
from aemos.storage.writer import Writer

_ERRORS: Mapping[Code, type[AemosError]] = {
    Code.VALIDATION_ERROR: BadRequest,
    Code.INVALID_DEVICE_UUID: BadRequest,
    Code.INVALID_PAYLOAD: BadRequest,
    Code.INVALID_DATA_STREAM: BadRequest,
    Code.DATA_STREAM_ERROR: BadRequest,
    Code.AUTHENTICATION_FAILED: Unauthenticated,
    Code.NOT_AUTHORIZED: Forbidden,
    Code.TELEMETRY_NOT_FOUND: NotFound,
    Code.QUOTA_EXCEEDED: TooManyRequests,
    Code.WITHDRAWN: Unavailable,
}
_MILLISECONDS = re.compile("[0-9]{9,15}")  # eight digits are a date
_BEHIND = Verdict(Code.WITHDRAWN, "the server is behind with storing; nothing was stored")
_NOT_IN_TIME = Verdict(Code.WITHDRAWN, "the readings could not be stored in time and were not")


def instant(field: str, given: str | float | None) -> Instant | None:
    """Read a time of a body: ISO 8601 text, or milliseconds since 1970, as text too (forms).

    @raise BadRequest: neither; the text names the field.
    """
    if given is None:
        return None
    if isinstance(given, str) and _MILLISECONDS.fullmatch(given):
        given = int(given)
    try:
        at = Instant.parse(given) if isinstance(given, str) else Instant(given)
        if 1000 <= at.datetime().year <= 9999:  # what DATETIME can hold
            return at
    except (ValueError, OverflowError, OSError):
        pass
    raise BadRequest(f'Invalid request body: "{field}" must be a valid date')


def refusal(verdict: Verdict) -> AemosError:
    """@return: the error that says over HTTP what the verdict says; unforeseen codes are 500."""
    return _ERRORS.get(verdict.code, AemosError)(verdict.reason)


@attrs.define
class Intake:
    """Hands readings to the router and answers after the commit (promise P1)."""

    _router: Router
    _ledger: Ledger
    _writer: Writer
    _clock: IReactorTime
    _timeout: float

    def store(self, by: Principal, uuid: str, payload: bytes) -> Deferred[list[Reading]]:
        """Store the readings of one body.

        @param uuid: of the sensor that the readings belong to.
        @param payload: JSON, one reading or `dataStreams` (spec/mqtt.md section 5).
        @return: the readings as committed, with ids; a repeat is marked `duplicate`. Fails with
            what `refusal` makes of the verdict, or with `Unavailable` when the writer is full (P3),
            or when the commit does not begin within the time-out: then the readings were taken back
            and are not stored (or, while their sensor cannot be looked up, not yet). A commit that
            has begun is waited for, however long it takes.
        """
        message = Message(
            kind=Kind.DATASTREAM,
            principal=by,
            subject=uuid,
            payload=payload,
            received_at=Instant.of(self._clock.seconds()),
            door="http",
        )
        if self._writer.full:
            self._ledger.note(message, _BEHIND)
            return fail(refusal(_BEHIND))
        stored: Deferred[list[Reading]] = Deferred()

        def done(verdict: Verdict) -> None:
            if timer.active():
                timer.cancel()
            if stored.called:
                return
            if verdict.accepted:
                stored.callback(message.result)  # type: ignore[arg-type]
            else:
                stored.errback(refusal(verdict))

        def expire() -> None:
            if unit is None:  # its sensor is still being read: nobody can take the message back
                stored.errback(Unavailable("the sensor could not be looked up in time"))
            elif unit.withdraw():
                self._ledger.note(message, _NOT_IN_TIME)
                stored.errback(refusal(_NOT_IN_TIME))

        unit = None
        timer = self._clock.callLater(self._timeout, expire)
        unit = self._router.handle(message, done)
        return stored
