"""Replays of rule chains as jobs: begun, watched and cancelled by users."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import AemosError, BadRequest, NotFound, TooManyRequests
from aemos.model import Instant, Principal
from aemos.services.areas import random_uuid
from aemos.services.rules.chains import chain_for
from aemos.services.rules.evaluation import Evaluation
from aemos.services.rules.replay import Replay
from aemos.storage.database import Database

KEPT = 50
"""How many replays are remembered after their end."""

_PATIENCE = 1.0  # seconds: what ends sooner is answered at once


@attrs.define(eq=False)
class Job:
    """One replay. `status` is running, done, cancelled or failed."""

    id: str
    chain_id: int
    organization_id: int | None
    start: Instant
    end: Instant
    replay: Replay
    started_at: Instant
    ended_at: Instant | None = None
    status: str = "running"
    error: str = ""
    ended: Deferred[None] = attrs.field(factory=Deferred)

    def wire(self) -> dict[str, Any]:
        """@return: as clients see it."""
        outcome = self.replay.outcome
        error = {"error": self.error} if self.error else {}
        return {
            "id": self.id,
            "ruleChainId": self.chain_id,
            "from": self.start,
            "to": self.end,
            "status": self.status,
            "progress": round(self.replay.progress, 4),
            "startedAt": self.started_at,
            "endedAt": self.ended_at,
            "evaluations": outcome.evaluations,
            "fired": outcome.fired,
            "truncated": outcome.fired > len(outcome.firings),
            "firings": outcome.firings,
            "errors": outcome.errors,
            **error,
        }


class Replays:
    """Few at once, one of an organization, so that live rules and readings have their time."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        evaluation: Evaluation,
        clock: IReactorTime,
        limit: int,
        new_id: Callable[[], str] = random_uuid,
    ) -> None:
        """@param limit: how many may run at once."""
        self._database, self._evaluation, self._clock = database, evaluation, clock
        self._limit, self._new_id = limit, new_id
        self._jobs: dict[str, Job] = {}

    async def begin(
        self, by: Principal, chain_id: int, stated: int | None, start: Instant, end: Instant
    ) -> Job:
        """@return: the job; a short one is over already.

        @raise BadRequest: the end is not after the start.
        @raise TooManyRequests: another one runs for the organization, or enough of them in all.
        @raise NotFound, Forbidden: as `chains.chain_for`, for rule.update.
        """
        row = await self._database.read(chain_for, by, "rule.update", chain_id, stated)
        if start >= end:
            raise BadRequest('"to" must be later than "from"')
        running = [job for job in self._jobs.values() if job.status == "running"]
        organization_id = row["organizationId"]
        if any(job.organization_id == organization_id for job in running):
            raise TooManyRequests("a replay runs for this organization already")
        if len(running) >= self._limit:
            raise TooManyRequests("enough replays run just now")
        replay = Replay(self._database, self._evaluation, self._clock, chain_id, start, end)
        job = Job(self._new_id(), chain_id, organization_id, start, end, replay, self._now())
        self._keep(job)
        running_job = ensureDeferred(replay.run())
        running_job.addCallbacks(lambda _: self._done(job), lambda why: self._failed(job, why))
        running_job.addErrback(lambda why: self._log.failure("a replay failed", why))
        waiting: Deferred[None] = Deferred()
        job.ended.addCallback(lambda _: None if waiting.called else waiting.callback(None))
        with contextlib.suppress(TimeoutError):
            await waiting.addTimeout(_PATIENCE, self._clock)
        return job

    async def get(self, by: Principal, chain_id: int, stated: int | None, job_id: str) -> Job:
        """@raise NotFound: no such replay of this chain. @raise: as `chain_for`, for rule.view."""
        await self._database.read(chain_for, by, "rule.view", chain_id, stated)
        return self._job(chain_id, job_id)

    async def cancel(self, by: Principal, chain_id: int, stated: int | None, job_id: str) -> None:
        """Stop a replay, or forget one that is over.

        @raise NotFound: no such replay of this chain. @raise: as `chain_for`, for rule.update.
        """
        await self._database.read(chain_for, by, "rule.update", chain_id, stated)
        job = self._job(chain_id, job_id)
        if job.status == "running":
            job.replay.cancelled = True
            await _end_of(job)
        else:
            del self._jobs[job_id]

    async def stop(self) -> None:
        """Stop all that run."""
        for job in list(self._jobs.values()):
            if job.status == "running":
                job.replay.cancelled = True
                await _end_of(job)

    def _job(self, chain_id: int, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.chain_id != chain_id:
            raise NotFound("Replay not found")
        return job

    def _keep(self, job: Job) -> None:
        over = [each.id for each in self._jobs.values() if each.status != "running"]
        for job_id in over[: max(0, len(over) + 1 - KEPT)]:
            del self._jobs[job_id]
        self._jobs[job.id] = job

    def _done(self, job: Job) -> None:
        self._end(job, "cancelled" if job.replay.cancelled else "done")

    def _failed(self, job: Job, why: Failure) -> None:
        if why.check(AemosError, TimeoutError):
            job.error = why.getErrorMessage() or "the chain takes too long"
        else:
            self._log.failure("replay of rule chain {chain} failed", why, chain=job.chain_id)
            job.error = "a fault of the server"
        self._end(job, "failed")

    def _end(self, job: Job, status: str) -> None:
        job.status, job.ended_at = status, self._now()
        job.ended.callback(None)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _end_of(job: Job) -> Deferred[None]:
    """@return: fires when the job has ended."""
    waiting: Deferred[None] = Deferred()
    job.ended.addCallback(lambda _: waiting.callback(None))
    return waiting
