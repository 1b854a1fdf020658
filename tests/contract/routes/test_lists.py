"""Pages, order, search and status filters: the same for every list (docs/history.rst)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aemos.storage import listing
from aemos.storage.transaction import Transaction
from tests.farm import Farm

LISTS = {
    "sensors": "/sensors?organizationId=1",
    "sensors of organization": "/sensors/organization/1?x=1",
    "devices": "/devices?organizationId=1",
    "areas": "/areas?organizationId=1",
    "areas of organization": "/areas/organization/1?x=1",
    "telemetryData": "/telemetry?x=1",
    "telemetryData of sensor": "/telemetry/sensor/1?x=1",
}
NAMES = {"telemetryData": "variableName"}


def sow(tx: Transaction) -> None:
    """Three more of everything: "b_1" (no pattern), "B%2", "a3"."""
    for id, name, status in ((11, "b_1", "inactive"), (12, "B%2", "active"), (13, "a3", "active")):
        tx.insert("Sensor", {"id": id, "name": name, "status": status})
        tx.insert("AreaSensor", {"areaId": 1, "sensorId": id})
        tx.insert("Device", {"id": id, "name": name, "status": status, "deviceType": "actuator"})
        tx.insert("AreaDevice", {"areaId": 1, "deviceId": id})
        tx.insert("Area", {"id": id, "name": name, "organizationId": 1, "status": "active"})
        tx.insert(
            "TelemetryData", {"id": id, "variableName": name, "datatype": "int", "sensorId": 1}
        )


class Asked:
    """One list of the farm."""

    def __init__(self, farm: Farm, which: str) -> None:
        self._farm, self._path = farm, LISTS[which]
        self.key = which.partition(" ")[0]
        self.name = NAMES.get(self.key, "name")

    async def reply(self, query: str = "") -> Any:
        return await self._farm.call("GET", f"{self._path}&{query}", "north-viewer")

    async def ids(self, query: str = "") -> Sequence[int]:
        reply = await self.reply(query)
        assert reply.status == 200, reply
        assert reply.body["results"] == len(reply.data[self.key])
        return [row["id"] for row in reply.data[self.key]]


@pytest.mark.parametrize("which", LISTS)
async def test_every_list_pages_sorts_and_searches(farm: Farm, which: str) -> None:
    await farm.database.transact(sow)
    asked = Asked(farm, which)
    plain = await asked.reply()
    assert [row["id"] for row in plain.data[asked.key]] == [1, 11, 12, 13]
    assert "total" not in plain.body
    assert "x-total-count" not in plain.headers
    page = await asked.reply("limit=2&offset=1")
    assert [row["id"] for row in page.data[asked.key]] == [11, 12]
    assert (page.body["total"], page.headers["x-total-count"]) == (4, "4")
    assert await asked.ids("offset=3") == [13]
    assert await asked.ids("limit=5&offset=4") == []
    assert await asked.ids("limit=3&page=2") == [13]
    assert await asked.ids("page=1") == [1, 11, 12, 13]
    assert await asked.ids("page=2") == []
    assert await asked.ids("limit=&offset=&page=&sort=&search=") == [1, 11, 12, 13]
    assert await asked.ids("sort=-id") == [13, 12, 11, 1]
    by_name = await asked.ids(f"sort={asked.name}&limit=3")
    assert by_name[:1] == [13]
    assert await asked.ids("search=_") == [11]
    assert await asked.ids("search=b%25&limit=1") == [12]
    assert await asked.ids("search=nothing") == []
    for query in ("limit=0", "limit=10001", "offset=-1", "page=0", "sort=password", "sort=id,name"):
        reply = await asked.reply(query)
        assert reply.status == 400
        assert f'"{query.partition("=")[0]}"' in reply.body["message"]


@pytest.mark.parametrize("which", ["sensors", "sensors of organization", "devices"])
async def test_a_list_is_narrowed_to_a_status(farm: Farm, which: str) -> None:
    await farm.database.transact(sow)
    asked = Asked(farm, which)
    assert await asked.ids("status=inactive") == [11]
    assert await asked.ids("status=active&sort=-name&limit=1&search=%25") == [12]
    assert (await asked.reply("status=mended")).status == 400


async def test_hidden_areas_are_listed_when_their_status_is_asked_for(farm: Farm) -> None:
    await farm.run("UPDATE Area SET status = 'archived' WHERE id = 1")
    for which in ("areas", "areas of organization"):
        asked = Asked(farm, which)
        assert await asked.ids() == []
        assert await asked.ids("status=archived") == [1]


async def test_a_list_without_a_page_is_cut_with_a_header_that_says_so(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    await farm.database.transact(sow)
    monkeypatch.setattr(listing, "MAX_ROWS", 3)
    reply = await Asked(farm, "sensors").reply()
    assert [row["id"] for row in reply.data["sensors"]] == [1, 11, 12]
    assert reply.body["total"] == 4
    assert reply.headers["x-result-limit"] == "10000"
    paged = await Asked(farm, "sensors").reply("limit=3")
    assert "x-result-limit" not in paged.headers
