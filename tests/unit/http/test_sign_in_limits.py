"""Guessing passwords gets slower and slower, and tells nothing (spec/http-api.md section 3)."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from aemos.config.schema import Auth
from aemos.services import sign_in_limits
from aemos.services.sign_in_limits import SignInLimits, TooManySignIns
from tests.accounts import Accounts
from tests.farm import Reply

ALLOWED = Auth().account_failures


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, **changes: float) -> SignInLimits:
    return SignInLimits(Auth(**changes), clock)  # type: ignore[arg-type]


def wait(limits: SignInLimits, email: str, address: str = "") -> int:
    """@return: seconds that one more attempt would have to wait; else it is made, and fails."""
    try:
        limits.begin(email, address)
    except TooManySignIns as refused:
        return refused.retry_after
    return 0


def test_pauses_double_until_the_lock(clock: Clock) -> None:
    guarded = limits(clock, account_failures=3, lock=10)
    pauses = []
    for _ in range(3):
        assert wait(guarded, "a@x.example") == 0
    for _ in range(6):
        pauses.append(wait(guarded, "A@x.example"))
        clock.advance(pauses[-1])
        assert wait(guarded, "a@x.example") == 0
    assert pauses == [1, 2, 4, 8, 10, 10]
    assert wait(guarded, "other@x.example") == 0


def test_an_attempt_that_comes_too_early_does_not_prolong_the_pause(clock: Clock) -> None:
    guarded = limits(clock, account_failures=1)
    assert [wait(guarded, "a") for _ in range(5)] == [0, 1, 1, 1, 1]


def test_failures_are_forgotten_by_a_success_and_by_time(clock: Clock) -> None:
    guarded = limits(clock, account_failures=2, lock=10)
    assert [wait(guarded, "a") for _ in range(2)] == [0, 0]
    guarded.succeeded("A", "")
    assert [wait(guarded, "a") for _ in range(3)] == [0, 0, 1]
    clock.advance(10.5)
    assert [wait(guarded, "a") for _ in range(3)] == [0, 0, 1]


def test_an_address_that_tries_many_accounts_is_slowed_down(clock: Clock) -> None:
    guarded = limits(clock, address_failures=4)
    assert [wait(guarded, f"user-{n}", "192.0.2.1") for n in range(5)] == [0, 0, 0, 0, 1]
    assert wait(guarded, "user-9", "192.0.2.2") == 0
    # Signing in to an account of one's own does not wipe the slate of the address clean.
    clock.advance(1)
    guarded.begin("mine", "192.0.2.1")
    guarded.succeeded("mine", "192.0.2.1")
    assert [wait(guarded, f"user-{n}", "192.0.2.1") for n in (10, 11)] == [0, 2]


def test_an_attempt_that_nobody_could_decide_does_not_count(clock: Clock) -> None:
    guarded = limits(clock, account_failures=1, address_failures=1)
    for _ in range(5):
        guarded.begin("a", "192.0.2.1")
        guarded.undecided("a", "192.0.2.1")


def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_limits, "_REMEMBERED", 2)
    guarded = limits(clock, account_failures=1)
    assert [wait(guarded, name) for name in "abcca"] == [0, 0, 0, 1, 0]


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that outlast a request on a slow machine."""
    monkeypatch.setattr(sign_in_limits, "_FIRST_PAUSE", 60.0)


async def guess(accounts: Accounts, name: str, times: int) -> list[Reply]:
    return [await accounts.login(name, "wrong") for _ in range(times)]


@pytest.mark.usefixtures("long_pauses")
async def test_a_locked_account_answers_429_and_takes_the_password_later(
    accounts: Accounts,
) -> None:
    replies = await guess(accounts, "north-admin", ALLOWED + 1)
    assert [reply.status for reply in replies] == [401] * ALLOWED + [429]
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    assert (await accounts.login("north-admin")).status == 429  # not even the right one
    accounts.clock.ahead += 60
    assert (await accounts.login("north-admin")).status == 200
    assert (await accounts.login("north-admin", "wrong")).status == 401


@pytest.mark.usefixtures("long_pauses")
async def test_an_account_that_does_not_exist_is_locked_as_well(accounts: Accounts) -> None:
    there = await guess(accounts, "north-admin", ALLOWED + 1)
    not_there = await guess(accounts, "no-such-user", ALLOWED + 1)
    assert [(reply.status, reply.body) for reply in there] == [
        (reply.status, reply.body) for reply in not_there
    ]


async def failures(accounts: Accounts, expected: int) -> None:
    """Wait until so many are counted: the answer does not wait for it."""
    count = None
    for _ in range(1000):
        rows = await accounts.rows(
            "SELECT accessFailedCount FROM User WHERE email = 'north-admin@x.example'"
        )
        count = rows[0]["accessFailedCount"]
        if count == expected:
            return
        await deferLater(reactor, 0.01, lambda: None)
    pytest.fail(f"{count} failures are counted, not {expected}")


async def test_failed_sign_ins_are_counted_in_the_row_of_the_user(accounts: Accounts) -> None:
    await guess(accounts, "north-admin", 2)
    await failures(accounts, 2)
    assert (await accounts.login("north-admin")).status == 200
    await failures(accounts, 0)
