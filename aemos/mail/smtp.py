"""Hands letters to an SMTP server (RFC 5321), as `twisted.mail.smtp` speaks it."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.ssl import optionsForClientTLS
from twisted.mail.smtp import ESMTPSender, ESMTPSenderFactory, SMTPClientError, SMTPDeliveryError
from twisted.python.failure import Failure

from aemos.config.schema import Mail
from aemos.errors import AemosError, Unavailable
from aemos.model import Instant
from aemos.services.outbox import MailRefused

_TIMEOUT = 30.0  # seconds without an answer of the server
_NEVER = range(500, 600)  # reply codes: the server will not take it, now or later


class _Factory(ESMTPSenderFactory):
    """Makes the connection of one letter; `gone` fires when that is closed, or was never made."""

    noisy = False

    def __init__(self, *, encrypts: bool, **parameters: Any) -> None:
        """@param encrypts: False = never switch to TLS, also where the server offers it."""
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self._encrypts = encrypts
        self.gone: Deferred[None] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> ESMTPSender:
        sender: ESMTPSender = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        if not self._encrypts:
            sender.context = None
        return sender

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        super().clientConnectionFailed(connector, reason)  # type: ignore[no-untyped-call]
        self.gone.callback(None)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        super().clientConnectionLost(connector, reason)  # type: ignore[no-untyped-call]
        self.gone.callback(None)


class SmtpMailer:
    """Opens a connection for each letter."""

    def __init__(self, settings: Mail, reactor: Any) -> None:
        """@param reactor: IReactorTCP, IReactorSSL and IReactorTime."""
        self._settings, self._reactor = settings, reactor

    async def send(self, recipient: str, subject: str, body: str) -> None:
        """Send a plain text; done when the server has taken it over.

        @raise MailRefused: the server will never take it, or the address cannot be written.
        @raise Unavailable: not now, or not with these settings.
        """
        settings = self._settings
        if not recipient.isascii() or any(mark in recipient for mark in "\r\n<>"):
            raise MailRefused("the address of the recipient cannot be written in SMTP")
        done: Deferred[Any] = Deferred()
        factory = _Factory(
            encrypts=settings.tls == "starttls",
            username=settings.user.encode(),
            password=settings.password.encode(),
            fromEmail=parseaddr(settings.sender)[1],
            toEmail=recipient,
            file=BytesIO(self._letter(recipient, subject, body)),
            deferred=done,
            retries=0,  # the outbox does that
            timeout=_TIMEOUT,
            contextFactory=optionsForClientTLS(settings.host),
            heloFallback=not settings.user and settings.tls != "starttls",
            requireAuthentication=bool(settings.user),
            requireTransportSecurity=settings.tls == "starttls",
            hostname=settings.host,
        )
        if settings.tls == "tls":
            options = optionsForClientTLS(settings.host)
            self._reactor.connectSSL(
                settings.host, settings.port, factory, options, timeout=_TIMEOUT
            )
        else:
            self._reactor.connectTCP(settings.host, settings.port, factory, timeout=_TIMEOUT)
        try:
            await done
        except SMTPClientError as error:
            raise _told(error) from None
        finally:
            await factory.gone

    def _letter(self, recipient: str, subject: str, body: str) -> bytes:
        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = recipient
        # It may be the name of something: a header is one line, whatever somebody has put into it.
        message["Subject"] = " ".join(subject.split())
        message["Date"] = format_datetime(Instant.of(self._reactor.seconds()).datetime())
        domain = parseaddr(self._settings.sender)[1].rpartition("@")[2]
        message["Message-ID"] = make_msgid(domain=domain)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body)
        return message.as_bytes()


def _told(error: SMTPClientError) -> AemosError:
    """Say what went wrong without the transcript that Twisted adds: signing in is part of it."""
    says = str(error).partition("\n")[0]
    # Only a failed delivery is about the letter; what goes wrong before is a matter of settings.
    if isinstance(error, SMTPDeliveryError) and error.code in _NEVER:
        return MailRefused(says)
    return Unavailable(says)
