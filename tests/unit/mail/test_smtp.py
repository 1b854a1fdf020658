"""Letters on their way to a mail server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor

from aemos.errors import Unavailable
from aemos.mail.smtp import SmtpMailer
from aemos.services.outbox import MailRefused
from tests.mailbox import Mailbox, text_of


@pytest_twisted.async_yield_fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    yield box
    await box.close()


async def test_a_letter_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    settings = mailbox.settings(sender="Ada's farm <farm@example.org>")
    body = "Grüße\n.\nFrom here on\n"
    await SmtpMailer(settings, reactor).send("bob@example.org", "Tür offen", body)
    letter = await mailbox.letters.get()
    assert text_of(letter) == body
    assert (letter["From"], letter["To"]) == ("Ada's farm <farm@example.org>", "bob@example.org")
    assert letter["Message-ID"].endswith("@example.org>")
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"]
    assert "?=" in letter["Subject"]


async def test_a_subject_stays_one_header_whatever_is_in_it(mailbox: Mailbox) -> None:
    subject = "Tank\r\nBcc: eve@example.org\u2028\x0bempty"
    await SmtpMailer(mailbox.settings(), reactor).send("bob@example.org", subject, "b")
    letter = await mailbox.letters.get()
    assert letter["Subject"] == "Tank Bcc: eve@example.org empty"
    assert letter["Bcc"] is None


async def test_it_signs_in_where_it_has_to() -> None:
    mailbox = Mailbox("ada", "secret")
    try:
        settings = mailbox.settings(user="ada", password="secret")
        await SmtpMailer(settings, reactor).send("bob@example.org", "s", "b")
        assert (await mailbox.letters.get())["Subject"] == "s"
        # A wrong password is a matter of settings: the letter is kept, not dropped.
        wrong = mailbox.settings(user="ada", password="guess")
        with pytest.raises(Unavailable) as caught:
            await SmtpMailer(wrong, reactor).send("bob@example.org", "s", "b")
        assert b64encode(b"guess").decode() not in str(caught.value)
        assert caught.value.__suppress_context__
    finally:
        await mailbox.close()


@pytest.mark.parametrize(("code", "error"), [(550, MailRefused), (451, Unavailable)])
async def test_a_refusal_for_good_differs_from_one_for_now(
    mailbox: Mailbox, code: int, error: type[Exception]
) -> None:
    mailbox.refusal = code
    with pytest.raises(error):
        await SmtpMailer(mailbox.settings(), reactor).send("bob@example.org", "s", "b")


async def test_nothing_goes_in_clear_where_encryption_is_asked_for(mailbox: Mailbox) -> None:
    settings = mailbox.settings(tls="starttls")
    with pytest.raises(Unavailable, match="secure"):
        await SmtpMailer(settings, reactor).send("bob@example.org", "s", "b")
    assert mailbox.attempts == 0


async def test_a_server_that_is_away_is_an_error_for_now(mailbox: Mailbox) -> None:
    settings = mailbox.settings()
    await mailbox.close()
    with pytest.raises(Unavailable, match="refused"):
        await SmtpMailer(settings, reactor).send("bob@example.org", "s", "b")


@pytest.mark.parametrize("recipient", ["bøb@example.org", "bob@example.org>\r\nRCPT TO:<eve@x>"])
async def test_an_address_that_smtp_cannot_write_is_refused(
    mailbox: Mailbox, recipient: str
) -> None:
    with pytest.raises(MailRefused):
        await SmtpMailer(mailbox.settings(), reactor).send(recipient, "s", "b")
