"""Judges what is passed on and not stored: broadcasts and results of rule chains."""

from __future__ import annotations

from typing import Any

from aemos import json
from aemos.errors import BadRequest
from aemos.model import ACCEPTED, Code, Done, Message, PrincipalKind, Verdict, id_in
from aemos.services.ledger import Ledger

_decode_object = json.decoder(dict[str, Any])


class PassedOn:
    """Handlers for what becomes true by reaching its subscribers (spec/mqtt.md section 5.5)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def broadcast(self, message: Message, done: Done) -> None:
        """Accept a JSON object for an organization, from a user with `device.update` there."""
        organization_id = id_in(message.subject)
        if organization_id is None:
            self._ledger.refuse(
                message, Verdict(Code.INVALID_ORG_ID, "the organization id must be a number"), done
            )
            return
        principal = message.principal
        trusted = principal.kind is PrincipalKind.SERVER or principal.may(
            "device.update", organization_id
        )
        self._object(message, done, Code.BROADCAST_ERROR, trusted)

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
