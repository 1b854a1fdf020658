"""Password hashes: what matches, how long it takes, how many may wait."""

from __future__ import annotations

from collections.abc import AsyncIterator

import bcrypt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from aemos.config.schema import Auth
from aemos.errors import Unavailable
from aemos.services.passwords import Passwords


@pytest_twisted.async_yield_fixture
async def passwords() -> AsyncIterator[Passwords]:
    pool = Passwords(Auth(bcrypt_cost=5, bcrypt_queue=2), reactor)
    pool.start()
    yield pool
    pool.stop()


async def test_a_new_hash_matches_its_password_only(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")
    assert hashed.startswith("$2b$05$")
    assert await passwords.check("correct horse", hashed)
    assert not await passwords.check("correct horse ", hashed)


@pytest.mark.parametrize(
    ("hashed", "password"),
    [  # made by bcryptjs 2.4.3, the second of more than 72 bytes, and 3.0
        ("$2a$04$qASQwRrJ7ivitmp/UwEQ/Olt/S6qVi0M2z8yRwxrBKr3n3uR./XYi", "secret-1"),
        ("$2a$04$V0je6.3lOken/Ypm5gMaluGtmgPjWcsvbYG3MPM5DLY7k/5LPAGym", "ü" * 40),
        ("$2b$04$dMuU0BGdMOtLY4iZMX/er.ugTcryp7x5RwCRyCDyxdGkp2.KH/VTS", "secret-1"),
    ],
)
async def test_hashes_of_the_original_match(
    passwords: Passwords, hashed: str, password: str
) -> None:
    assert await passwords.check(password, hashed)
    assert not await passwords.check("secret-2", hashed)


@pytest.mark.parametrize("hashed", [None, "", "plain", "$2b$", "$1$abc$def", "$2b$99$" + "x" * 53])
async def test_what_is_no_hash_matches_nothing(passwords: Passwords, hashed: str | None) -> None:
    assert not await passwords.check("", hashed)
    assert not await passwords.check("plain", hashed)


async def test_odd_passwords_are_no_fault(passwords: Passwords) -> None:
    for password in ("", "\0", "a\0b", "\ud800", "ä" * 1000):
        assert await passwords.check(password, await passwords.hash(password))


@pytest.mark.parametrize("cost", [None, 4, 5])
async def test_every_check_costs_the_same(
    passwords: Passwords, cost: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an unknown user, an old and a new hash cost, counted in rounds of bcrypt."""
    hashed = None if cost is None else bcrypt.hashpw(b"x", bcrypt.gensalt(cost)).decode()
    hashpw, checkpw, rounds = bcrypt.hashpw, bcrypt.checkpw, list[int]()

    def hashpw_counted(password: bytes, salt: bytes) -> bytes:
        rounds.append(2 ** int(salt[4:6]))
        return hashpw(password, salt)

    def checkpw_counted(password: bytes, hash: bytes) -> bool:
        matches = checkpw(password, hash)  # raises before any work is done
        rounds.append(2 ** int(hash[4:6]))
        return matches

    monkeypatch.setattr(bcrypt, "hashpw", hashpw_counted)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw_counted)
    assert await passwords.check("password", hashed) is False
    assert sum(rounds) == 2**5


async def test_beyond_the_queue_sign_ins_are_refused_and_later_taken_again(
    passwords: Passwords,
) -> None:
    running = [ensureDeferred(passwords.check("x", None)) for _ in range(2)]
    with pytest.raises(Unavailable):
        await passwords.check("x", None)
    for check in running:
        assert await check is False
    assert await passwords.check("x", None) is False
