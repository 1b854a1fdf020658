"""Areas of an organization, for every door (spec/http-api.md section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import attrs

from aemos.errors import BadRequest, Forbidden, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.events import Events, IdentityChanged
from aemos.storage import areas
from aemos.storage.database import Database
from aemos.storage.listing import ALL, Listed, Listing
from aemos.storage.transaction import Row, Transaction

_GENERATED = ("uuid", "status")  # Compat: '' and null mean "not given", the dashboard sends them


def random_uuid() -> str:
    """@return: a new version 4 uuid as text."""
    return str(uuid4())


@attrs.define
class Areas:
    """Lists, makes, changes and archives areas; every call says for whom."""

    _database: Database
    _events: Events
    _new_uuid: Callable[[], str] = random_uuid

    async def listed(self, by: Principal, listing: Listing = ALL) -> Listed:
        """The visible areas of every organization where `by` holds area.view.

        @return: rows, each with its whole `Organization` and, beside it, `organization` (id, name).
        @raise Forbidden: area.view is held nowhere.
        """
        access.require_somewhere(by, "area.view")
        return await self._database.read(_listed, access.scope(by, "area.view"), listing)

    async def of_organization(
        self, by: Principal, organization_id: int, listing: Listing = ALL
    ) -> Listed:
        """@return: the visible areas of one organization. @raise Forbidden: no area.view there."""
        access.require_here(by, "area.view", organization_id)
        return await self._database.read(areas.listed, [organization_id], listing)

    async def get(self, by: Principal, area_id: int, stated: int | None) -> Row:
        """@param stated: the organization that the caller says owns the area (rule OWN).

        @return: the row, whatever its status, with its organization as in `listed`.
        @raise NotFound, Forbidden, BadRequest: as `access.require_owned`.
        """

        def read(tx: Transaction) -> Row:
            return _with_organizations(tx, [_owned(tx, by, "area.view", area_id, stated)])[0]

        return await self._database.read(read)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """Make an area; a uuid is generated when none is given, the status is `under_review` then.

        @param values: columns of Area by name; `name` and `organizationId` must be there.
        @raise Forbidden: no area.create in the organization, or the parent belongs to another.
        @raise NotFound: no such organization or parent.
        """
        organization_id: int = values["organizationId"]
        access.require(by, "area.create", organization_id)
        row = {"uuid": self._new_uuid(), "status": "under_review", **_given(values)}

        def write(tx: Transaction) -> Row:
            if not areas.organization_exists(tx, organization_id):
                raise NotFound(f"Organization with ID {organization_id} not found")
            _check_parent(tx, row.get("parentArea"), organization_id)
            return _existing(tx, areas.create(tx, row))

        return await self._database.transact(write)

    async def change(
        self, by: Principal, area_id: int, stated: int | None, changes: Mapping[str, Any]
    ) -> Row:
        """Change some columns; `organizationId` among them moves the area (System Admin only).

        An area that moves leaves its parent and its children behind: no tree spans organizations.

        @raise NotFound, Forbidden, BadRequest: as `create` and `access.require_owned`; also a
            parent that is the area itself or lies below it.
        """
        given = _given(changes)

        def write(tx: Transaction) -> tuple[Row, Sequence[str]]:
            before = _owned(tx, by, "area.update", area_id, stated)
            origin: Any = before["organizationId"]
            target: int = given.get("organizationId", origin)
            moves = target != origin
            if moves:
                if not areas.organization_exists(tx, target):
                    raise NotFound(f"Organization with ID {target} not found")
                areas.leave_parent(tx, area_id)
            _check_parent(tx, given.get("parentArea"), target, area_id)
            areas.change(tx, area_id, given)
            after = _existing(tx, area_id)
            concerned = moves or after["status"] != before["status"]
            return after, areas.identities(tx, area_id) if concerned else ()

        row, uuids = await self._database.transact(write)
        self._announce(uuids)
        return row

    async def archive(self, by: Principal, area_id: int, stated: int | None) -> None:
        """Hide an area from lists; it and what lies in it stay stored. Archiving twice is no error.

        @raise NotFound, Forbidden, BadRequest: as `access.require_owned`.
        """

        def write(tx: Transaction) -> Sequence[str]:
            _owned(tx, by, "area.delete", area_id, stated)
            areas.change(tx, area_id, {"status": "archived"})
            return areas.identities(tx, area_id)

        self._announce(await self._database.transact(write))

    def _announce(self, uuids: Sequence[str]) -> None:
        for uuid in uuids:
            self._events.publish(IdentityChanged(uuid))


def _listed(tx: Transaction, organization_ids: Sequence[int] | None, listing: Listing) -> Listed:
    return areas.listed(tx, organization_ids, listing).map(partial(_with_organizations, tx))


def _with_organizations(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    owners = areas.organizations(tx, rows)
    whole = []
    for row in rows:
        owner = owners.get(row["organizationId"])
        brief = None if owner is None else {"id": owner["id"], "name": owner["name"]}
        whole.append({**row, "Organization": owner, "organization": brief})
    return whole


def _existing(tx: Transaction, area_id: int) -> Row:
    row = areas.find(tx, area_id)
    if row is None:
        raise NotFound(f"Area with ID {area_id} not found")
    return row


def _owned(
    tx: Transaction, by: Principal, permission: str, area_id: int, stated: int | None
) -> Row:
    row = areas.find(tx, area_id)
    owner = None if row is None else row["organizationId"]
    access.require_owned(by, permission, stated, found=row is not None, owner=owner)
    if row is None:
        raise NotFound(f"Area with ID {area_id} not found")
    return row


def _check_parent(
    tx: Transaction, parent_id: int | None, organization_id: int, area_id: int | None = None
) -> None:
    if parent_id is None:
        return
    parent = areas.find(tx, parent_id)
    if parent is None:
        raise NotFound(f"Parent area with ID {parent_id} not found")
    if parent["organizationId"] != organization_id:
        raise Forbidden("Forbidden: the parent area belongs to another organization")
    if area_id is not None and areas.is_within(tx, parent_id, area_id):
        raise BadRequest('"parentArea" must not be the area itself or one below it')


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not (name in _GENERATED and value in ("", None))
    }
