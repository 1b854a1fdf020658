"""Lists of rows, filtered, searched, sorted, a page at a time: the way in which all are made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs

from aemos.storage.tables import TABLES, Kind
from aemos.storage.transaction import Row, Transaction, marks

MAX_ROWS = 10_000
"""A list never has more rows than this; who wants them all pages."""

_LITERAL = str.maketrans({mark: f"!{mark}" for mark in "!%_"})


@attrs.frozen
class Listing:
    """What of a list is wanted, and in which order.

    `limit` and `offset` None = no page was asked for: all, up to `MAX_ROWS`. `sort` is a column,
    `search` text that one of some columns contains, in any case; "" = no matter.
    """

    limit: int | None = None
    offset: int | None = None
    sort: str = "id"
    descending: bool = False
    search: str = ""
    status: str = ""

    @property
    def paged(self) -> bool:
        return self.limit is not None or self.offset is not None


ALL = Listing()


@attrs.frozen
class Listed:
    """The rows, and how many there are in all; `total` None = these are all, and nobody asked."""

    rows: list[Row]
    total: int | None = None
    cut: bool = False
    """Whether rows are missing that were asked for, because there are more than `MAX_ROWS`."""

    def map(self, function: Callable[[list[Row]], list[Row]]) -> Listed:
        """@return: the same with other rows, one for each."""
        return attrs.evolve(self, rows=function(self.rows))


@attrs.define
class Condition:
    """A WHERE that grows; without any part it is true of every row."""

    parts: list[str] = attrs.field(factory=list)
    params: list[Any] = attrs.field(factory=list)

    def add(self, sql: str, *params: Any) -> None:
        self.parts.append(f"({sql})")
        self.params.extend(params)

    def one_of(self, column: str, values: Collection[object]) -> None:
        """The column has one of these values; with none given, no row has."""
        if values:
            self.add(f"{column} IN ({marks(values)})", *values)
        else:
            self.add("1 = 0")

    def contains(self, columns: Sequence[str], text: str) -> None:
        """One of the columns contains the text, whatever the case."""
        pattern = f"%{text.lower().translate(_LITERAL)}%"
        likes = [f"LOWER({column}) LIKE %s ESCAPE '!'" for column in columns]
        self.add(" OR ".join(likes), *[pattern] * len(columns))

    @property
    def sql(self) -> str:
        return " AND ".join(self.parts) or "1 = 1"


def listed(
    tx: Transaction, table: str, condition: Condition, listing: Listing, searched: Sequence[str]
) -> Listed:
    """Read the rows of a table that meet a condition and what the listing adds to it.

    @param searched: the columns that `search` looks into.
    @raise ValueError: `sort` is no column of the table.
    """
    if listing.sort not in TABLES[table].columns:
        raise ValueError(f"{table} has no column {listing.sort}")
    if listing.status:
        condition.add("status = %s", listing.status)
    if listing.search:
        condition.contains(searched, listing.search)
    direction = "DESC" if listing.descending else "ASC"
    # By letters, whatever the collation of the column: ENUMs would come in order of declaration.
    text = TABLES[table].columns[listing.sort] is Kind.TEXT
    key = f"LOWER({listing.sort})" if text else listing.sort
    limit = listing.limit if listing.limit is not None else MAX_ROWS
    # One row more than wanted tells whether there are more.
    rows = tx.all(
        f"SELECT * FROM {table} WHERE {condition.sql}"
        f" ORDER BY {key} {direction}, id {direction} LIMIT %s OFFSET %s",
        (*condition.params, limit + 1, listing.offset or 0),
    )
    more = len(rows) > limit
    if not (listing.paged or more):
        return Listed(rows)
    total = tx.value(f"SELECT COUNT(*) FROM {table} WHERE {condition.sql}", condition.params)
    return Listed(rows[:limit], int(total), cut=more and listing.limit is None)
