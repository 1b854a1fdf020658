"""`/api-keys`: keys with which programs call these routes (docs/access.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from aemos.http.adapter import instant
from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import UNSET, Body, Id, UnsetType, given
from aemos.services.api_keys import ApiKeys
from aemos.storage.tables import TABLES

Label = Annotated[str, Meta(min_length=1, max_length=100)]
Time = str | int | float
_MONTH = 31 * 86400  # seconds
_MANAGE = "organization.update"


class NewKey(Body):
    """Body of `POST /api-keys`."""

    organizationId: Id
    label: Label
    permissions: Annotated[list[str], Meta(max_length=100)]
    expiresAt: Time | None = None


class KeyChange(Body):
    """Body of `PATCH /api-keys/:id`; an `expiresAt` of null is never."""

    label: Label | UnsetType = UNSET
    expiresAt: Time | UnsetType | None = UNSET


class KeyRotation(Body):
    """Body of `POST /api-keys/:id/rotate`: how many seconds the old one has left."""

    overlap: Annotated[int, Meta(ge=0, le=_MONTH)] = 3600
    expiresAt: Time | None = None


class KeyQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?organizationId=`, and which of them; without it those of all that the caller manages."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "label", "prefix", "status")

    organizationId: Id | None = None
    status: Literal["active", "revoked", ""] = ""


class ApiKeyRoutes:
    """Keys of the organizations that the caller manages; a key manages no keys."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/api-keys",)

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    @route("GET", "", permission=_MANAGE, keys=False, data={"apiKeys": ["api_key"]})
    async def list_all(self, call: Call, query: KeyQuery) -> Answer:
        """List keys, without what they consist of."""
        found = await self._keys.listed(call.principal, query.organizationId, query.listing())
        return listed("apiKeys", found.map(lambda rows: [_wire(row) for row in rows]))

    @route("POST", "", permission=_MANAGE, keys=False, status=201, data={"apiKey": "api_key"})
    async def create(self, call: Call, body: NewKey) -> Answer:
        """Make a key; this answer is the only one that shows it."""
        row = await self._keys.create(
            call.principal,
            body.organizationId,
            body.label,
            body.permissions,
            instant("expiresAt", body.expiresAt),
        )
        return success(data={"apiKey": _wire(row)})

    @route("GET", "/<key_id>", permission=_MANAGE, keys=False, data={"apiKey": "api_key"})
    async def get(self, call: Call, key_id: int) -> Answer:
        """Show a key, without what it consists of."""
        return success(data={"apiKey": _wire(await self._keys.get(call.principal, key_id))})

    @route("PATCH", "/<key_id>", permission=_MANAGE, keys=False, data={"apiKey": "api_key"})
    async def change(self, call: Call, key_id: int, body: KeyChange) -> Answer:
        """Change the label of a key, or when it ends."""
        changes = given(body)
        if "expiresAt" in changes:
            changes["expires_at"] = instant("expiresAt", changes.pop("expiresAt"))
        row = await self._keys.change(call.principal, key_id, changes)
        return success(data={"apiKey": _wire(row)})

    @route(
        "POST",
        "/<key_id>/rotate",
        permission=_MANAGE,
        keys=False,
        data={"apiKey": "api_key"},
        failures=(409,),
    )
    async def rotate(self, call: Call, key_id: int, body: KeyRotation) -> Answer:
        """Make the successor of a key; the old one goes on for the overlap."""
        expires_at = instant("expiresAt", body.expiresAt)
        row = await self._keys.rotate(call.principal, key_id, body.overlap, expires_at)
        return success(data={"apiKey": {**_wire(row), "replaced": _wire(row["replaced"])}})

    @route("DELETE", "/<key_id>", permission=_MANAGE, keys=False, status=204)
    async def revoke(self, call: Call, key_id: int) -> Answer:
        """Revoke a key; it ends at once and stays in the list."""
        await self._keys.revoke(call.principal, key_id)
        return Answer()


def _name(column: str) -> str:
    first, *rest = column.split("_")
    return first + "".join(word.title() for word in rest)


_NAMES = {column: _name(column) for column in TABLES["api_key"].columns if column != "digest"}


def _wire(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[column] for column, name in _NAMES.items()}
    return {**shown, "key": row["key"]} if "key" in row else shown
