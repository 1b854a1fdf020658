"""Gives each message to the service that judges its kind; knows no protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from twisted.logger import Logger

from aemos.model import Burst, BurstDone, Code, Done, Kind, Message, Verdict
from aemos.services.ledger import Ledger
from aemos.storage.writer import Unit

Handler = Callable[[Message, Done], Unit | None]
BurstHandler = Callable[[Burst, BurstDone, Callable[[], None]], None]
"""The last argument is to be called in place of the second, to have the burst taken apart."""

_FAULT = Verdict(Code.ROUTING_ERROR, "the server failed to handle the message; its log says why")


class Router:
    """One handler for each `Kind`; every message ends in exactly one call of its `done`.

    Kinds of which many messages come at once have a handler of bursts too. It judges those of which
    nothing but good is to be said, and leaves all others to be handled message by message.
    """

    _log = Logger()

    def __init__(
        self,
        handlers: Mapping[Kind, Handler],
        ledger: Ledger,
        bursts: Mapping[Kind, BurstHandler] | None = None,
    ) -> None:
        self._handlers, self._ledger, self._bursts = dict(handlers), ledger, dict(bursts or {})

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

    def handle_burst(self, burst: Burst, done: BurstDone) -> None:
        """Judge messages that came together: `done(verdicts)` when all of them are decided."""
        apart = partial(self._one_by_one, burst, done)
        handler = self._bursts.get(burst.message.kind)
        if handler is None:
            apart()
            return
        try:
            handler(burst, done, apart)
        except Exception:
            self._log.failure("handling of {count} messages failed", count=len(burst.payloads))
            apart()

    def _one_by_one(self, burst: Burst, done: BurstDone) -> None:
        verdicts: dict[int, Verdict] = {}

        def decided(index: int, verdict: Verdict) -> None:
            verdicts[index] = verdict
            if len(verdicts) == len(burst.payloads):
                done([verdicts[index] for index in range(len(verdicts))])

        for index, message in enumerate(burst.apart()):
            self.handle(message, partial(decided, index))

    def refuse(self, message: Message, verdict: Verdict, done: Done) -> None:
        """Note and answer a message that its door may not let in, e.g. for want of a right."""
        self._ledger.refuse(message, verdict, done)
