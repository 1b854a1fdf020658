"""Reads `database.url`: which database it names, or what is wrong with it."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

FORMS = "mysql://user:password@host:3306/name or sqlite:///path"
"""How a URL may look."""


@attrs.frozen
class SQLiteUrl:
    """A file: `sqlite:///path` is relative to the current folder, `sqlite:////path` absolute."""

    path: str


@attrs.frozen
class MySQLUrl:
    """A database of MySQL or MariaDB; `unix_socket` and `ssl_ca` are paths."""

    user: str
    password: str = attrs.field(repr=False)
    database: str
    host: str
    port: int
    unix_socket: str | None
    ssl_ca: str | None


def parse(url: str) -> SQLiteUrl | MySQLUrl:
    """Take a URL apart; its parts are percent-decoded.

    @raise ValueError: the end of a sentence about it, which never shows the password.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        if not url.startswith("sqlite:///") or len(url) == len("sqlite:///"):
            raise ValueError("needs a path, as in sqlite:///path")
        return SQLiteUrl(unquote(url.removeprefix("sqlite:///")))
    if scheme in ("mysql", "mariadb"):
        return _mysql(url)
    raise ValueError(f"is not {FORMS}")


def _mysql(url: str) -> MySQLUrl:
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        # The error of urlsplit may quote the password: an unescaped / or # cuts it in two.
        raise ValueError(
            f"is not of the form {FORMS}; characters such as / # @ in a password are written as "
            "%2F %23 %40"
        ) from None
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name:
        raise ValueError(f"does not name the database; the form is {FORMS}")
    if not parts.username:
        raise ValueError(f"does not name the user; the form is {FORMS}")
    unknown = options.keys() - {"unix_socket", "ssl_ca"}
    if unknown:
        raise ValueError(f"has an unknown option {', '.join(sorted(unknown))}")
    return MySQLUrl(
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=name,
        host=unquote(parts.hostname or "127.0.0.1"),
        port=port or 3306,
        unix_socket=options.get("unix_socket"),
        ssl_ca=options.get("ssl_ca"),
    )
