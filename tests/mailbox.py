"""A mail server on loopback: takes letters, or refuses them as a test wants."""

from __future__ import annotations

import email
from email.message import Message
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue, maybeDeferred, succeed
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials
from zope.interface import implementer

from aemos.config.schema import Mail


@implementer(smtp.IMessage)
class _Incoming:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox, self._lines = mailbox, list[bytes]()

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Any:
        self._mailbox.letters.put(email.message_from_bytes(b"\n".join([*self._lines, b""])))
        return succeed(None)

    def connectionLost(self) -> None:
        self._lines.clear()


@implementer(smtp.IMessageDelivery, IRealm)
class _Delivery:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by the tests"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        self._mailbox.attempts += 1
        if self._mailbox.refusal:
            raise smtp.SMTPServerError(self._mailbox.refusal, "not today")
        return lambda: _Incoming(self._mailbox)

    def requestAvatar(self, avatar: Any, mind: Any, *interfaces: Any) -> Any:
        return smtp.IMessageDelivery, self, lambda: None


class _Server(smtp.ESMTP):
    factory: Mailbox

    def connectionMade(self) -> None:
        # As Twisted's own server factory sets these.
        self.host, self.portal = b"mailbox.example", self.factory.portal
        self.challengers = {b"LOGIN": LOGINCredentials} if self.portal else {}
        self.delivery = None if self.portal else _Delivery(self.factory)
        self.timeout = None
        super().connectionMade()


class Mailbox(smtp.protocol.ServerFactory):
    """`letters` gives each letter as it comes; while `refusal` is set, that reply code."""

    protocol = _Server
    noisy = False

    def __init__(self, user: str = "", password: str = "") -> None:
        """@param user: who must sign in; "" = anybody may send."""
        self.letters: DeferredQueue[Message] = DeferredQueue()
        self.refusal = 0
        self.attempts = 0
        self.portal: Portal | None = None
        if user:
            checker = InMemoryUsernamePasswordDatabaseDontUse(**{user: password.encode()})
            self.portal = Portal(_Delivery(self), [checker])
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")

    def settings(self, **changes: Any) -> Mail:
        """@return: how to reach it."""
        values = {"host": "127.0.0.1", "port": self._port.getHost().port, "tls": "none"}
        return Mail(**{**values, **changes})

    async def close(self) -> None:
        """Take no more connections."""
        await maybeDeferred(self._port.stopListening)


def text_of(letter: Message) -> str:
    """@return: the text of a letter."""
    payload = letter.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()
