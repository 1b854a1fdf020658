"""Forgotten passwords and confirmed addresses (spec/http-api.md section 6, rows 5 and 6)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.message import Message

import attrs
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from aemos.mail.smtp import SmtpMailer
from aemos.storage.database import Database
from aemos.storage.transaction import Row
from tests.accounts import Accounts, open_accounts
from tests.contract.routes.conftest import clear
from tests.mailbox import Mailbox, text_of

NEW = "a new password"
SENT = "If there is such an account, a letter is on its way"


@attrs.define
class Post:
    """The server under test and the mail server that it uses."""

    accounts: Accounts
    mailbox: Mailbox

    async def forgot(self, name: str) -> str:
        """@return: the token of the letter that comes."""
        reply = await self.ask(name)
        assert (reply.status, reply.body) == (200, {"status": "success", "message": SENT})
        return token_in(await self.mailbox.letters.get())

    async def ask(self, name: str):
        body = {"email": f"{name}@x.example"}
        return await self.accounts.call("POST", "/auth/forgot-password", body=body)

    async def reset(self, token: str, password: str = NEW):
        body = {"token": token, "password": password}
        return await self.accounts.call("POST", "/auth/reset-password", body=body)


def token_in(letter: Message) -> str:
    found = re.search(r"https://farm\.example/[a-z-]+\?token=([\w-]{43})\n", text_of(letter))
    assert found, text_of(letter)
    return found[1]


def logged(word: str) -> Deferred[str]:
    """@return: fires with the next log line that has this word in it."""
    seen: Deferred[str] = Deferred()

    def observe(event: dict) -> None:
        if word in str(event.get("log_format")) and not seen.called:
            globalLogPublisher.removeObserver(observe)
            seen.callback(str(event["log_format"]))

    globalLogPublisher.addObserver(observe)
    return seen


async def postponed(post: Post) -> Row:
    """@return: the letter, once it is put off to a minute after its first attempt."""
    while True:
        for row in await post.accounts.rows("SELECT * FROM mail_outbox"):
            if 60_000 <= row["next_attempt_at"] - row["created_at"] < 120_000:
                return row


@pytest_twisted.async_yield_fixture
async def post(shared_database: Database) -> AsyncIterator[Post]:
    await shared_database.transact(clear)
    mailbox = Mailbox()
    mailer = SmtpMailer(mailbox.settings(), reactor)
    accounts, close = await open_accounts(shared_database, mailer=mailer)
    yield Post(accounts, mailbox)
    await close()
    await mailbox.close()


async def test_a_letter_brings_a_new_password_and_ends_every_session(post: Post) -> None:
    accounts = post.accounts
    session = (await accounts.login("north-admin")).data
    token = await post.forgot("north-admin")
    stored = await accounts.rows("SELECT * FROM account_token")
    assert [token in str(row) for row in stored] == [False]
    reply = await post.reset(token)
    assert (reply.status, reply.body["message"]) == (200, "Password reset successfully")
    assert (await accounts.login("north-admin")).status == 401
    assert (await accounts.login("north-admin", NEW)).status == 200
    assert (await accounts.call("GET", "/auth/me", session["token"])).status == 401
    refresh = {"refreshToken": session["refreshToken"]}
    assert (await accounts.call("POST", "/auth/refresh-token", body=refresh)).status == 401
    assert accounts.changed() == [await accounts.user_id("north-admin")]
    again = await post.reset(token, "another password")
    assert (again.status, again.body["message"]) == (400, "Invalid or expired token")


async def test_a_letter_leaves_nothing_behind_once_it_was_sent(post: Post) -> None:
    sent = logged("was sent")
    await post.forgot("north-admin")
    await sent
    await post.accounts.outbox.stop()
    assert await post.accounts.rows("SELECT id FROM mail_outbox") == []


async def test_the_newest_of_several_tokens_voids_the_others_when_it_is_used(post: Post) -> None:
    first, second = await post.forgot("root"), await post.forgot("root")
    assert (await post.reset(second)).status == 200
    assert (await post.reset(first)).status == 400


async def test_a_token_ends_after_its_time_and_serves_one_purpose(post: Post) -> None:
    token = await post.forgot("root")
    body = {"token": token}
    assert (await post.accounts.call("POST", "/auth/verify-email", body=body)).status == 400
    await post.accounts.run("UPDATE account_token SET expires_at = created_at")
    assert (await post.reset(token)).status == 400
    assert (await post.reset("guess")).status == 400
    assert (await post.reset(token, "short")).status == 400
    assert (await post.accounts.login("root")).status == 200


async def test_who_has_no_account_gets_the_same_answer_and_no_letter(post: Post) -> None:
    await post.accounts.run("UPDATE User SET status = %s WHERE userName = 'suspended'", False)
    for name in ("stranger", "suspended"):
        reply = await post.ask(name)
        assert (reply.status, reply.body["message"]) == (200, SENT)
    await post.forgot("root")
    assert post.mailbox.attempts == 1


async def test_nobody_is_flooded_with_letters(post: Post) -> None:
    for _ in range(3):
        await post.forgot("root")
    await post.ask("root")
    await post.forgot("nobody")
    assert post.mailbox.attempts == 4


async def test_a_letter_waits_for_a_server_that_takes_it(post: Post) -> None:
    post.mailbox.refusal = 451
    await post.ask("root")
    assert (await postponed(post))["attempts"] == 1
    post.mailbox.refusal = 0
    again = logged("was sent")
    await post.accounts.run("UPDATE mail_outbox SET next_attempt_at = created_at")
    post.accounts.outbox.soon()
    assert token_in(await post.mailbox.letters.get())
    await again


async def test_a_letter_that_is_refused_for_good_is_forgotten(post: Post, hygiene) -> None:
    post.mailbox.refusal = 550
    refused = logged("was refused for good")
    await post.ask("root")
    await refused
    await post.accounts.outbox.stop()
    assert await post.accounts.rows("SELECT id FROM mail_outbox") == []


async def test_signing_up_brings_a_letter_that_confirms_the_address(post: Post) -> None:
    body = {
        "userName": "Eve",
        "email": "eve@x.example",
        "password": "long enough",
        "termsAndConditions": True,
        "phoneNumber": "",
    }
    signed_up = await post.accounts.call("POST", "/auth/signup", body=body)
    token = token_in(await post.mailbox.letters.get())
    for verified in (False, True):
        me = await post.accounts.call("GET", "/auth/me", signed_up.data["token"])
        assert me.data["emailVerified"] is me.data["user"]["emailVerified"] is verified
        reply = await post.accounts.call("POST", "/auth/verify-email", body={"token": token})
        assert reply.status == (400 if verified else 200)
    assert reply.body["message"] == "Invalid or expired token"


async def test_without_a_mail_server_the_log_says_so_and_the_answer_is_the_same(
    accounts: Accounts,
) -> None:
    said = logged("mail.host is not set")
    body = {"email": "root@x.example"}
    reply = await accounts.call("POST", "/auth/forgot-password", body=body)
    assert (reply.status, reply.body["message"]) == (200, SENT)
    await said
    assert await accounts.rows("SELECT * FROM account_token") == []
