"""Sends letters from a table, so that none is lost with the mail server or ours away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.errors import AemosError, StorageUnavailable
from aemos.model import Instant
from aemos.services import leases
from aemos.storage import mail
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_PERIOD = 15.0  # seconds between looks for what is due again
_LEASE = 300_000  # milliseconds that one attempt may take before another server may try
_PAUSES = (60_000, 300_000, 900_000, 3_600_000)  # milliseconds; the last one again and again


class MailRefused(AemosError):
    """The mail server will never take this letter; trying again would not help."""

    code = "mail_refused"


class Mailer(Protocol):
    """Hands letters to a mail server; bound in `aemos.assembly`."""

    async def send(self, recipient: str, subject: str, body: str) -> None:
        """Send a plain text; done when the server has taken it over.

        @raise MailRefused: it never will. @raise Exception: not now.
        """


class Outbox:
    """One letter after the other; what fails for now is tried again until it is of no use.

    Without a mail server (setting `mail.host`) nothing is accepted, and the log says so at start.
    """

    _log = Logger()

    def __init__(self, database: Database, mailer: Mailer | None, clock: IReactorTime) -> None:
        self._database, self._mailer, self._clock = database, mailer, clock
        self._rounds: LoopingCall | None = None
        self._delivering: Deferred[None] | None = None
        self._again = False

    @property
    def enabled(self) -> bool:
        """Whether there is a mail server."""
        return self._mailer is not None

    def start(self) -> None:
        """Begin to send what is due, what was left over by an earlier run included."""
        if self._mailer is None:
            self._log.info("mail.host is not set: passwords cannot be reset by mail")
            return
        self._rounds = LoopingCall(self.soon)
        self._rounds.clock = self._clock
        self._rounds.start(_PERIOD).addErrback(
            lambda failure: self._log.failure("the rounds of the outbox ended", failure)
        )

    async def stop(self) -> None:
        """Begin nothing more, and wait for the letter that is on its way."""
        mailer, self._mailer = self._mailer, None
        if self._rounds is not None:
            self._rounds.stop()
        if self._delivering is not None and mailer is not None:
            await self._delivering

    def put(
        self, tx: Transaction, recipient: str, subject: str, body: str, expires_at: Instant
    ) -> None:
        """Store a letter with what it is about; call `soon` after the commit."""
        mail.put(tx, recipient, subject, body, expires_at)

    def soon(self) -> None:
        """Send what is due now, without waiting for the next round."""
        if self._delivering is not None:
            self._again = True
            return
        self._delivering = delivering = ensureDeferred(self._deliver())
        if delivering.called:
            self._delivering = None

    async def _deliver(self) -> None:
        try:
            while self._mailer is not None:
                self._again = False
                letter = await self._database.transact(mail.claim, _LEASE)
                if letter is not None:
                    await self._send(letter)
                elif not self._again:
                    break
        except StorageUnavailable as error:
            self._log.debug("sending mail is put off: {error}", error=error)
        except Exception:
            self._log.failure("sending mail failed")
        finally:
            self._delivering = None

    async def _send(self, letter: Row) -> None:
        mailer = self._mailer
        if mailer is None:
            return
        number = letter["id"]
        try:
            await mailer.send(letter["recipient"], letter["subject"], letter["body"])
        except MailRefused as error:
            self._log.error("mail {number} was refused for good: {e}", number=number, e=error)
            await self._note(mail.delete, number)
        except Exception as error:
            pause = _PAUSES[min(letter["attempts"], len(_PAUSES)) - 1]
            self._log.warn(
                "mail {number} could not be sent, attempt {attempt}; again in {s} s: {error}",
                number=number,
                attempt=letter["attempts"],
                s=pause // 1000,
                error=error,
            )
            await self._note(mail.postpone, number, pause)
        else:
            self._log.info("mail {number} was sent", number=number)
            await self._note(mail.delete, number)

    async def _note(self, outcome: Callable[..., None], number: int, *what: object) -> None:
        """@raise StorageUnavailable: the database cannot be had; the letter comes again."""
        await leases.note(
            self._database,
            self._clock,
            _LEASE,
            lambda: self._mailer is None,
            outcome,
            number,
            *what,
        )
