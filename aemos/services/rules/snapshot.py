"""The data that a run of a chain looks at: values of sensors and devices, each with its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from aemos.model import Instant

_ALIASES = ("uuid", "sensorUUID", "deviceUUID")


def uuid_in(config: Mapping[str, Any]) -> Any:
    """@return: the uuid that a condition names, under whichever of the names it goes."""
    uuid = config.get("UUID")
    if uuid is not None:
        return uuid
    return next((config[name] for name in _ALIASES if config.get(name) is not None), None)


@attrs.define
class Source:
    """The values of one sensor or device by name; `times` where a value has its own."""

    uuid: str
    values: dict[str, Any] = attrs.field(factory=dict)
    times: dict[str, Instant] = attrs.field(factory=dict)
    timestamp: Instant | None = None

    def time(self, key: str) -> Instant | None:
        """@return: when the value became known, as far as that is known."""
        return self.times.get(key, self.timestamp)

    def put(self, key: str, value: Any, at: Instant | None) -> None:
        """Add a value."""
        self.values[key] = value
        if at is not None:
            self.times[key] = at
            self.timestamp = at if self.timestamp is None else max(at, self.timestamp)

    def wire(self) -> dict[str, Any]:
        """@return: as results show it."""
        if self.timestamp is None:
            return dict(self.values)
        return {**self.values, "timestamp": self.timestamp}


@attrs.define
class Snapshot:
    """Sources by uuid in lower case."""

    sensors: dict[str, Source] = attrs.field(factory=dict)
    devices: dict[str, Source] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls, sensors: Iterable[Mapping[str, Any]], devices: Iterable[Mapping[str, Any]]
    ) -> Snapshot:
        """@param sensors: `{"UUID", <name>: <value> ..., "timestamp"?}`; without UUID ignored."""
        return cls(_sources(sensors), _sources(devices))

    def source(self, config: Mapping[str, Any]) -> Source | None:
        """@return: what a condition or transform refers to, if there is data of it."""
        sources = self.sensors if config.get("sourceType") == "sensor" else self.devices
        return sources.get(str(uuid_in(config)).lower())

    def put(self, kind: str, uuid: str, key: str, value: Any, at: Instant | None) -> None:
        """Add a value. @param kind: sensor or device."""
        sources = self.sensors if kind == "sensor" else self.devices
        sources.setdefault(uuid.lower(), Source(uuid)).put(key, value, at)

    def wire(self) -> dict[str, Any]:
        """@return: as results show it."""
        return {
            "sensorData": {source.uuid: source.wire() for source in self.sensors.values()},
            "deviceData": {source.uuid: source.wire() for source in self.devices.values()},
        }


def _sources(items: Iterable[Mapping[str, Any]]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for item in items:
        uuid = item.get("UUID")
        if not isinstance(uuid, str) or not uuid:
            continue
        source = sources.setdefault(uuid.lower(), Source(uuid))
        at = _time(item.get("timestamp"))
        for key, value in item.items():
            if key not in ("UUID", "timestamp"):
                source.put(key, value, at)
        if at is not None and not source.values:
            source.timestamp = at
    return sources


def _time(given: Any) -> Instant | None:
    try:
        if isinstance(given, str):
            return Instant.parse(given)
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            at = Instant(given)
            at.datetime()  # is there such a year?
            return at
    except (ValueError, OverflowError, OSError):
        return None
    return None
