"""Rows as they are shown to the world: the names of their columns in camel case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.storage.tables import TABLES
from aemos.storage.transaction import Row

_OTHERWISE = {"telemetry_id": "telemetryDataId", "condition_tree": "condition"}
_HIDDEN = {"alarm_key", "open_key", "secrets"}


def _name(column: str) -> str:
    first, *rest = column.split("_")
    return _OTHERWISE.get(column) or first + "".join(word.title() for word in rest)


_NAMES = {
    table: {column: _name(column) for column in TABLES[table].columns if column not in _HIDDEN}
    for table in ("alarm_definition", "alarm", "alarm_event", "notification_channel", "delivery")
}


def shown(table: str, row: Mapping[str, Any]) -> Row:
    """@return: the row without what is for the server alone."""
    return {name: row[column] for column, name in _NAMES[table].items()}


def columns(table: str, values: Mapping[str, Any]) -> Row:
    """@return: the values of a body by the columns that they are for."""
    by_name = {name: column for column, name in _NAMES[table].items()}
    return {by_name[name]: value for name, value in values.items()}
