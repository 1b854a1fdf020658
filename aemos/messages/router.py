"""Gives each message to the service that judges its kind; knows no protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger

from aemos.model import Code, Done, Kind, Message, Verdict
from aemos.services.ledger import Ledger
from aemos.storage.writer import Unit

Handler = Callable[[Message, Done], Unit | None]

_FAULT = Verdict(Code.ROUTING_ERROR, "the server failed to handle the message; its log says why")


class Router:
    """One handler for each `Kind`; every message ends in exactly one call of its `done`."""

    _log = Logger()

    def __init__(self, handlers: Mapping[Kind, Handler], ledger: Ledger) -> None:
        self._handlers, self._ledger = dict(handlers), ledger

    def handle(self, message: Message, done: Done) -> Unit | None:
        """Judge a message: `done(verdict)` at once if nothing is stored, else after the commit.

        @return: the unit that stores it, for a caller that may `withdraw` it; None = there is none
            (yet).
        """
        handler = self._handlers.get(message.kind)
        if handler is None:
            kind = message.kind.value
            self._ledger.refuse(
                message, Verdict(Code.UNKNOWN_MESSAGE_TYPE, f"{kind} messages are not taken"), done
            )
            return None
        try:
            return handler(message, done)
        except Exception:
            # Handlers call `done` as their last act, so a failure here means that nobody was told
            # yet.
            self._log.failure("handling of a {kind} message failed", kind=message.kind.value)
            self._ledger.refuse(message, _FAULT, done)
            return None

    def refuse(self, message: Message, verdict: Verdict, done: Done) -> None:
        """Note and answer a message that its door may not let in, e.g. for want of a right."""
        self._ledger.refuse(message, verdict, done)
