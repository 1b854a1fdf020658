"""Organizations for every door (spec/http-api.md section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from aemos.errors import BadRequest, NotFound
from aemos.model import Principal, PrincipalKind
from aemos.services import access
from aemos.storage import organizations
from aemos.storage.database import Database
from aemos.storage.listing import ALL, Listed, Listing
from aemos.storage.transaction import Row, Transaction

_HIDDEN = ("inactive", "archived")


@attrs.frozen
class Wanted:
    """Which organizations a list shows; None = no matter."""

    parent_id: int | None = None
    is_parent: bool | None = None
    listing: Listing = ALL


@attrs.define
class Organizations:
    """Lists, makes, changes and archives organizations; every call says for whom.

    Permissions count in the organization itself. `children` holds only those that the caller may
    see.
    """

    _database: Database

    async def listed(self, by: Principal, wanted: Wanted) -> Listed:
        """@return: rows with `children`: for a System Admin all but the inactive and archived
        (unless a status is wanted), for others those where organization.view is held.

        @raise Forbidden: organization.view is held nowhere.
        """
        access.require_somewhere(by, "organization.view")

        def read(tx: Transaction) -> Listed:
            found = organizations.listed(
                tx,
                access.scope(by, "organization.view"),
                hide=_HIDDEN if by.administrator and not wanted.listing.status else (),
                parent_id=wanted.parent_id,
                is_parent=wanted.is_parent,
                listing=wanted.listing,
            )
            return found.map(partial(_with_children, tx, by))

        return await self._database.read(read)

    async def get(self, by: Principal, organization_id: int) -> Row:
        """@return: the row with `children`.

        @raise Forbidden: no member, or without organization.view there.
        @raise NotFound: no such organization (only a System Admin learns that).
        """
        _require(by, "organization.view", organization_id)

        def read(tx: Transaction) -> Row:
            return _with_children(tx, by, [_found(tx, organization_id)])[0]

        return await self._database.read(read)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """Make an organization; its creator gets no membership.

        @param values: columns as sent; a `parentId` needs organization.create there.
        @raise Forbidden: organization.create is not held in the parent; nowhere if there is none.
            An API key makes no organization without a parent: it has no business outside its own.
        @raise NotFound: no such parent.
        """
        access.require_somewhere(by, "organization.create")
        if by.kind is PrincipalKind.API_KEY:
            access.require(by, "organization.create", values.get("parentId"))

        def write(tx: Transaction) -> Row:
            _check_parent(tx, by, "organization.create", values.get("parentId"))
            return _found(tx, organizations.create(tx, values))

        return await self._database.transact(write)

    async def change(self, by: Principal, organization_id: int, changes: Mapping[str, Any]) -> Row:
        """@param changes: columns as sent; a new `parentId` needs organization.update there too.

        @return: the row. @raise Forbidden, NotFound: as `get`, and for the parent.
        @raise BadRequest: the parent is the organization itself or below it.
        """
        _require(by, "organization.update", organization_id)

        def write(tx: Transaction) -> Row:
            row = _found(tx, organization_id)
            parent = changes.get("parentId")
            if parent is not None and parent != row["parentId"]:
                _check_parent(tx, by, "organization.update", parent)
                if organizations.is_within(tx, parent, organization_id):
                    raise BadRequest(
                        '"parentId" must not be the organization itself or one below it'
                    )
            if changes:
                tx.update("Organization", organization_id, changes)
            return _found(tx, organization_id)

        return await self._database.transact(write)

    async def archive(self, by: Principal, organization_id: int) -> None:
        """Set the status to archived, again if it is. @raise Forbidden, NotFound: as `get`."""
        _require(by, "organization.delete", organization_id)

        def write(tx: Transaction) -> None:
            _found(tx, organization_id)
            tx.update("Organization", organization_id, {"status": "archived"})

        await self._database.transact(write)


def _require(by: Principal, permission: str, organization_id: int) -> None:
    access.require_somewhere(by, permission)
    access.require_member(by, organization_id)
    access.require(by, permission, organization_id)


def _found(tx: Transaction, organization_id: int) -> Row:
    row = organizations.find(tx, organization_id)
    if row is None:
        raise NotFound(f"Organization with ID {organization_id} not found")
    return row


def _check_parent(tx: Transaction, by: Principal, permission: str, parent_id: int | None) -> None:
    if parent_id is not None:
        access.require(by, permission, parent_id)
        if organizations.find(tx, parent_id) is None:
            raise NotFound(f"Parent organization with ID {parent_id} not found")


def _with_children(tx: Transaction, by: Principal, rows: Iterable[Row]) -> list[Row]:
    by_id = {row["id"]: {**row, "children": []} for row in rows}
    for child in organizations.children(tx, by_id):
        if by.may("organization.view", child["id"]):
            by_id[child["parentId"]]["children"].append(child)
    return list(by_id.values())
