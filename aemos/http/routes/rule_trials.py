"""`/rule-chains/:id/runs` and `/replay`: what a chain does, and what it would have done."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import Struct

from aemos.errors import BadRequest
from aemos.http.ranges import moment
from aemos.http.render import Answer, Shape, success
from aemos.http.routes.rule_chains import MaybeOfOrganization
from aemos.http.routing import Call, route
from aemos.http.schemas import Id
from aemos.model import Instant
from aemos.services.rules.journal import Journal
from aemos.services.rules.replays import Replays


class Past(Struct, kw_only=True):
    """Body of `POST /rule-chains/:id/replay`: a stretch of time; `to` itself is left out."""

    from_: str = msgspec.field(name="from")
    to: str
    organizationId: Id | None = None

    @property
    def start(self) -> Instant:
        """@raise BadRequest: no time."""
        return _time("from", self.from_)

    @property
    def end(self) -> Instant:
        """@raise BadRequest: no time."""
        return _time("to", self.to)


def _time(field: str, text: str) -> Instant:
    try:
        at = moment(field, text)
    except BadRequest:
        at = None
    if at is None:
        raise BadRequest(f'"{field}" must be a valid date')
    return at


class RuleTrialRoutes:
    """Ways to see what a chain does before it is trusted."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/rule-chains",)

    def __init__(self, journal: Journal, replays: Replays) -> None:
        self._journal, self._replays = journal, replays

    @route("GET", "/<chain_id>/runs", permission="rule.view", errors=Shape.E2, data=[dict])
    async def list_runs(self, call: Call, chain_id: int, query: MaybeOfOrganization) -> Answer:
        """List the last runs of a chain, newest first, with their path through its nodes."""
        runs = await self._journal.runs(call.principal, chain_id, query.organizationId)
        return success(data=runs)

    @route("POST", "/<chain_id>/replay", permission="rule.update", errors=Shape.E2, data=dict)
    async def replay(
        self, call: Call, chain_id: int, query: MaybeOfOrganization, body: Past
    ) -> Answer:
        """Run a chain over stored readings; nothing is changed. 202 while it still runs."""
        stated = body.organizationId or query.organizationId
        job = await self._replays.begin(call.principal, chain_id, stated, body.start, body.end)
        return success(data=job.wire(), status=202 if job.status == "running" else 200)

    @route("GET", "/<chain_id>/replay/<run_id>", permission="rule.view", errors=Shape.E2, data=dict)
    async def replayed(
        self, call: Call, chain_id: int, run_id: str, query: MaybeOfOrganization
    ) -> Answer:
        """Tell how far a replay is, and what came of it."""
        job = await self._replays.get(call.principal, chain_id, query.organizationId, run_id)
        return success(data=job.wire())

    @route(
        "DELETE",
        "/<chain_id>/replay/<run_id>",
        permission="rule.update",
        status=204,
        errors=Shape.E2,
    )
    async def cancel(
        self, call: Call, chain_id: int, run_id: str, query: MaybeOfOrganization
    ) -> Answer:
        """Stop a replay, or forget one that is over."""
        await self._replays.cancel(call.principal, chain_id, query.organizationId, run_id)
        return Answer()
