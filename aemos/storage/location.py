"""Which database a URL names."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from aemos.config.schema import Settings
from aemos.errors import ConfigurationError
from aemos.storage.dialects.base import Dialect
from aemos.storage.dialects.mysql import MySQL
from aemos.storage.dialects.sqlite import SQLite

_FORMS = "mysql://user:password@host:3306/name or sqlite:///path"


def dialect_of(settings: Settings) -> Dialect:
    """Read `database.url`; the parts of it are percent-decoded.

    As elsewhere in Python, `sqlite:///path` is relative to the current folder and `sqlite:////path`
    is absolute. `mysql://` takes the queries `unix_socket` and `ssl_ca` (paths).

    @raise ConfigurationError: names what is wrong, and never shows the password.
    """
    url = settings.database.url
    if not url:
        return SQLite(os.path.join(settings.data_dir, "aemos.sqlite"))
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        if not url.startswith("sqlite:///") or len(url) == len("sqlite:///"):
            raise ConfigurationError("database.url: sqlite needs a path, as in sqlite:///path")
        return SQLite(unquote(url.removeprefix("sqlite:///")))
    if scheme in ("mysql", "mariadb"):
        return _mysql(url, settings)
    raise ConfigurationError(f"database.url: {scheme!r} is not a known database; use {_FORMS}")


def _mysql(url: str, settings: Settings) -> MySQL:
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        # The error of urlsplit may quote the password: an unescaped / or # cuts it in two.
        raise ConfigurationError(
            f"database.url: not a URL of the form {_FORMS}; characters such as / # @ in a password "
            "are written as %2F %23 %40"
        ) from None
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name:
        raise ConfigurationError(f"database.url: the name of the database is missing; use {_FORMS}")
    if not parts.username:
        raise ConfigurationError(f"database.url: the user is missing; use {_FORMS}")
    unknown = options.keys() - {"unix_socket", "ssl_ca"}
    if unknown:
        raise ConfigurationError(f"database.url: unknown option {', '.join(sorted(unknown))}")
    return MySQL(
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=name,
        host=unquote(parts.hostname or "127.0.0.1"),
        port=port or 3306,
        unix_socket=options.get("unix_socket"),
        ssl_ca=options.get("ssl_ca"),
        connect_timeout=settings.database.connect_timeout,
        query_timeout=settings.database.query_timeout,
    )
