"""Many readings in one body, each judged and stored for itself, with a verdict for each line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from aemos import json
from aemos.errors import AemosError, BadRequest, Forbidden, NotFound
from aemos.http.readings import ImportedReading, sent
from aemos.http.schemas import convert
from aemos.messages.router import Router
from aemos.model import Code, Instant, Kind, Message, Principal, Verdict
from aemos.services.history import History
from aemos.storage.readings import Reading
from aemos.storage.writer import Writer

_AT_ONCE = 500  # lines between two looks at the writer and at the client

_CODES: Mapping[type[AemosError], Code] = {
    BadRequest: Code.INVALID_DATA_STREAM,
    NotFound: Code.TELEMETRY_NOT_FOUND,
    Forbidden: Code.NOT_AUTHORIZED,
}

Line = tuple[int, Mapping[str, Any] | BadRequest]
"""Its number, and the reading in it or what is wrong with it."""


@attrs.define
class _Tally:
    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0


class BulkIntake:
    """Hands the lines of a body to the router, no faster than the writer stores them."""

    def __init__(
        self, router: Router, history: History, writer: Writer, clock: IReactorTime
    ) -> None:
        self._router, self._history, self._writer, self._clock = router, history, writer, clock

    async def store(self, by: Principal, lines: Iterable[Line]) -> AsyncGenerator[bytes, None]:
        """Store each reading that may be stored; rule chains are not triggered by them.

        While the database is away this waits, and when it is closed what was handed over is stored
        all the same.

        @return: NDJSON: `line`, `status` (stored, duplicate, refused), `id` or `code` and
            `message` for each line in order; last a line with the totals.
        """
        tally, targets = _Tally(), _Targets(by, self._history)
        waiting: list[Deferred[dict[str, Any]]] = []
        for number, line in lines:
            waiting.append(await self._handed_over(by, number, line, targets))
            if len(waiting) == _AT_ONCE:
                yield await _verdicts(waiting, tally)
                waiting = []
                await self._room()
        if waiting:
            yield await _verdicts(waiting, tally)
        yield json.encode(attrs.asdict(tally)) + b"\n"

    async def _handed_over(
        self, by: Principal, number: int, line: Mapping[str, Any] | BadRequest, targets: _Targets
    ) -> Deferred[dict[str, Any]]:
        """@return: fires with what is to be said about the line."""
        verdict: Deferred[dict[str, Any]] = Deferred()
        try:
            if isinstance(line, BadRequest):
                raise line
            uuid, reading = await targets.of(convert(line, ImportedReading, "Invalid reading"))
        except (BadRequest, NotFound, Forbidden) as error:
            code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
            verdict.callback(_refused(number, Verdict(code, str(error))))
            return verdict
        message = Message(
            kind=Kind.DATASTREAM,
            principal=by,
            subject=uuid,
            payload=json.encode({**reading, "skipRuleChainTrigger": True}),
            received_at=Instant.of(self._clock.seconds()),
            door="http",
        )

        def done(judged: Verdict) -> None:
            if judged.code is Code.ACCEPTED:
                stored: list[Reading] = message.result  # type: ignore[assignment]
                verdict.callback({"line": number, "status": "stored", "id": stored[0].id})
            elif judged.code is Code.DUPLICATE:
                verdict.callback({"line": number, "status": "duplicate"})
            else:
                verdict.callback(_refused(number, judged))

        self._router.handle(message, done)
        return verdict

    async def _room(self) -> None:
        room: Deferred[None] = Deferred()
        self._writer.when_room(lambda: room.callback(None))
        await room


class _Targets:
    """Which variable a line means; asked once for each way to name one."""

    def __init__(self, by: Principal, history: History) -> None:
        self._by, self._history = by, history
        self._known: dict[object, tuple[str, int] | AemosError] = {}

    async def of(self, reading: ImportedReading) -> tuple[str, dict[str, Any]]:
        """@return: the uuid of the sensor, and the reading as the router takes it.

        @raise BadRequest, NotFound, Forbidden: as `History.target`.
        """
        values = sent(reading)
        values.pop("id", None)
        key = (
            values.pop("telemetryDataId", None),
            values.pop("sensorId", None),
            values.pop("variableName", None),
        )
        if key not in self._known:
            try:
                self._known[key] = await self._history.target(self._by, *key)
            except (BadRequest, NotFound, Forbidden) as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, AemosError):
            raise found
        uuid, variable_id = found
        return uuid, {**values, "telemetryDataId": variable_id}


async def _verdicts(waiting: list[Deferred[dict[str, Any]]], tally: _Tally) -> bytes:
    verdicts = await gatherResults(waiting)
    for verdict in verdicts:
        tally.lines += 1
        tally.stored += verdict["status"] == "stored"
        tally.duplicates += verdict["status"] == "duplicate"
        tally.refused += verdict["status"] == "refused"
    return b"".join([json.encode(verdict) + b"\n" for verdict in verdicts])


def _refused(number: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "line": number,
        "status": "refused",
        "code": verdict.code.value,
        "message": verdict.reason,
    }
