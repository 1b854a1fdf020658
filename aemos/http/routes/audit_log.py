"""`/audit-log`: who changed what (docs/access.rst)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import attrs
import msgspec
from msgspec import Meta

from aemos.http.lists import ListQuery
from aemos.http.ranges import moment
from aemos.http.render import Answer, listed
from aemos.http.routing import API, Call, route
from aemos.http.schemas import Id
from aemos.services.audit import AuditLog
from aemos.storage.audit_log import Filter
from aemos.storage.tables import TABLES

Action = Literal["create", "update", "delete", "sign-in", "sign-in-failed", "sign-out", ""]

_FILTERS = {
    "user": "actor_id",
    "kind": "actor_kind",
    "action": "action",
    "resource": "resource",
    "resourceId": "resource_id",
}
"""Keys of the query, and the columns that they name."""


class AuditQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """Which entries, newest first: `?from=&to=&user=&kind=&action=&resource=&resourceId=...`."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "at")

    organizationId: Id | None = None
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    user: Id | None = None
    kind: Annotated[str, Meta(max_length=16)] = ""
    action: Action = ""
    resource: Annotated[str, Meta(max_length=64)] = ""
    resourceId: Id | None = None

    def filter(self) -> Filter:
        """@raise BadRequest: `from` or `to` is no time."""
        equal = {
            column: value
            for name, column in _FILTERS.items()
            if (value := getattr(self, name)) not in (None, "")
        }
        return Filter(moment("from", self.from_), moment("to", self.to), equal)


class AuditLogRoutes:
    """Changes in the organizations that the caller administers."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/audit-log",)

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @route("GET", "", permission="organization.update", data={"entries": ["audit_log"]})
    async def list_all(self, call: Call, query: AuditQuery) -> Answer:
        """List entries, newest first; `changes` maps fields to what they held before and after."""
        listing = query.listing()
        if not query.sort:
            listing = attrs.evolve(listing, descending=True)
        found = await self._log.listed(
            call.principal, query.organizationId, query.filter(), listing
        )
        return listed(
            "entries",
            found.map(
                lambda rows: [{_NAMES[column]: row[column] for column in row} for row in rows]
            ),
        )


def _name(column: str) -> str:
    first, *rest = column.split("_")
    return first + "".join(word.title() for word in rest)


_NAMES = {column: _name(column) for column in TABLES["audit_log"].columns}
