"""Writes the audit log: who changed what, in the transaction of the change itself.

`Database.transact` asks who is acting (`acting`). If somebody is, every `insert`, `update` and
`delete` of the transaction that concerns a table of `AUDITED` becomes an entry, and is rolled back
with the change. What the server does by itself, and what devices report, has no actor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import attrs

from aemos import json
from aemos.storage import identities
from aemos.storage.places import DEVICES, SENSORS
from aemos.storage.tables import TABLES, Kind
from aemos.storage.transaction import Row, Transaction

T = TypeVar("T")

MASKED = "***"
"""Stands for a secret, or for bytes."""

_SECRETS = frozenset({"password", "token", "digest", "secrets", "cardNumber", "cvv"})
_STAMPS = frozenset({"id", "createdAt", "updatedAt", "created_at", "updated_at"})
_LONGEST = 1000  # characters of a value that are kept
_LONGEST_NAME = 256


@attrs.frozen
class Actor:
    """Who does something, and from where.

    `kind` is that of a principal (docs/access.rst), or `cli`; `id` is of the user, also for an API
    key, whose shown part is the `name` then. `address` and `request_id` are "" outside HTTP.
    """

    kind: str
    id: int | None = None
    name: str = ""
    address: str = ""
    request_id: str = ""


_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


def actor() -> Actor | None:
    """@return: who is acting in this coroutine; to be asked in the reactor's thread."""
    return _acting.get()


@contextlib.contextmanager
def acting(who: Actor | None) -> Iterator[None]:
    """Let what is awaited inside be done by `who`; None = by nobody."""
    before = _acting.get()
    _acting.set(who)
    try:
        yield
    finally:
        _acting.set(before)


def recorded(tx: Transaction, who: Actor, function: Callable[..., T], *args: Any) -> T:
    """Run `function(tx, *args)` and add an entry for everything that it changes."""
    trail = tx.trail = Trail(who)
    result = function(tx, *args)
    trail.store(tx)
    return result


def record(
    tx: Transaction,
    who: Actor,
    action: str,
    resource: str,
    resource_id: int | None = None,
    organization_id: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Add one entry, also about what is no change of a row, such as a sign-in."""
    tx.insert(
        "audit_log",
        {
            "at": tx.now,
            "organization_id": organization_id,
            "actor_kind": who.kind,
            "actor_id": who.id,
            "actor_name": who.name[:_LONGEST_NAME],
            "action": action,
            "resource": resource,
            "resource_id": resource_id,
            "changes": changes or {},
            "address": who.address,
            "request_id": who.request_id,
        },
    )


@attrs.frozen
class _Change:
    """One row that was made (`before` None), changed, or deleted (`after` None)."""

    table: str
    before: Row | None
    after: Row | None
    organization_id: int | None

    @property
    def row(self) -> Row:
        return self.after or self.before or {}

    @property
    def action(self) -> str:
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "update"


class Trail:
    """The changes of one transaction."""

    def __init__(self, who: Actor) -> None:
        self._who = who
        self._changes: list[_Change] = []

    def watches(self, table: str) -> bool:
        """@return: whether changes of this table are recorded."""
        return table in AUDITED

    def note(self, tx: Transaction, table: str, before: Row | None, after: Row | None) -> None:
        """Take a change down. @param before: None = the row is new. @param after: None = gone."""
        owner = _owner(tx, table, after or before or {})
        self._changes.append(_Change(table, before, after, owner))

    def store(self, tx: Transaction) -> None:
        """Add the entries; changes that made no difference have none.

        What belongs to no organization when it is changed, such as a sensor before it is put into
        an area, is counted to that of the other changes, if it is one.
        """
        owners = {change.organization_id for change in self._changes} - {None}
        common = owners.pop() if len(owners) == 1 else None
        for change in self._changes:
            told = _differences(change)
            if told or change.action != "update":
                record(
                    tx,
                    self._who,
                    change.action,
                    change.table,
                    change.row.get(AUDITED[change.table].id),
                    common if change.organization_id is None else change.organization_id,
                    told,
                )


def _differences(change: _Change) -> dict[str, list[Any]]:
    """@return: column -> what it held before and after."""
    before, after = change.before or {}, change.after or {}
    told = {}
    for column, kind in TABLES[change.table].columns.items():
        old, new = before.get(column), after.get(column)
        if old != new and column not in _STAMPS:
            secret = column in _SECRETS or kind is Kind.BLOB
            told[column] = [_shown(old, secret), _shown(new, secret)]
    return told


def _shown(value: Any, secret: bool) -> Any:
    if value is None:
        return None
    if secret:
        return MASKED
    text = value if isinstance(value, str) else json.encode(value).decode()
    return value if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@attrs.frozen
class Audited:
    """How the rows of a table are named, and who owns them where no column says so."""

    id: str = "id"
    owner: Callable[[Transaction, Row], int | None] = lambda tx, row: None


def _owner(tx: Transaction, table: str, row: Row) -> int | None:
    for column in ("organizationId", "organization_id"):
        organization_id: int | None = row.get(column)
        if organization_id is not None:
            return organization_id
    return AUDITED[table].owner(tx, row)


def _of_sensor(column: str) -> Callable[[Transaction, Row], int | None]:
    return lambda tx, row: SENSORS.owner(tx, row[column])


def _of_device(column: str) -> Callable[[Transaction, Row], int | None]:
    return lambda tx, row: DEVICES.owner(tx, row[column])


def _of_parent(table: str, column: str) -> Callable[[Transaction, Row], int | None]:
    def owner(tx: Transaction, row: Row) -> int | None:
        found: int | None = tx.value(
            f"SELECT organizationId FROM {table} WHERE id = %s", (row[column],)
        )
        return found

    return owner


def _of_variable(column: str) -> Callable[[Transaction, Row], int | None]:
    return lambda tx, row: identities.organization_of_variable(tx, row[column])


AUDITED: Mapping[str, Audited] = {
    "Organization": Audited(owner=lambda tx, row: row["id"]),
    "User": Audited(),
    "Role": Audited(),
    "RolePermission": Audited(id="roleId", owner=_of_parent("Role", "roleId")),
    "OrganizationUser": Audited(),
    "Area": Audited(),
    "Sensor": Audited(owner=_of_sensor("id")),
    "AreaSensor": Audited(id="sensorId", owner=_of_parent("Area", "areaId")),
    "TelemetryData": Audited(owner=_of_sensor("sensorId")),
    "DataStream": Audited(owner=_of_variable("telemetryDataId")),
    "DeviceToken": Audited(owner=_of_sensor("sensorId")),
    "Device": Audited(owner=_of_device("id")),
    "AreaDevice": Audited(id="deviceId", owner=_of_parent("Area", "areaId")),
    "DeviceState": Audited(owner=_of_device("deviceId")),
    "device_credential": Audited(owner=_of_device("device_id")),
    "RuleChain": Audited(),
    "RuleChainNode": Audited(owner=_of_parent("RuleChain", "ruleChainId")),
    "api_key": Audited(),
    "alarm_definition": Audited(),
    "notification_channel": Audited(),
    "Ticket": Audited(owner=_of_parent("Notification", "notificationId")),
    "retention_policy": Audited(owner=_of_variable("telemetry_id")),
}
"""The tables whose changes are recorded: all that people and programs set up.

Readings are in it for those that are changed or deleted by hand; new ones come another way, as do
statuses. The values of device states and commands are histories of their own.
"""
