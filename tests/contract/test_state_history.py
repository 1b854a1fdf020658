"""Finding the value of a state costs the same however many it had before."""

from __future__ import annotations

from aemos.storage import device_states
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

_CURRENT = "SELECT * FROM DeviceStateInstance WHERE deviceStateId IN (1) AND toTimestamp IS NULL"
_NEWEST = (
    "SELECT * FROM DeviceStateInstance WHERE deviceStateId = 1"
    " ORDER BY fromTimestamp DESC, id DESC LIMIT 10"
)


async def test_the_open_and_the_newest_value_are_found_by_an_index(database: Database) -> None:
    def sow(tx: Transaction) -> None:
        tx.insert("Device", {"id": 1, "uuid": "d"})
        for number in (1, 2):
            tx.insert("DeviceState", {"id": number, "deviceId": 1, "stateName": f"s{number}"})
        for turn in range(300):
            device_states.replace(tx, 1 + turn % 2, str(turn), "system", None)

    def explain(tx: Transaction) -> list[str]:
        word = "EXPLAIN QUERY PLAN" if tx.dialect.name == "sqlite" else "EXPLAIN"
        return [str(tx.all(f"{word} {sql}")) for sql in (_CURRENT, _NEWEST)]

    await database.transact(sow)
    found = await database.read(device_states.current, [1])
    assert found[1]["value"] == "298"
    history = await database.read(device_states.history, 1, 2)
    assert [row["value"] for row in history] == ["298", "296"]
    current, newest = await database.read(explain)
    assert "open_instance" in current, current
    assert "newest_instance" in newest, newest
    assert "TEMP B-TREE" not in newest
    assert "filesort" not in newest
