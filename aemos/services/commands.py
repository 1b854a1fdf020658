"""Judges what is passed on and not stored: commands, broadcasts, states, rule results."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from aemos import json
from aemos.errors import BadRequest, StorageUnavailable
from aemos.model import ACCEPTED, Code, Done, Message, PrincipalKind, Verdict
from aemos.services.catalogue import Catalogue, Identity
from aemos.services.claims import refuted
from aemos.services.ledger import Ledger


class Command(msgspec.Struct):
    """`{"command", "parameters"}`; a command is a word or, as the server sends it, an object."""

    command: str | dict[str, Any]
    parameters: Any = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


_decode_command = json.decoder(Command)
_decode_object = json.decoder(dict[str, Any])


class PassedOn:
    """Handlers for what becomes true by reaching its subscribers (spec/mqtt.md section 5.5)."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger) -> None:
        self._catalogue, self._ledger = catalogue, ledger

    def command(self, message: Message, done: Done) -> None:
        """Accept a well-formed command from a sender that may give one to this device."""
        self._catalogue.find(message.subject, partial(self._command, message, done), patient=True)

    def _command(
        self, message: Message, done: Done, identity: Identity | StorageUnavailable | None
    ) -> None:
        if not isinstance(identity, Identity):
            self._ledger.refuse(
                message, Verdict(Code.INVALID_DEVICE_UUID, "no sensor or device of this uuid"), done
            )
            return
        try:
            command = _decode_command(message.payload)
            if not command.command:
                raise BadRequest('"command" is empty')
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
            return
        except BadRequest as error:
            self._ledger.refuse(message, Verdict(Code.COMMAND_ERROR, str(error)), done)
            return
        token = command.accessToken if command.token is None else command.token
        refusal = refuted(message, identity, command.deviceUuid, token, "device.update")
        if refusal is None:
            done(ACCEPTED)
        else:
            self._ledger.refuse(message, refusal, done)

    def broadcast(self, message: Message, done: Done) -> None:
        """Accept a JSON object for an organization, from a user with `device.update` there."""
        organization = message.subject
        if not organization.isdigit():
            self._ledger.refuse(
                message, Verdict(Code.INVALID_ORG_ID, "the organization id must be a number"), done
            )
            return
        principal = message.principal
        trusted = principal.kind is PrincipalKind.SERVER or principal.may(
            "device.update", int(organization)
        )
        self._object(message, done, Code.BROADCAST_ERROR, trusted)

    def state(self, message: Message, done: Done) -> None:
        """Accept a JSON object; a state changes over REST or by rules, not by this message."""
        self._object(message, done, Code.DEVICE_STATE_ERROR, True)

    def rule_chains(self, message: Message, done: Done) -> None:
        """Accept a JSON object; results of rule chains are announced by the server itself."""
        self._object(message, done, Code.RULE_CHAIN_ERROR, True)

    def _object(self, message: Message, done: Done, code: Code, trusted: bool) -> None:
        try:
            _decode_object(message.payload)
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
        except BadRequest as error:
            self._ledger.refuse(message, Verdict(code, str(error)), done)
        else:
            if trusted:
                done(ACCEPTED)
            else:
                self._ledger.refuse(
                    message, Verdict(Code.NOT_AUTHORIZED, "device.update is not held there"), done
                )
