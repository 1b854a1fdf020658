"""How a query says what of a list is wanted: one set of keys for every list."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from aemos.errors import BadRequest
from aemos.http.schemas import FreeQuery
from aemos.storage.listing import MAX_ROWS, Listing


class ListQuery(FreeQuery):
    """`?limit=&offset=&sort=name|-name&search=`; a subclass adds `status` and says what sorts.

    `page` is another way to say `offset`: how many times `limit`, beginning with 1.
    """

    sortable: ClassVar[tuple[str, ...]] = ("id",)

    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    page: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    sort: str = ""
    search: Annotated[str, Meta(max_length=256)] = ""

    def listing(self) -> Listing:
        """@raise BadRequest: `sort` names a column that does not sort this list."""
        column = self.sort.removeprefix("-") or "id"
        if column not in self.sortable:
            raise BadRequest(
                f'Invalid query parameters: "sort" must be one of [{", ".join(self.sortable)}],'
                " with - in front for descending order"
            )
        offset = self.offset
        if offset is None and self.page is not None:
            offset = (self.page - 1) * (self.limit or MAX_ROWS)
        return Listing(
            limit=self.limit,
            offset=offset,
            sort=column,
            descending=self.sort.startswith("-"),
            search=self.search,
            status=getattr(self, "status", ""),
        )
