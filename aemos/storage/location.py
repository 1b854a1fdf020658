"""The dialect for the database that the settings name."""

from __future__ import annotations

import os

from aemos.config.database_url import SQLiteUrl, parse
from aemos.config.schema import Settings
from aemos.errors import ConfigurationError
from aemos.storage.dialects.base import Dialect
from aemos.storage.dialects.mysql import MySQL
from aemos.storage.dialects.sqlite import SQLite


def dialect_of(settings: Settings) -> Dialect:
    """@return: what speaks to `database.url`; without one, SQLite in the data folder.

    @raise ConfigurationError: names what is wrong, and never shows the password.
    """
    if not settings.database.url:
        return SQLite(os.path.join(settings.data_dir, "aemos.sqlite"))
    try:
        url = parse(settings.database.url)
    except ValueError as error:
        raise ConfigurationError(f"database.url: the value {error}") from None
    if isinstance(url, SQLiteUrl):
        return SQLite(url.path)
    return MySQL(
        user=url.user,
        password=url.password,
        database=url.database,
        host=url.host,
        port=url.port,
        unix_socket=url.unix_socket,
        ssl_ca=url.ssl_ca,
        connect_timeout=settings.database.connect_timeout,
        query_timeout=settings.database.query_timeout,
    )
