"""Takes commands in that are given over MQTT, and what devices answer to commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from aemos import json
from aemos.errors import BadRequest, RowRefused, StorageUnavailable
from aemos.model import ACCEPTED, Code, Done, Message, PrincipalKind, Verdict
from aemos.redaction import without_tokens
from aemos.services.areas import random_uuid
from aemos.services.catalogue import Catalogue, Identity
from aemos.services.claims import refuted
from aemos.services.command_form import Order
from aemos.services.commands import CROWDED, FULL, Commands
from aemos.services.ledger import Ledger
from aemos.services.order_intake import Deadlines, ordered
from aemos.storage import commands
from aemos.storage.commands import NEW_COMMANDS, STEPS, Step
from aemos.storage.writer import Rows, Unit, Writer

_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_THINGS = (PrincipalKind.SENSOR, PrincipalKind.DEVICE)
_MAX_RESULT = 16 * 1024  # bytes of JSON
_MEANS: Mapping[str, str] = {
    **dict.fromkeys(("confirmed", "ok", "success", "done", "completed"), commands.CONFIRMED),
    **dict.fromkeys(("failed", "error", "rejected"), commands.FAILED),
    **dict.fromkeys(("received", "accepted"), commands.RECEIVED),
}
"""What a device may say in `status`, and which status of the command that is."""


class GivenCommand(msgspec.Struct):
    """`{"command", "parameters"}` and more; a command is a word or, as the server sends it, an
    object. Unknown keys are ignored, and sent on like all others.
    """

    command: str | dict[str, Any]
    parameters: Any = None
    commandId: Any = None
    ttl: float | None = None
    maxOn: float | None = None
    off: Any = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


class Acknowledgement(msgspec.Struct):
    """`{"commandId", "status", "result"}`; without a status the command was carried out."""

    commandId: str | int
    status: str = "confirmed"
    result: Any = None
    message: Any = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


_decode_command = json.decoder(GivenCommand)
_decode_acknowledgement = json.decoder(Acknowledgement)


class CommandMessages:
    """The router's handlers for commands and their acknowledgements."""

    def __init__(
        self, catalogue: Catalogue, writer: Writer, ledger: Ledger, orders: Commands
    ) -> None:
        self._catalogue, self._writer, self._ledger = catalogue, writer, ledger
        self._orders = orders

    def command(self, message: Message, done: Done) -> None:
        """Store a command from a sender that may give one to this device; `done` after the commit.

        It is sent on as it came, byte for byte but for tokens.
        """
        found = partial(self._judged, self._command, message, done)
        self._catalogue.find(message.subject, found, patient=True)

    def acknowledged(self, message: Message, done: Done) -> None:
        """Note what a device says about a command; `done` after the commit."""
        found = partial(self._judged, self._acknowledgement, message, done)
        self._catalogue.find(message.subject, found, patient=True)

    def _judged(
        self,
        judge: Callable[[Message, Identity, Done], None],
        message: Message,
        done: Done,
        identity: Identity | StorageUnavailable | None,
    ) -> None:
        if not isinstance(identity, Identity):
            verdict = Verdict(Code.INVALID_DEVICE_UUID, "no sensor or device of this uuid")
            self._ledger.refuse(message, verdict, done)
            return
        try:
            judge(message, identity, done)
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
        except BadRequest as error:
            self._ledger.refuse(message, Verdict(Code.COMMAND_ERROR, str(error)), done)

    # ------------------------------------------------------------------ commands

    def _command(self, message: Message, identity: Identity, done: Done) -> None:
        given = _decode_command(message.payload)
        if not given.command:
            raise BadRequest('"command" is empty')
        token = given.accessToken if given.token is None else given.token
        refusal = refuted(message, identity, given.deviceUuid, token, "device.update")
        if refusal is None and self._orders.full:
            refusal = Verdict(Code.COMMAND_ERROR, FULL)
        if refusal is not None:
            self._ledger.refuse(message, refusal, done)
            return
        order = Order.of(given.command, given.parameters)
        stop = None if given.maxOn is None else order.stop(given.off)
        principal = message.principal
        new = ordered(
            identity.uuid,
            identity.organization_id,
            _own_id(given.commandId) or random_uuid(),
            order,
            stop,
            Deadlines.of(given.ttl, given.maxOn, message.received_at, self._orders.settings),
            without_tokens(message.payload),
            message.qos,
            message.received_at,
            (principal.kind.value, None if principal.kind in _THINGS else principal.id),
        )
        if new.timer is not None and self._orders.crowded(identity.uuid):
            raise BadRequest(CROWDED)
        new.forwarded = True
        unit = ((NEW_COMMANDS, [new]),)
        self._submit(message, unit, partial(self._orders.stored, new), done)

    # ------------------------------------------------------------------ answers

    def _acknowledgement(self, message: Message, identity: Identity, done: Done) -> None:
        said = _decode_acknowledgement(message.payload)
        status = _MEANS.get(said.status)
        if status is None:
            raise BadRequest(f'"status" must be one of [{", ".join(_MEANS)}]')
        command_id = _own_id(said.commandId)
        if command_id is None:
            raise BadRequest('"commandId" is no id of a command')
        reply = said.message if said.result is None else said.result
        if reply is not None and len(json.encode(reply)) > _MAX_RESULT:
            raise BadRequest(f'"result" is longer than {_MAX_RESULT} bytes')
        token = said.accessToken if said.token is None else said.token
        refusal = refuted(message, identity, said.deviceUuid, token, "device.update")
        if refusal is None and message.principal.name != identity.uuid and token is None:
            refusal = Verdict(Code.NOT_AUTHORIZED, "a device answers for itself")
        if refusal is not None:
            self._ledger.refuse(message, refusal, done)
            return
        step = Step(
            status,
            message.received_at,
            device_uuid=identity.uuid,
            command_id=command_id,
            detail="the device says so",
            reply=reply,
        )
        self._submit(message, ((STEPS, [step]),), partial(self._answered, message, step), done)

    def _answered(self, message: Message, step: Step) -> None:
        if step.row is None:
            # Nothing to store, and nobody to tell but the device.
            verdict = Verdict(Code.COMMAND_ERROR, "this device was given no command of this id")
            self._ledger.note(message, verdict)
        self._orders.stepped(step)

    # ------------------------------------------------------------------

    def _submit(
        self,
        message: Message,
        parts: Sequence[tuple[Rows, Sequence[Any]]],
        stored: Callable[[], object],
        done: Done,
    ) -> None:
        """@param stored: called after the commit, when the sender has been answered."""

        def committed(error: RowRefused | None) -> None:
            if error is not None:
                self._ledger.refuse(message, Verdict(Code.COMMAND_ERROR, str(error)), done)
                return
            if message.along is not None:
                message.along.stored = True
            done(ACCEPTED)
            stored()

        along = () if message.along is None else message.along.parts
        self._writer.submit(Unit((*parts, *along), committed))


def _own_id(given: object) -> str | None:
    """@return: the id that a payload has for its command, None = none that can be used."""
    text = json.text(given) if isinstance(given, (str, int)) else ""
    return text if _ID.fullmatch(text) else None
