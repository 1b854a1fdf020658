"""Remembers every message that was not stored, and why (promise P2)."""

from __future__ import annotations

from collections import Counter
from functools import partial

from twisted.logger import Logger

from aemos.config.schema import Ingest
from aemos.errors import RowRefused
from aemos.model import Code, Done, Message, PrincipalKind, Verdict
from aemos.redaction import without_tokens
from aemos.services.events import Events, MessageRefused
from aemos.storage.ledger import LEDGER, LedgerEntry
from aemos.storage.writer import Unit, Writer

_SAMPLE = 1024  # bytes of the payload that are kept


class Ledger:
    """Counts refusals by code, writes them down per device (bounded) and tells about them."""

    _log = Logger()

    def __init__(self, writer: Writer, events: Events, settings: Ingest) -> None:
        self._writer, self._events, self._settings = writer, events, settings
        self.refused: Counter[Code] = Counter()
        self.not_written = 0
        self._second = 0
        self._this_second: Counter[str] = Counter()

    def refuse(self, message: Message, verdict: Verdict, done: Done) -> None:
        """Note the refusal, then answer the sender: it does not wait for the ledger's row."""
        self.refused[verdict.code] += 1
        owner = _owner(message)
        if self._below_rate(owner, message.received_at // 1000):
            self._log.info(
                "not stored: {code} on {topic} by {principal}: {reason}",
                code=verdict.code.value,
                topic=message.topic or message.subject,
                principal=message.principal.key,
                reason=verdict.reason,
                door=message.door,
            )
            if owner:
                self._write(message, verdict, owner)
        else:
            self.not_written += 1
        self._events.publish(MessageRefused(message, verdict))
        done(verdict)

    def note(self, message: Message, verdict: Verdict) -> None:
        """Note what became of a message whose sender is answered elsewhere."""
        self.refuse(message, verdict, _ignore)

    def _below_rate(self, owner: str, second: int) -> bool:
        if second != self._second:
            self._second = second
            self._this_second.clear()
        self._this_second[owner] += 1
        return self._this_second[owner] <= self._settings.ledger_rate

    def _write(self, message: Message, verdict: Verdict, owner: str) -> None:
        if self._writer.full:
            self.not_written += 1
            return
        sample = without_tokens(message.payload)[:_SAMPLE].decode("utf-8", "replace")
        entry = LedgerEntry(
            device_uuid=owner,
            at=message.received_at,
            code=verdict.code.value,
            reason=verdict.reason,
            topic=message.topic,
            payload=sample,
        )
        self._writer.submit(Unit(((LEDGER, [entry]),), partial(self._written, owner)))

    def _written(self, owner: str, error: RowRefused | None) -> None:
        if error is not None:
            self._log.warn("no ledger entry for {owner}: {error}", owner=owner, error=error)


def _owner(message: Message) -> str:
    """Whose ledger it belongs in: nobody writes into another's by publishing rubbish about it."""
    kind = message.principal.kind
    if kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE):
        return message.principal.name
    return "" if kind is PrincipalKind.ANONYMOUS else message.subject


def _ignore(verdict: Verdict) -> None:
    pass
