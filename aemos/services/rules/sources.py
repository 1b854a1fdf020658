"""What chains look at: which variables and states their conditions name, and how values are read.

Nothing here reaches beyond one organization: what a chain names but does not own is not found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from aemos.services.rules import values
from aemos.services.rules.conditions import leaves
from aemos.services.rules.snapshot import uuid_in
from aemos.storage import rule_sources
from aemos.storage.transaction import Row, Transaction

_NUMERIC = frozenset({"number", "float", "int", "integer", "double"})

Slot: TypeAlias = int | tuple[int, str]
"""Where a value is kept: the id of a variable, or the id of a device with the name of a state."""


@attrs.frozen(slots=True)
class Reference:
    """What a condition or transform names: `kind` is sensor or device."""

    kind: str
    uuid: str
    key: str


@attrs.frozen(slots=True)
class Source:
    """A variable or state that was found. `uuid` is that of its sensor or device.

    `row_id` is that of the variable or state; None = the device has no such state as yet.
    """

    kind: str
    uuid: str
    key: str
    slot: Slot
    row_id: int | None
    datatype: str | None


def references(nodes: Iterable[Mapping[str, Any]], *types: str) -> set[Reference]:
    """@return: what the nodes of these types name, out of all groups."""
    found = set()
    for node in nodes:
        if node["type"] not in types:
            continue
        for leaf in leaves(node["config"]):
            uuid, key = uuid_in(leaf), leaf.get("key")
            if isinstance(uuid, str) and isinstance(key, str):
                kind = "sensor" if leaf.get("sourceType") == "sensor" else "device"
                found.add(Reference(kind, uuid, key))
    return found


def resolve(
    tx: Transaction, wanted: Collection[tuple[int | None, Reference]]
) -> dict[tuple[int | None, Reference], Source]:
    """Find what is named, each for the organization that asks.

    @param wanted: organization with reference. @return: those that there are and that it owns.
    """
    found: dict[tuple[int | None, Reference], Source] = {}
    for kind, names_of in (
        ("sensor", rule_sources.variables),
        ("device", rule_sources.states),
    ):
        asked = [each for each in wanted if each[1].kind == kind]
        # Some databases compare uuids to the letter; a condition need not.
        uuids = {form for _, name in asked for form in (name.uuid, name.uuid.lower())}
        things = rule_sources.things(tx, kind, sorted(uuids))
        names = names_of(tx, [thing["id"] for thing in things.values()])
        for organization_id, name in asked:
            thing = things.get(name.uuid.lower())
            if thing is None or organization_id is None:
                continue
            if thing["organizationId"] != organization_id:
                continue
            source = _source(kind, thing, name.key, names.get((thing["id"], name.key)))
            if source is not None:
                found[organization_id, name] = source
    return found


def _source(kind: str, thing: Row, key: str, row: Row | None) -> Source | None:
    if kind == "sensor":
        if row is None:
            return None
        return Source(kind, thing["uuid"], key, row["id"], row["id"], row["datatype"])
    slot = (thing["id"], key)
    if row is None:
        return Source(kind, thing["uuid"], key, slot, None, None)
    return Source(kind, thing["uuid"], key, slot, row["id"], row["datatype"])


def newest(tx: Transaction, sources: Iterable[Source]) -> dict[Slot, Row]:
    """@return: `value` (text) and `at` of the newest value of each source that has one."""
    found: dict[Slot, Row] = {}
    for source in {source.slot: source for source in sources}.values():
        if source.row_id is None:
            continue
        read = rule_sources.newest_reading if source.kind == "sensor" else rule_sources.newest_state
        row = read(tx, source.row_id)
        if row is not None:
            found[source.slot] = row
    return found


def typed(value: str | None, datatype: str | None) -> Any:
    """Turn stored text into what its data type says; text that is no number stays text.

    @return: a number for number, float and int, a boolean for boolean.
    """
    kind = (datatype or "").lower()
    if value is None:
        return None
    if kind == "boolean":
        return value.lower() == "true"
    if kind in _NUMERIC and value.strip():
        number = values.number(value)
        if math.isfinite(number):
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value
