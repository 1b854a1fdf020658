"""All rule chains in memory, by what makes them run: exact after every change.

(variable) and (device, state) -> chains, out of the conditions of all groups. What belongs to
another organization than a chain is not among them. The newest value of everything that some chain
looks at is kept beside, so that a run reads nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.errors import StorageUnavailable
from aemos.model import Instant
from aemos.services.events import (
    Events,
    IdentityChanged,
    ReadingChanged,
    ReadingDeleted,
    RulesChanged,
)
from aemos.services.rules.execution import Plan
from aemos.services.rules.snapshot import Snapshot
from aemos.services.rules.sources import Reference, Slot, Source, newest, references, resolve, typed
from aemos.storage import rules
from aemos.storage.database import Database
from aemos.storage.rule_triggers import STATE, Trigger
from aemos.storage.rules import Counts
from aemos.storage.transaction import Row, Transaction

_PAUSE = 1.0  # seconds between attempts while the database is away

MAX_DEPTH = 8
"""How many rule actions may follow from each other; what goes on longer goes round in circles."""

TRIGGERED = ("event-triggered", "hybrid")
SCHEDULED = ("schedule-only", "hybrid")
"""Execution types that run on new values, and at the times of their schedule."""


@attrs.define(slots=True, eq=False)
class Watched:
    """A variable or state that chains look at: its newest value, and the chains that it makes run.

    `at` None = no value is known. `judged_at` is the newest time of a reading on its way in.
    """

    slot: Slot
    datatype: str | None = None
    value: Any = None
    at: Instant | None = None
    judged_at: int = 0
    users: dict[int, Chain] = attrs.field(factory=dict)
    chains: Sequence[Chain] = ()

    def put(self, value: str | None, at: Instant) -> None:
        """Take a value over, unless a newer one is known."""
        if self.at is None or at >= self.at:
            self.value, self.at = typed(value, self.datatype), at


@attrs.frozen(slots=True)
class Look:
    """One value that a chain looks at, and whether the chain runs when it changes."""

    source: Source
    watched: Watched
    triggers: bool


@attrs.frozen(eq=False)
class Chain:
    """One chain, ready to run. `row` is its own, `looks` what it sees of the world."""

    id: int
    row: Row
    plan: Plan
    looks: Sequence[Look]
    mentioned: frozenset[str]
    counts: Counts

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def organization_id(self) -> int | None:
        organization_id: int | None = self.row["organizationId"]
        return organization_id

    @property
    def shadow(self) -> bool:
        """Whether it only records what it would do."""
        return bool(self.row["mode"] == "shadow")

    @property
    def off(self) -> bool:
        """Whether nothing makes it run."""
        return bool(self.row["mode"] == "off")

    def snapshot(self, cause: Watched | None = None, value: Any = None, at: Any = None) -> Snapshot:
        """@param cause: has this value at this time here, whatever became of it since.

        @return: the newest values of what the chain looks at.
        """
        data = Snapshot()
        for look in self.looks:
            source, watched = look.source, look.watched
            if watched is cause:
                data.put(source.kind, source.uuid, source.key, value, at)
            elif watched.at is not None:
                data.put(source.kind, source.uuid, source.key, watched.value, watched.at)
        return data


@attrs.frozen
class Loaded:
    """What was read for some chains: rows, nodes, and what they refer to."""

    chains: Sequence[Row]
    nodes: dict[int, list[Row]]
    sources: dict[tuple[int | None, Reference], Source]


def load(tx: Transaction, chain_ids: Sequence[int]) -> Loaded:
    """Read chains with all that they refer to; those that are gone are missing."""
    chains = rules.chains_by_id(tx, chain_ids)
    nodes = rules.nodes_of(tx, [chain["id"] for chain in chains])
    wanted = {
        (chain["organizationId"], name)
        for chain in chains
        for name in references(nodes[chain["id"]], "filter", "transform")
    }
    return Loaded(chains, nodes, resolve(tx, wanted))


def chain_of(row: Row, loaded: Loaded, watched: Mapping[Slot, Watched]) -> Chain:
    """@param watched: has everything that was found; the chain sees the values there."""
    nodes = loaded.nodes[row["id"]]
    runs = row["executionType"] in TRIGGERED
    conditions = references(nodes, "filter")
    named = references(nodes, "filter", "transform")
    looks: dict[Slot, Look] = {}
    for name in named:
        source = loaded.sources.get((row["organizationId"], name))
        if source is not None:
            known = looks.get(source.slot)
            triggers = runs and (name in conditions or (known is not None and known.triggers))
            looks[source.slot] = Look(source, watched[source.slot], triggers)
    mentioned = frozenset(name.uuid.lower() for name in named)
    plan, counts = Plan.of(nodes), counts_of(row)
    return Chain(row["id"], row, plan, tuple(looks.values()), mentioned, counts)


def counts_of(row: Row) -> Counts:
    """@return: how often a chain had run when its row was read."""
    return Counts(
        row["executionCount"] or 0,
        row["failureCount"] or 0,
        row["lastExecutedAt"],
        row["lastErrorAt"],
    )


class Rulebook:
    """Knows every chain. `watched` is what the hot path asks: nothing in it = nobody cares."""

    _log = Logger()

    def __init__(self, database: Database, events: Events, clock: IReactorTime) -> None:
        self._database, self._events, self._clock = database, events, clock
        self.chains: dict[int, Chain] = {}
        self.watched: dict[Slot, Watched] = {}
        self._mentioned: dict[str, set[int]] = {}
        self._stale: set[int] = set()
        self._waiting: list[Deferred[None]] = []
        self._loading = False
        self._retry: IDelayedCall | None = None
        self._stopped = False
        events.subscribe(IdentityChanged, self._identity_changed)
        events.subscribe(ReadingChanged, lambda event: self._forget(event.row["telemetryDataId"]))
        events.subscribe(ReadingDeleted, lambda event: self._forget(event.telemetry_id))

    async def start(self) -> None:
        """Read all chains. @raise StorageUnavailable: the database cannot tell."""
        self._loading = True
        try:
            await self._read(await self._database.read(rules.all_ids))
        finally:
            self._loading = False
        if self._stale or self._waiting:
            self._outdated(())

    def stop(self) -> None:
        """Read nothing any more."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def reload(self, chain_ids: Iterable[int]) -> Deferred[None]:
        """Read chains again that changed, or came, or went.

        @return: fires when the book tells the change; at once while the database is away, which is
            tried again until it answers.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self._outdated(chain_ids)
        return done

    def _outdated(self, chain_ids: Iterable[int]) -> None:
        self._stale.update(chain_ids)
        if not self._loading and self._retry is None and not self._stopped:
            self._loading = True
            loading = ensureDeferred(self._load())
            loading.addErrback(lambda failure: self._log.failure("loading rules failed", failure))
        elif self._retry is not None or self._stopped:
            self._tell(self._taken())

    async def _load(self) -> None:
        try:
            while self._stale or self._waiting:
                chain_ids, self._stale = sorted(self._stale), set()
                waiting = self._taken()
                try:
                    await self._read(chain_ids)
                except StorageUnavailable as error:
                    self._log.warn("changed rules not read yet: {error}", error=error)
                    self._stale.update(chain_ids)
                    waiting += self._taken()
                    if not self._stopped:
                        self._retry = self._clock.callLater(_PAUSE, self._load_again)
                    return
                finally:
                    self._tell(waiting)
        finally:
            self._loading = False

    def _load_again(self) -> None:
        self._retry = None
        self._outdated(())

    def _taken(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _tell(self, waiting: Iterable[Deferred[None]]) -> None:
        for done in waiting:
            done.callback(None)

    def follow(
        self, device_id: int, state: str, value: str, at: Instant, depth: int
    ) -> Trigger | None:
        """Be a `state_changes.Follow`; called in a thread, so it only looks.

        @return: a trigger to be stored with the new value of the state.
        """
        watched = self.watched.get((device_id, state))
        if watched is None or not watched.chains:
            return None
        if depth > MAX_DEPTH:
            self._log.warn(
                "rule chains go round in circles: state {state} of device {device} was set by the"
                " {depth}th action in a row, and makes no further chain run",
                state=state,
                device=device_id,
                depth=depth,
            )
            return None
        return Trigger(STATE, device_id, state, value, at, depth)

    # ---- what is known

    async def _read(self, chain_ids: Sequence[int]) -> None:
        loaded = await self._database.read(load, chain_ids)
        # First listen, then look: a value that comes in between is not missed.
        for source in loaded.sources.values():
            watched = self.watched.setdefault(source.slot, Watched(source.slot))
            watched.datatype = source.datatype
        known = await self._database.read(newest, loaded.sources.values())
        now = Instant.of(self._clock.seconds())
        for slot, row in known.items():
            # A clock that runs ahead must not make every later value look old.
            at = Instant(min(row["at"], now))
            self.watched[slot].put(row["value"], at)
            self.watched[slot].judged_at = max(self.watched[slot].judged_at, at)
        self._take_over(chain_ids, loaded)

    def _take_over(self, chain_ids: Collection[int], loaded: Loaded) -> None:
        slots = {source.slot for source in loaded.sources.values()}
        for chain_id in chain_ids:
            slots.update(self._drop(chain_id))
        for row in loaded.chains:
            try:
                self._add(row, loaded)
            except Exception:
                self._log.failure("rule chain {chain} cannot be used", chain=row["id"])
        for slot in slots:
            if not self.watched[slot].users:
                del self.watched[slot]
        self._events.publish(RulesChanged(frozenset(chain_ids)))

    def _drop(self, chain_id: int) -> list[Slot]:
        """Take a chain out. @return: what it looked at."""
        chain = self.chains.pop(chain_id, None)
        if chain is None:
            return []
        for uuid in chain.mentioned:
            chains = self._mentioned[uuid]
            chains.discard(chain_id)
            if not chains:
                del self._mentioned[uuid]
        for look in chain.looks:
            watched = look.watched
            watched.users.pop(chain_id, None)
            watched.chains = [each for each in watched.chains if each.id != chain_id]
        return [look.watched.slot for look in chain.looks]

    def _add(self, row: Row, loaded: Loaded) -> None:
        chain = chain_of(row, loaded, self.watched)
        chain_id = chain.id
        self.chains[chain_id] = chain
        for uuid in chain.mentioned:
            self._mentioned.setdefault(uuid, set()).add(chain_id)
        for look in chain.looks:
            look.watched.users[chain_id] = chain
            if look.triggers and not chain.off:
                chains = [*look.watched.chains, chain]
                look.watched.chains = sorted(chains, key=lambda each: each.id)

    def _identity_changed(self, event: IdentityChanged) -> None:
        chain_ids = self._mentioned.get(event.uuid.lower())
        if chain_ids:
            self._outdated(chain_ids)

    def _forget(self, variable_id: int) -> None:
        """A reading was edited: what is in the database now is the newest value."""
        watched = self.watched.get(variable_id)
        if watched is not None:
            watched.value, watched.at, watched.judged_at = None, None, 0
            self._outdated(tuple(watched.users))
