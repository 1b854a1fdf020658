"""The server keeps to its own OpenAPI document, as schemathesis finds by trying every route."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import NORTH, PUMPS, SOUTH
from tests.integration.server import Server
from tests.whole import PASSWORD, email, sow_whole

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
"""Not among them: that all wrong data is refused. Lax input is what existing clients need."""

_EXCLUDED = (
    "/api/v1/auth/logout",  # the token of all other requests would end
    "/api/v1/events",  # does not end
)
_SUPERVISOR = 3  # a user who may lose his rights without harm to the others


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the farm of `tests.farm` and the users of `tests.whole`."""
    folder = tmp_path_factory.mktemp("contract")
    server = Server(folder, f"sqlite:///{folder / 'aemos.sqlite'}", log={"level": "warn"})
    try:
        server.start().sql(sow_whole)
        yield server
    finally:
        server.close()


def test_every_answer_is_as_the_document_says(farm: Server) -> None:
    body = {"email": email("System Admin"), "password": PASSWORD}
    token = farm.post("/api/v1/auth/login", body)[1]["data"]["token"]
    document = farm.get("/api/v1/openapi.json")[1]
    (farm.folder / "openapi.json").write_text(json.dumps(_strict(document)))
    (farm.folder / "schemathesis.toml").write_text(_settings(document))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        "openapi.json",
        f"--url=http://127.0.0.1:{farm.ports['http']}",
        f"--header=Authorization: Bearer {token}",
        f"--checks={','.join(_CHECKS)}",
        *(f"--exclude-path={path}" for path in _EXCLUDED),
        "--phases=fuzzing",
        "--mode=all",
        "--max-examples=3",
        "--seed=1",
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-shrink",
        "--warnings=off",
        "--request-timeout=15",
    ]
    done = subprocess.run(
        command, cwd=farm.folder, env=farm.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert farm.get("/api/v1/auth/me", token)[0] == 200, "the others were not let in"
    assert " error " not in farm.log, farm.log


def _strict(document: dict[str, Any]) -> dict[str, Any]:
    """@return: the document without what allows any failure: each has to be listed."""
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation["responses"]["default"]
    return document


def _settings(document: dict[str, Any]) -> str:
    """@return: the configuration of schemathesis: ids in paths are those of rows that exist.

    What is deleted belongs to the other organization, so that there is something left to ask for.
    """
    ids = {
        parameter["name"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation["parameters"]
        if parameter["in"] == "path" and parameter["schema"]["type"] == "integer"
    }
    kept, deleted = (
        {**dict.fromkeys(sorted(ids), organization), "user_id": _SUPERVISOR}
        for organization in (NORTH, SOUTH)
    )
    return "\n".join(
        [
            "[parameters]",
            f'"path.device" = "{PUMPS[NORTH]}"',
            *(f'"path.{name}" = {value}' for name, value in kept.items()),
            "[[operations]]",
            'include-method = "DELETE"',
            "[operations.parameters]",
            *(f'"path.{name}" = {value}' for name, value in deleted.items()),
        ]
    )
