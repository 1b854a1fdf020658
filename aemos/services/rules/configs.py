"""Checks what a node shall do before it is stored (spec/rule-engine.md section 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aemos import json
from aemos.errors import BadRequest
from aemos.services.rules.conditions import MAX_DEPTH

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NAMES = ("UUID", "uuid", "sensorUUID", "deviceUUID")


class InvalidConfig(BadRequest):
    """Uuids in the config are none; `details` says which ones, for the door to show."""

    code = "invalid_config"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("Invalid rule chain node configuration: one or more UUIDs are invalid")
        self.details = {"validationErrors": errors}


def parse(given: object) -> dict[str, Any] | None:
    """Read a config that is sent as JSON text or as an object.

    @raise BadRequest: text that is no JSON object.
    """
    if given is None or isinstance(given, dict):
        return given
    try:
        config = json.decode(given) if isinstance(given, str) else given
    except json.MalformedJson:
        config = given
    if config is None or isinstance(config, dict):
        return config
    raise BadRequest("Invalid JSON in config field")


def check(kind: str, config: Mapping[str, Any] | None) -> None:
    """Look at the uuids in a config; nothing else in it is judged before it runs.

    Every version passes, whatever the text of the error says (Compat).

    @param kind: filter, transform or action. @raise InvalidConfig: it has others.
    """
    errors = [
        {
            "path": path,
            "value": value,
            "error": f'Invalid UUID format: "{value}". Expected UUID v4 format'
            " (e.g., 550e8400-e29b-41d4-a716-446655440000)",
        }
        for path, value in _uuids(kind, config or {})
        if not isinstance(value, str) or not _UUID.fullmatch(value)
    ]
    if errors:
        raise InvalidConfig(errors)


def _uuids(kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if kind == "action":
        command = config.get("command")
        if isinstance(command, dict) and command.get("deviceUuid") is not None:
            yield "config.command.deviceUuid", command["deviceUuid"]
    elif kind == "filter":
        yield from _of_filter("config", config, 0)


def _of_filter(path: str, config: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise BadRequest(f"groups of conditions are nested deeper than {MAX_DEPTH}")
    members = config.get("expressions")
    if config.get("type") in ("AND", "OR") and isinstance(members, list):
        for index, member in enumerate(members):
            if isinstance(member, dict):
                yield from _of_filter(f"{path}.expressions[{index}]", member, depth + 1)
        return
    for name in _NAMES:
        if config.get(name) is not None:
            yield f"{path}.{name}", config[name]
