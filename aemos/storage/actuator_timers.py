"""Timers that switch actuators off again: the SQL of `actuator_timer`.

An actuator is named by its device and a key: `state:<name>`, or `stop:<digest>` of the command that
stops it. It has one timer at most; a new one gets a new id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction

TimerRow = Row


def find(tx: Transaction, timer_id: int) -> TimerRow | None:
    """@return: the timer, its row locked."""
    return tx.one(f"SELECT * FROM actuator_timer WHERE id = %s{tx.dialect.for_update}", (timer_id,))


def every(tx: Transaction) -> list[TimerRow]:
    """@return: all timers that run."""
    return tx.all("SELECT * FROM actuator_timer ORDER BY id")


def counts(tx: Transaction) -> dict[str, int]:
    """@return: uuid of a device -> how many timers it has, for those that have some."""
    rows = tx.all("SELECT device_uuid, COUNT(*) AS timers FROM actuator_timer GROUP BY device_uuid")
    return {row["device_uuid"]: int(row["timers"]) for row in rows}


def begin(tx: Transaction, values: Mapping[str, Any]) -> TimerRow:
    """Start a timer; the actuator has none. @param values: its columns."""
    # Commands up to now were given before, or start it: only what follows can end the timer.
    newest = tx.value(
        "SELECT MAX(id) FROM command WHERE device_uuid = %s", (values["device_uuid"],)
    )
    row = {**values, "mark": newest or 0, "next_at": values["stop_at"], "attempts": 0}
    return {"stop_command": None, **row, "id": tx.insert("actuator_timer", row)}


def of_actuator(tx: Transaction, device_uuid: str, actuator: str) -> TimerRow | None:
    """@return: the timer of an actuator, its row locked."""
    return tx.one(
        "SELECT * FROM actuator_timer WHERE device_uuid = %s AND actuator = %s"
        f"{tx.dialect.for_update}",
        (device_uuid, actuator),
    )


def stopped(tx: Transaction, command: Row) -> TimerRow | None:
    """End the timer of an actuator if this command, which is confirmed, was given after its start
    and is what the timer would bring about.
    """
    timer = of_actuator(tx, command["device_uuid"], command["actuator"] or "")
    if timer is None or timer["mark"] >= command["id"]:
        return None
    if timer["off_value"] is not None and timer["off_value"] != command["state_value"]:
        return None
    end(tx, timer["id"])
    return timer


def attempted(tx: Transaction, timer: TimerRow, stop_command: int, next_at: Instant) -> TimerRow:
    """Note one more attempt to stop. @return: the timer as it is now."""
    changes = {
        "stop_command": stop_command,
        "attempts": timer["attempts"] + 1,
        "next_at": next_at,
    }
    tx.update("actuator_timer", timer["id"], changes)
    return {**timer, **changes}


def end(tx: Transaction, timer_id: int) -> None:
    tx.execute("DELETE FROM actuator_timer WHERE id = %s", (timer_id,))
