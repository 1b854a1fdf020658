"""What becomes of a reading that comes in over HTTP (aemos.http.adapter)."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aemos.errors import AemosError, BadRequest, Unavailable
from aemos.http.adapter import Intake, instant, refusal
from aemos.model import (
    ACCEPTED,
    Code,
    Done,
    Instant,
    Kind,
    Message,
    Principal,
    PrincipalKind,
    Verdict,
)
from aemos.storage.readings import Reading

SENSOR = Principal(PrincipalKind.SENSOR, "uuid-1", 1)
READING = Reading("1", 1, "temperature", Instant(0), id=7)


@attrs.define
class Commit:
    """A unit on its way, which may have begun to commit."""

    begun: bool = False
    withdrawn: bool = False

    def withdraw(self) -> bool:
        self.withdrawn = not self.begun
        return self.withdrawn


@attrs.define
class Router:
    """Keeps messages until the test gives the verdict."""

    unit: Commit | None = attrs.field(factory=Commit)
    at_once: Verdict | None = None
    messages: list[Message] = attrs.field(factory=list)
    done: list[Done] = attrs.field(factory=list)

    def handle(self, message: Message, done: Done) -> Commit | None:
        self.messages.append(message)
        if self.at_once is not None:
            done(self.at_once)
            return None
        self.done.append(done)
        return self.unit

    def accept(self) -> None:
        self.messages[0].result = [READING]
        self.done[0](ACCEPTED)


@attrs.define
class Ledger:
    """Notes verdicts."""

    noted: list[Verdict] = attrs.field(factory=list)

    def note(self, message: Message, verdict: Verdict) -> None:
        self.noted.append(verdict)


@attrs.define
class Writer:
    full: bool = False


@attrs.define
class Bench:
    router: Router = attrs.field(factory=Router)
    ledger: Ledger = attrs.field(factory=Ledger)
    writer: Writer = attrs.field(factory=Writer)
    clock: Clock = attrs.field(factory=Clock)

    def store(self) -> Deferred[list[Reading]]:
        router: Any = self.router
        ledger: Any = self.ledger
        writer: Any = self.writer
        return Intake(router, ledger, writer, self.clock, 5.0).store(SENSOR, "uuid-1", b"{}")


def failed(stored: Deferred[list[Reading]]) -> AemosError:
    seen: list[AemosError] = []
    stored.addErrback(lambda failure: seen.append(failure.value))
    (error,) = seen
    return error


def test_the_message_says_who_sends_what_to_whom_and_when() -> None:
    bench = Bench()
    bench.clock.advance(12.5)
    bench.store()
    (message,) = bench.router.messages
    assert (message.kind, message.door, message.qos) == (Kind.DATASTREAM, "http", 1)
    assert (message.principal, message.subject, message.payload) == (SENSOR, "uuid-1", b"{}")
    assert message.received_at == Instant(12_500)


def test_nothing_is_answered_before_the_commit() -> None:
    bench = Bench()
    stored = bench.store()
    bench.clock.advance(4.9)
    assert not stored.called
    bench.router.accept()
    assert stored.result == [READING]
    assert bench.clock.getDelayedCalls() == []


def test_a_repeat_counts_as_stored() -> None:
    bench = Bench(Router(at_once=Verdict(Code.DUPLICATE)))
    assert bench.store().called
    assert bench.clock.getDelayedCalls() == []


def test_what_does_not_begin_to_commit_in_time_is_taken_back() -> None:
    bench = Bench()
    stored = bench.store()
    bench.clock.advance(5)
    assert bench.router.unit is not None
    assert bench.router.unit.withdrawn
    error = failed(stored)
    assert isinstance(error, Unavailable)
    assert error.status == 503
    assert [verdict.code for verdict in bench.ledger.noted] == [Code.WITHDRAWN]


def test_a_sensor_that_cannot_be_read_in_time_is_answered_503_and_a_late_verdict_ignored() -> None:
    bench = Bench(Router(unit=None))
    stored = bench.store()
    bench.clock.advance(5)
    assert failed(stored).status == 503
    bench.router.accept()
    assert bench.ledger.noted == []


def test_nothing_more_is_taken_while_the_writer_is_full() -> None:
    bench = Bench(writer=Writer(full=True))
    error = failed(bench.store())
    assert (error.status, bench.router.messages) == (503, [])
    assert [verdict.code for verdict in bench.ledger.noted] == [Code.WITHDRAWN]
    assert bench.clock.getDelayedCalls() == []


def test_a_commit_that_has_begun_is_waited_for() -> None:
    bench = Bench(Router(Commit(begun=True)))
    stored = bench.store()
    bench.clock.advance(60)
    assert not stored.called
    assert bench.ledger.noted == []
    bench.router.accept()
    assert stored.result == [READING]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.VALIDATION_ERROR, 400),
        (Code.INVALID_DEVICE_UUID, 400),
        (Code.INVALID_PAYLOAD, 400),
        (Code.INVALID_DATA_STREAM, 400),
        (Code.DATA_STREAM_ERROR, 400),
        (Code.AUTHENTICATION_FAILED, 401),
        (Code.NOT_AUTHORIZED, 403),
        (Code.TELEMETRY_NOT_FOUND, 404),
        (Code.QUOTA_EXCEEDED, 429),
        (Code.ROUTING_ERROR, 500),
        (Code.UNKNOWN_MESSAGE_TYPE, 500),
    ],
)
def test_a_refusing_verdict_becomes_an_error_with_its_reason(code: Code, status: int) -> None:
    error = refusal(Verdict(code, "because"))
    assert (error.status, str(error)) == (status, "because")
    bench = Bench(Router(at_once=Verdict(code, "because")))
    assert failed(bench.store()).status == status
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (None, None),
        ("2026-01-02T03:04:05.678Z", 1_767_323_045_678),
        ("2026-01-02T04:04:05.678+01:00", 1_767_323_045_678),
        ("2026-01-02 03:04:05.678", 1_767_323_045_678),
        (1_767_323_045_678, 1_767_323_045_678),
        (1_767_323_045_678.9, 1_767_323_045_678),
    ],
)
def test_a_time_is_iso_text_or_milliseconds(given: Any, at: int | None) -> None:
    assert instant("recievedAt", given) == at


@pytest.mark.parametrize("given", ["", "noon", "0001-01-01", 1e300, 9**40])
def test_a_time_that_no_database_holds_is_refused_by_name(given: Any) -> None:
    with pytest.raises(BadRequest, match='"recievedAt" must be a valid date'):
        instant("recievedAt", given)
