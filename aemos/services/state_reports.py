"""Takes in what devices report about their states over MQTT (docs/devices.rst)."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from aemos import json
from aemos.errors import BadRequest, RowRefused, StorageUnavailable
from aemos.model import ACCEPTED, Code, Done, Message, PrincipalKind, Verdict
from aemos.services.catalogue import Catalogue, Identity
from aemos.services.claims import refuted
from aemos.services.commands import Commands
from aemos.services.events import Events
from aemos.services.ledger import Ledger
from aemos.services.state_changes import StateChanges
from aemos.storage.state_reports import STATE_REPORTS, StateReport
from aemos.storage.writer import Unit, Writer

_MAX_VALUE = 100  # characters, DeviceStateInstance.value


class Report(msgspec.Struct):
    """`{"stateName", "value"}`; unknown keys are ignored."""

    stateName: Any = None
    value: Any = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


_decode = json.decoder(Report)


class StateReportIngest:
    """The router's handler for state messages.

    What a device reports is stored, and announced like every change; the message itself goes no
    further. Messages of others, and those that name no state, are acknowledged only.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        writer: Writer,
        events: Events,
        ledger: Ledger,
        changes: StateChanges,
        orders: Commands,
    ) -> None:
        self._catalogue, self._writer, self._events = catalogue, writer, events
        self._ledger, self._changes, self._orders = ledger, changes, orders

    def handle(self, message: Message, done: Done) -> None:
        """Judge and store one report; `done` after the commit."""
        try:
            report = _decode(message.payload)
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
            return
        except BadRequest as error:
            self._ledger.refuse(message, Verdict(Code.DEVICE_STATE_ERROR, str(error)), done)
            return
        own = message.principal.name == message.subject and message.principal.kind in (
            PrincipalKind.SENSOR,
            PrincipalKind.DEVICE,
        )
        if not own or report.stateName is None or report.value is None:
            done(ACCEPTED)
            return
        found = partial(self._found, message, report, done)
        self._catalogue.find(message.subject, found, patient=True)

    def _found(
        self,
        message: Message,
        report: Report,
        done: Done,
        identity: Identity | StorageUnavailable | None,
    ) -> None:
        if not isinstance(identity, Identity):
            verdict = Verdict(Code.INVALID_DEVICE_UUID, "no sensor or device of this uuid")
            self._ledger.refuse(message, verdict, done)
            return
        token = report.accessToken if report.token is None else report.token
        refusal = refuted(message, identity, report.deviceUuid, token, "device.update")
        value = json.text(report.value) if isinstance(report.value, (str, int, float)) else ""
        if refusal is None and (
            not isinstance(report.stateName, str) or not 0 < len(value) <= _MAX_VALUE
        ):
            refusal = Verdict(
                Code.DEVICE_STATE_ERROR,
                f'"stateName" must be text, "value" have 1 to {_MAX_VALUE} characters',
            )
        if refusal is not None:
            self._ledger.refuse(message, refusal, done)
            return
        stored = StateReport(
            device_uuid=identity.uuid,
            state_name=report.stateName,
            value=value,
            at=message.received_at,
            change=self._changes.set_within,
        )
        along = () if message.along is None else message.along.parts
        self._writer.submit(
            Unit(
                ((STATE_REPORTS, [stored]), *along),
                partial(self._committed, message, stored, done),
            )
        )

    def _committed(
        self, message: Message, report: StateReport, done: Done, error: RowRefused | None
    ) -> None:
        if error is not None:
            self._ledger.refuse(message, Verdict(Code.DEVICE_STATE_ERROR, str(error)), done)
            return
        if message.along is not None:
            message.along.stored = True
        if report.problem:
            self._ledger.note(message, Verdict(Code.DEVICE_STATE_ERROR, report.problem))
        done(ACCEPTED)
        if report.changed is not None:
            self._events.publish(report.changed)
        for step in report.confirmed:
            self._orders.stepped(step)
