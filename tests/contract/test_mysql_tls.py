"""Connections to a MySQL server that has a certificate are encrypted, and verified if asked to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor

from aemos.errors import StartError
from aemos.storage.database import open_database
from tests.certificates import Authority
from tests.conftest import settings_for
from tests.mariadb import MariaDB


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def url(authority: Authority) -> Iterator[str]:
    """A database on a server with a certificate."""
    pair = authority.issue("server")
    server = MariaDB(f"--ssl-cert={pair.cert_path}", f"--ssl-key={pair.key_path}")
    try:
        server.install()
        server.start()
        yield server.url(server.new_database())
    finally:
        server.stop()


async def cipher(url: str) -> str:
    """@return: what encrypts a connection to the database; "" = nothing does."""
    database = open_database(reactor, settings_for(url))
    await database.start()
    try:
        status = await database.read(lambda tx: tx.one("SHOW STATUS LIKE 'Ssl_cipher'"))
        assert status is not None
        value: str = status["Value"]
        return value
    finally:
        await database.stop()


async def test_a_connection_is_encrypted_where_the_server_can(url: str) -> None:
    assert await cipher(url)


async def test_a_server_of_the_named_authority_is_trusted(url: str, authority: Authority) -> None:
    assert await cipher(f"{url}?ssl_ca={authority.path}")


async def test_a_server_of_another_authority_is_not(url: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="certificate verify failed"):
        await cipher(f"{url}?ssl_ca={Authority(tmp_path, 'stranger').path}")
