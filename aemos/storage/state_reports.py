"""What devices report about their states, and the commands that this confirms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.storage import commands, device_states, devices
from aemos.storage.commands import Step
from aemos.storage.transaction import Row, Transaction

Change = Callable[[Transaction, Row, Row, str, str], object]
"""Sets a state: `StateChanges.set_within`."""


@attrs.define(slots=True, eq=False)
class StateReport:
    """A device says that one of its states is at this value (text).

    The store calls `change` if that is news, and fills in `changed` with what it gives back,
    `confirmed` with the steps of commands, and `problem` if it cannot be true; "" = it can.
    """

    device_uuid: str
    state_name: str
    value: str
    at: Instant
    change: Change
    changed: object = None
    confirmed: list[Step] = attrs.field(factory=list)
    problem: str = ""

    def store(self, tx: Transaction) -> None:
        """Set the state if it was at another value; confirm what was ordered."""
        self.changed, self.confirmed, self.problem = None, [], ""
        device = devices.find_by_uuid(tx, self.device_uuid)
        if device is None:
            self.problem = "only devices have states"
            return
        state = device_states.find_by_name(tx, device["id"], self.state_name)
        if state is None:
            self.problem = f"this device has no state {self.state_name!r}"
            return
        now = device_states.current(tx, [state["id"]]).get(state["id"])
        if now is None or now["value"] != self.value:
            try:
                self.changed = self.change(tx, device, state, self.value, "device")
            except BadRequest as error:
                self.problem = str(error)
                return
        for number in commands.matching(tx, self.device_uuid, self.state_name, self.value):
            step = Step(commands.CONFIRMED, self.at, number, detail="the device reports the state")
            step.store(tx)
            self.confirmed.append(step)


class StateReports:
    """Stores reports in their order."""

    def store(self, tx: Transaction, items: Sequence[StateReport]) -> None:
        for report in items:
            report.store(tx)


STATE_REPORTS = StateReports()
