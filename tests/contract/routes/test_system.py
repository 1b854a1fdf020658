"""`/system` and `/metrics/series`: what the console shows of the server itself."""

from __future__ import annotations

import pytest

from tests.farm import NORTH, SOUTH, TOKENS, UUIDS
from tests.rows import until
from tests.whole import SECRET, Whole

CONFIGURATION, LEVEL = "/api/v1/system/configuration", "/api/v1/system/log-level"
REFUSALS = "/api/v1/system/refusals"


async def test_the_configuration_is_shown_to_a_system_admin_without_secrets(whole: Whole) -> None:
    token, _ = await whole.sign_in("System Admin")
    reply = await whole.call("GET", CONFIGURATION, token)
    values = {line["key"]: line["value"] for line in reply.data["configuration"]}
    assert values["auth.bcrypt_cost"] == "4"
    assert SECRET not in str(values)


async def test_the_log_level_can_be_changed_while_the_server_runs(whole: Whole) -> None:
    token, _ = await whole.sign_in("System Admin")
    assert (await whole.call("GET", LEVEL, token)).data == {"level": "info"}
    assert (await whole.call("PUT", LEVEL, token, {"level": "debug"})).status == 200
    assert (await whole.call("GET", LEVEL, token)).data == {"level": "debug"}
    assert (await whole.call("PUT", LEVEL, token, {"level": "loud"})).status == 400


@pytest.mark.parametrize("role", ["Org Admin", "Supervisor"])
async def test_nobody_else_sees_or_changes_the_server(whole: Whole, role: str) -> None:
    token, _ = await whole.sign_in(role)
    assert (await whole.call("GET", CONFIGURATION, token)).status == 403
    assert (await whole.call("GET", LEVEL, token)).status == 403
    assert (await whole.call("PUT", LEVEL, token, {"level": "error"})).status == 403


async def test_refusals_are_shown_to_the_organization_of_their_sensor(whole: Whole) -> None:
    for organization in (NORTH, SOUTH):
        path, body = "/api/v1/datastreams/token", {"variableName": "nonsense", "value": "1"}
        assert (await whole.call("POST", path, TOKENS[organization], body)).status >= 400
    writer = whole.services.database.writer  # a refusal is answered before it is written down
    await until(lambda: not writer.queued)
    viewer, stranger = (await whole.sign_in("Viewer"))[0], (await whole.sign_in("stranger"))[0]
    admin = (await whole.sign_in("System Admin"))[0]

    async def seen(token: str, query: str = "") -> list[str]:
        reply = await whole.call("GET", REFUSALS + query, token)
        return [row["uuid"] for row in reply.data["refusals"]]

    assert await seen(viewer) == [UUIDS[NORTH]]
    assert await seen(stranger) == [UUIDS[SOUTH]]
    assert await seen(admin) == [UUIDS[SOUTH], UUIDS[NORTH]]
    assert await seen(admin, "?limit=1") == [UUIDS[SOUTH]]
    for token, counts in ((admin, {"TELEMETRY_NOT_FOUND": 2}), (viewer, {})):
        assert (await whole.call("GET", REFUSALS, token)).data["counts"] == counts
    (row,) = (await whole.call("GET", REFUSALS, viewer)).data["refusals"]
    assert row["code"] == "TELEMETRY_NOT_FOUND"
    assert TOKENS[NORTH] not in str(row)


async def test_the_series_names_the_figures_of_every_sample(whole: Whole) -> None:
    token, _ = await whole.sign_in("Viewer")
    whole.doors.series.start()
    reply = await whole.call("GET", "/api/v1/metrics/series", token)
    whole.doors.series.stop()
    assert {"messagesReceived", "rowsStored", "commitMilliseconds"} <= set(reply.data["series"])
    assert all(len(column) == len(reply.data["times"]) for column in reply.data["series"].values())
