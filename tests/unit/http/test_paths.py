"""Folding the case of literal path segments."""

from __future__ import annotations

import pytest

from aemos.http.paths import Paths

PATHS = Paths(
    [
        "/api/v1/sensors",
        "/api/v1/sensors/<id>",
        "/api/v1/sensors/test",
        "/api/v1/sensors/organization/<organizationId>",
        "/api/v1/sensors/<id>/telemetry",
        "/api/datastreams/token",
    ]
)


@pytest.mark.parametrize(
    ("path", "folded"),
    [
        ("api/v1/sensors", "api/v1/sensors"),
        ("API/V1/Sensors/", "api/v1/sensors"),
        ("api/v1/SENSORS///", "api/v1/sensors"),
        ("api/v1/Sensors/AbC", "api/v1/sensors/AbC"),
        ("api/v1/sensors/TEST", "api/v1/sensors/test"),
        ("api/v1/Sensors/Organization/XY", "api/v1/sensors/organization/XY"),
        ("api/v1/Sensors/Organization/Telemetry", "api/v1/sensors/organization/Telemetry"),
        ("api/v1/Sensors/XY/Telemetry", "api/v1/sensors/XY/telemetry"),
        ("Api/DataStreams/Token", "api/datastreams/token"),
        ("Api/V2/Sensors", "Api/V2/Sensors"),
        ("api//v1/sensors", "api//v1/sensors"),
        ("", ""),
    ],
)
def test_literals_fold_and_parameters_stay(path: str, folded: str) -> None:
    assert "/".join(PATHS.fold(path.split("/"))) == folded
