"""Takes status reports of sensors and devices in (spec/mqtt.md section 5.4)."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from aemos import json
from aemos.errors import BadRequest, RowRefused, StorageUnavailable
from aemos.model import ACCEPTED, Code, Done, Instant, Message, Verdict
from aemos.services.catalogue import Catalogue, Identity
from aemos.services.claims import refuted
from aemos.services.events import Events, StatusStored
from aemos.services.ledger import Ledger
from aemos.storage.status import STATUS_REPORTS, StatusReport
from aemos.storage.writer import Unit, Writer

_MAX_STATUS = 50  # characters, device_status.status
_MAX_METADATA = 16 * 1024  # bytes of JSON


class Report(msgspec.Struct):
    """A status message as sent; unknown keys are ignored."""

    status: str
    timestamp: Any = None
    metadata: dict[str, Any] | None = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


_decode = json.decoder(Report)


class StatusIngest:
    """The router's handler for status messages."""

    def __init__(
        self, catalogue: Catalogue, writer: Writer, events: Events, ledger: Ledger
    ) -> None:
        self._catalogue, self._writer, self._events, self._ledger = (
            catalogue,
            writer,
            events,
            ledger,
        )

    def handle(self, message: Message, done: Done) -> None:
        """Judge and store one report; `done` after the commit."""
        self._catalogue.find(message.subject, partial(self._found, message, done), patient=True)

    def _found(
        self, message: Message, done: Done, identity: Identity | StorageUnavailable | None
    ) -> None:
        if not isinstance(identity, Identity):
            self._ledger.refuse(
                message, Verdict(Code.INVALID_DEVICE_UUID, "no sensor or device of this uuid"), done
            )
            return
        try:
            report = _decode(message.payload)
            if not report.status or len(report.status) > _MAX_STATUS:
                raise BadRequest(f'"status" must have 1 to {_MAX_STATUS} characters')
            if report.metadata is not None and len(json.encode(report.metadata)) > _MAX_METADATA:
                raise BadRequest(f'"metadata" is longer than {_MAX_METADATA} bytes')
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
            return
        except BadRequest as error:
            self._ledger.refuse(message, Verdict(Code.INVALID_PAYLOAD, str(error)), done)
            return
        token = report.accessToken if report.token is None else report.token
        refusal = refuted(message, identity, report.deviceUuid, token, "device.update")
        if refusal is not None:
            self._ledger.refuse(message, refusal, done)
            return
        stored = StatusReport(
            uuid=identity.uuid,
            status=report.status,
            at=_time(report.timestamp, message.received_at),
            metadata=report.metadata,
        )
        along = () if message.along is None else message.along.parts
        self._writer.submit(
            Unit(
                ((STATUS_REPORTS, [stored]), *along),
                partial(self._committed, message, identity, stored, done),
            )
        )

    def _committed(
        self,
        message: Message,
        identity: Identity,
        report: StatusReport,
        done: Done,
        error: RowRefused | None,
    ) -> None:
        if error is not None:
            self._ledger.refuse(message, Verdict(Code.DEVICE_STATUS_ERROR, str(error)), done)
            return
        if message.along is not None:
            message.along.stored = True
        done(ACCEPTED)
        self._events.publish(
            StatusStored(
                identity.uuid,
                identity.organization_id,
                report.status,
                report.metadata,
                report.at,
                identity.kind,
            )
        )


def _time(given: object, received_at: Instant) -> Instant:
    try:
        return Instant.parse(given) if isinstance(given, str) else received_at
    except (ValueError, OverflowError):
        return received_at
