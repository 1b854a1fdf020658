"""A URL names a database, and what is wrong with it is said without its password."""

from __future__ import annotations

import pytest

from aemos.config import schema
from aemos.errors import ConfigurationError, StartError
from aemos.storage.dialects.mysql import MySQL, MySQLConnection
from aemos.storage.dialects.sqlite import SQLite
from aemos.storage.location import dialect_of


def located(url: str) -> MySQL | SQLite:
    settings = schema.Settings(data_dir="data", database=schema.Database(url=url))
    dialect = dialect_of(settings)
    assert isinstance(dialect, (MySQL, SQLite))
    return dialect


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "data/aemos.sqlite"),
        ("sqlite:///relative/file.db", "relative/file.db"),
        ("sqlite:////srv/with%20blank.db", "/srv/with blank.db"),
    ],
)
def test_sqlite_paths(url: str, path: str) -> None:
    dialect = located(url)
    assert isinstance(dialect, SQLite)
    assert dialect.path == path


def test_every_part_of_a_mysql_url_is_percent_decoded() -> None:
    dialect = located("mysql://us%40er:p%40ss%2F%23@db.example:3307/na%20me?ssl_ca=%2Fca.pem")
    assert isinstance(dialect, MySQL)
    assert (dialect.user, dialect.password) == ("us@er", "p@ss/#")
    assert (dialect.host, dialect.port, dialect.database) == ("db.example", 3307, "na me")
    assert dialect.ssl_ca == "/ca.pem"


def test_the_port_of_mysql_has_its_usual_default() -> None:
    dialect = located("mariadb://u@h/n")
    assert isinstance(dialect, MySQL)
    assert (dialect.port, dialect.password) == (3306, "")


def test_a_url_that_names_no_database_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match=r"^database\.url: the value does not") as raised:
        located("mysql://u:s3cret@h")
    assert "s3" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_dialect_does_not_show_its_password() -> None:
    assert "s3cret" not in repr(located("mysql://u:s3cret@h/n"))


class _Claims(MySQLConnection):
    """A connection to a server that says it is this version."""

    def __init__(self, version: str) -> None:
        self.server_version = version

    def __del__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ("8.0.36", True),
        ("8.4.0-ubuntu", True),
        ("5.7.44-log", False),
        ("10.6.16-MariaDB", True),
        ("5.5.5-10.11.6-MariaDB-0+deb12u1", True),
        ("5.5.5-10.3.39-MariaDB", False),
        ("11.4.2-MariaDB", True),
        ("unknown", False),
    ],
)
def test_servers_that_are_too_old_are_refused_by_version(version: str, accepted: bool) -> None:
    connection = _Claims(version)
    if accepted:
        connection.require_version()
    else:
        with pytest.raises(StartError, match="too old") as raised:
            connection.require_version()
        assert version in str(raised.value)
