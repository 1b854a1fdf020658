"""Gives the actions of chains their effect: in order, each once, many in a transaction.

What a chain changes for a trigger is noted in the transaction that changes it. So a run that is
repeated after a crash changes nothing again, and what was changed, but perhaps not told any more,
can be told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from aemos import json
from aemos.errors import AemosError, BadRequest, RowRefused, StorageUnavailable
from aemos.model import Instant
from aemos.services.events import DeviceStateChanged, Events
from aemos.services.rules.execution import Command, Run
from aemos.services.rules.queue import RuleQueue
from aemos.services.rules.rulebook import Chain
from aemos.services.state_changes import StateChanges
from aemos.storage import rule_triggers, rules
from aemos.storage.database import Database
from aemos.storage.rule_triggers import Trigger
from aemos.storage.transaction import Transaction

_AT_ONCE = 100  # firings in a transaction
_ATTEMPTS = 3  # for what the database does not take though it answers
_WITHHELD = "the rule chain was changed or deleted before that"
_PAUSE = 0.5  # seconds before the second attempt; twice as long before each further one


@attrs.define
class Applied:
    """What became of one firing: changes to be told, and errors by node."""

    changes: list[DeviceStateChanged] = attrs.field(factory=list)
    errors: dict[int, str] = attrs.field(factory=dict)
    unchanged: set[int] = attrs.field(factory=set)


@attrs.define(eq=False)
class Firing:
    """A chain that has reached actions. `trigger` is None where a user asked for the run.

    `done(failed)` is called when the effects are there, or were given up. `applied` is what the
    last transaction wrote, which may have been committed or not.
    """

    chain: Chain
    run: Run
    trigger: Trigger | None
    done: Callable[[bool], object]
    applied: Applied = attrs.field(factory=Applied)


class Effects:
    """Applies firings one after the other, so that of two that concern one state the later wins."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        changes: StateChanges,
        events: Events,
        clock: IReactorTime,
        queue: RuleQueue[Any],
        only_new: bool,
    ) -> None:
        """@param only_new: an action that asks for what is already so has no effect."""
        self._database, self._changes, self._events = database, changes, events
        self._clock, self._queue, self._only_new = clock, queue, only_new
        self._waiting: deque[Firing] = deque()
        self._working: Deferred[None] | None = None
        self._stopped = False

    def put(self, firing: Firing) -> None:
        """Let the actions of a run have their effect."""
        self._waiting.append(firing)
        if self._working is None and not self._stopped:
            self._working = ensureDeferred(self._work())
            self._working.addErrback(
                lambda failure: self._log.failure("effects of rules failed", failure)
            )

    async def stop(self) -> None:
        """Finish what has begun; the rest is done after the next start."""
        self._stopped = True
        if self._working is not None:
            await self._working

    async def _work(self) -> None:
        try:
            while self._waiting and not self._stopped:
                count = min(len(self._waiting), _AT_ONCE)
                batch = [self._waiting.popleft() for _ in range(count)]
                try:
                    await self._apply(batch)
                except Exception:
                    for firing in batch:  # one of them is to blame, or the database is away
                        await self._persist(firing)
        finally:
            self._working = None

    async def _persist(self, firing: Firing) -> None:
        """Try again what failed, alone; a database that is away is waited for."""
        attempts = 1
        while not self._stopped:
            try:
                await self._apply([firing])
                return
            except StorageUnavailable:
                await self._pause(_PAUSE)
            except RowRefused as error:
                self._give_up(firing, str(error))
                return
            except Exception:
                if attempts == _ATTEMPTS:
                    self._log.failure("actions of rule chain {id} failed", id=firing.chain.id)
                    self._give_up(firing, "a fault of the server")
                    return
                await self._pause(_PAUSE * 2 ** (attempts - 1))
                attempts += 1

    def _give_up(self, firing: Firing, reason: str) -> None:
        firing.run.errors.append(f"the actions failed: {reason}")
        firing.done(True)

    async def _pause(self, seconds: float) -> None:
        self._queue.delayed += 1
        try:
            await deferLater(self._clock, seconds, lambda: None)
        finally:
            self._queue.delayed -= 1

    async def _apply(self, firings: Sequence[Firing]) -> None:
        outcomes = await self._database.transact(self._write, firings)
        for firing, outcome in zip(firings, outcomes, strict=True):
            self._tell(firing, outcome)

    def _tell(self, firing: Firing, outcome: Applied) -> None:
        for action in firing.run.actions:
            node_id = action["nodeId"]
            error = outcome.errors.get(node_id)
            if error is not None:
                action |= {"status": "error", "error": error}
                firing.run.errors.append(f"node {node_id}: {error}")
                self._log.warn(
                    "action {node} of rule chain {chain} has no effect: {error}",
                    node=node_id,
                    chain=firing.chain.id,
                    error=error,
                )
            elif action["status"] == "success" and node_id not in outcome.unchanged:
                action["notificationSent"] = True
        for change in outcome.changes:
            self._events.publish(change)
        firing.done(False)

    # ---- in a thread

    def _write(self, tx: Transaction, firings: Sequence[Firing]) -> list[Applied]:
        triggers = {
            firing.trigger.id
            for firing in firings
            if firing.trigger is not None and firing.trigger.id is not None
        }
        before = rule_triggers.already_applied(tx, triggers)
        # Whoever has changed or deleted a chain was told that it does nothing more.
        live = rules.live(tx, {firing.chain.id for firing in firings})
        return [self._write_one(tx, firing, before, live) for firing in firings]

    def _write_one(
        self, tx: Transaction, firing: Firing, before: set[tuple[int, int]], live: set[int]
    ) -> Applied:
        chain = firing.chain
        trigger_id = None if firing.trigger is None else firing.trigger.id
        if trigger_id is not None and (trigger_id, chain.id) in before:
            # By an earlier process, which is told at the start, or by a transaction of which the
            # database did not say any more that it was committed.
            return firing.applied
        outcome = firing.applied = Applied()
        if chain.id not in live:
            outcome.errors = {command.node_id: _WITHHELD for command in firing.run.commands}
            return outcome
        depth = 1 if firing.trigger is None else firing.trigger.depth + 1
        for command in firing.run.commands:
            try:
                change = self._change(tx, chain, command, depth)
            except AemosError as error:
                outcome.errors[command.node_id] = str(error)
                continue
            if change is None:
                outcome.unchanged.add(command.node_id)
            else:
                outcome.changes.append(change)
        if trigger_id is not None:
            noted = [_noted(change) for change in outcome.changes]
            rule_triggers.note_applied(tx, trigger_id, chain.id, noted)
        return outcome

    def _change(
        self, tx: Transaction, chain: Chain, command: Command, depth: int
    ) -> DeviceStateChanged | None:
        if not isinstance(command.value, (str, int, float)):
            raise BadRequest("the value of a command must be text, a number, true or false")
        rule = {
            "ruleChainId": chain.id,
            "ruleChainName": chain.name,
            "nodeId": command.node_id,
        }
        return self._changes.set_by_rule(
            tx,
            chain.organization_id,
            command.device_uuid,
            command.state_name,
            json.text(command.value),
            rule,
            depth,
            self._only_new,
            command.limit,
        )


def _noted(change: DeviceStateChanged) -> dict[str, Any]:
    return {
        field.name: getattr(change, field.name)
        for field in attrs.fields(DeviceStateChanged)
        if field.name not in ("trigger", "timer")  # both are in the database
    }


def remembered(noted: Mapping[str, Any]) -> DeviceStateChanged:
    """@return: a change that was noted by an earlier process, to be told once more."""
    times = {name: Instant.parse(noted[name]) for name in ("at", "stop_at") if noted.get(name)}
    return DeviceStateChanged(**{**noted, **times})
