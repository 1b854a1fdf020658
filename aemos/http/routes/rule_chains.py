"""`/rule-chains`: chains, their nodes, and runs of them (spec/http-api.md section 4.11)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from aemos.http.render import Answer, Shape, success
from aemos.http.routing import Call, route
from aemos.http.schemas import UNSET, FreeQuery, Id, OfOrganization, Stated, UnsetType, given
from aemos.services.access import NotStated
from aemos.services.rules.chains import RuleChains
from aemos.services.rules.runs import RuleRuns
from aemos.services.rules.snapshot import Snapshot

ChainName = Annotated[str, Meta(min_length=1, max_length=100)]
NodeName = Annotated[str, Meta(min_length=1, max_length=255)]
NodeType = Literal["filter", "transform", "action"]
Number = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Config = str | dict[str, Any] | None
Items = Annotated[list[dict[str, Any]], Meta(max_length=10_000)]


class MaybeOfOrganization(FreeQuery):
    """`?organizationId=`: which organization the caller says owns the chain."""

    organizationId: Id | None = None


class _ChainDetails(Struct, kw_only=True):
    """What the bodies of `POST` and `PATCH` share; unknown keys are ignored, as before."""

    organizationId: Id | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    executionType: Literal["event-triggered", "schedule-only", "hybrid"] | UnsetType = UNSET
    scheduleEnabled: bool | UnsetType = UNSET
    cronExpression: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    timezone: Annotated[str, Meta(max_length=50)] | UnsetType = UNSET
    mode: Literal["live", "shadow", "off"] | UnsetType = UNSET
    priority: Number | UnsetType = UNSET
    maxRetries: Number | UnsetType = UNSET
    retryDelay: Number | UnsetType = UNSET
    scheduleMetadata: Any | UnsetType = UNSET

    def columns(self) -> dict[str, Any]:
        """@return: what was sent, without the organization: it never changes."""
        return {name: value for name, value in given(self).items() if name != "organizationId"}

    def stated(self, query: MaybeOfOrganization) -> int | None:
        """@return: the organization of the body, else that of the query."""
        return self.organizationId or query.organizationId


class NewChain(_ChainDetails, kw_only=True):
    """Body of `POST /rule-chains`."""

    name: ChainName


class ChainChange(_ChainDetails, kw_only=True):
    """Body of `PATCH /rule-chains/:id`."""

    name: ChainName | UnsetType = UNSET


class NewNode(Struct, kw_only=True):
    """Body of `POST /rule-chains/nodes`; the config is JSON text or an object."""

    name: NodeName
    type: NodeType
    ruleChainId: Id | None = None
    config: Config = None
    nextNodeId: Id | None = None
    organizationId: Id | None = None


class NodeChange(Struct, kw_only=True):
    """Body of `PATCH /rule-chains/nodes/:id`."""

    name: NodeName | UnsetType = UNSET
    type: NodeType | UnsetType = UNSET
    config: Config | UnsetType = UNSET
    nextNodeId: Id | UnsetType | None = UNSET
    organizationId: Id | None = None


class Data(Struct, kw_only=True):
    """Body of `POST /rule-chains/:id/execute`: items `{UUID, <name>: <value>, timestamp?}`."""

    sensorData: Items | None = None
    deviceData: Items | None = None
    organizationId: Id | None = None


class Trigger(Struct, kw_only=True):
    """Body of `POST /rule-chains/:id/trigger`."""

    organizationId: Id | None = None


class RuleChainRoutes:
    """Rule chains of one organization."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/rule-chains",)

    def __init__(self, chains: RuleChains, runs: RuleRuns) -> None:
        self._chains, self._runs = chains, runs

    @route(
        "GET",
        "",
        permission="rule.view",
        permission_first=True,
        errors=Shape.E2,
        data=["RuleChain"],
    )
    async def list_all(self, call: Call, query: OfOrganization) -> Answer:
        """List the chains of an organization with their nodes."""
        return success(data=await self._chains.listed(call.principal, query.organizationId))

    @route("POST", "", permission="rule.create", status=201, errors=Shape.E2, data="RuleChain")
    async def create(self, call: Call, query: MaybeOfOrganization, body: NewChain) -> Answer:
        """Make a chain."""
        organization_id = body.stated(query)
        if organization_id is None:
            raise NotStated("Organization ID is required")
        values = {**body.columns(), "organizationId": organization_id}
        return success(data=await self._chains.create(call.principal, values))

    @route(
        "POST",
        "/nodes",
        permission="rule.update",
        status=201,
        errors=Shape.E2,
        data="RuleChainNode",
    )
    async def create_node(self, call: Call, query: MaybeOfOrganization, body: NewNode) -> Answer:
        """Make a node of a chain."""
        if body.ruleChainId is None:
            raise NotStated("Resource ID (id) is required")
        values = given(body)
        del values["organizationId"]
        stated = body.organizationId or query.organizationId
        return success(data=await self._chains.create_node(call.principal, stated, values))

    @route("GET", "/nodes/<node_id>", permission="rule.view", errors=Shape.E2, data="RuleChainNode")
    async def get_node(self, call: Call, node_id: int, query: MaybeOfOrganization) -> Answer:
        """Show a node and the one that follows it."""
        return success(data=await self._chains.node(call.principal, node_id, query.organizationId))

    @route(
        "PATCH", "/nodes/<node_id>", permission="rule.update", errors=Shape.E2, data="RuleChainNode"
    )
    async def change_node(
        self, call: Call, node_id: int, query: MaybeOfOrganization, body: NodeChange
    ) -> Answer:
        """Change a node."""
        changes = given(body)
        stated = changes.pop("organizationId") or query.organizationId
        row = await self._chains.change_node(call.principal, node_id, stated, changes)
        return success(data=row)

    @route("DELETE", "/nodes/<node_id>", permission="rule.delete", status=204, errors=Shape.E2)
    async def delete_node(
        self, call: Call, node_id: int, query: MaybeOfOrganization, body: Stated
    ) -> Answer:
        """Delete a node."""
        stated = body.organizationId or query.organizationId
        await self._chains.delete_node(call.principal, node_id, stated)
        return Answer()

    @route("GET", "/<chain_id>", permission="rule.view", errors=Shape.E2, data="RuleChain")
    async def get(self, call: Call, chain_id: int, query: MaybeOfOrganization) -> Answer:
        """Show a chain with its nodes."""
        return success(data=await self._chains.get(call.principal, chain_id, query.organizationId))

    @route("PATCH", "/<chain_id>", permission="rule.update", errors=Shape.E2, data="RuleChain")
    async def change(
        self, call: Call, chain_id: int, query: MaybeOfOrganization, body: ChainChange
    ) -> Answer:
        """Change a chain."""
        row = await self._chains.change(
            call.principal, chain_id, body.stated(query), body.columns()
        )
        return success(data=row)

    @route("DELETE", "/<chain_id>", permission="rule.delete", status=204, errors=Shape.E2)
    async def delete(
        self, call: Call, chain_id: int, query: MaybeOfOrganization, body: Stated
    ) -> Answer:
        """Delete a chain with its nodes."""
        stated = body.organizationId or query.organizationId
        await self._chains.delete(call.principal, chain_id, stated)
        return Answer()

    @route(
        "GET",
        "/<chain_id>/nodes",
        permission="rule.view",
        errors=Shape.E2,
        data=["RuleChainNode"],
    )
    async def list_nodes(self, call: Call, chain_id: int, query: MaybeOfOrganization) -> Answer:
        """List the nodes of a chain by name."""
        rows = await self._chains.nodes(call.principal, chain_id, query.organizationId)
        return success(data=rows)

    @route("POST", "/<chain_id>/execute", permission="rule.update", errors=Shape.E2, data=dict)
    async def execute(
        self, call: Call, chain_id: int, query: MaybeOfOrganization, body: Data
    ) -> Answer:
        """Run a chain over the data of the request; nothing is changed and nobody is told."""
        stated = body.organizationId or query.organizationId
        data = Snapshot.of(body.sensorData or (), body.deviceData or ())
        return success(data=await self._runs.execute(call.principal, chain_id, stated, data))

    @route("POST", "/<chain_id>/trigger", permission="rule.update", errors=Shape.E2, data=dict)
    async def trigger(
        self, call: Call, chain_id: int, query: MaybeOfOrganization, body: Trigger
    ) -> Answer:
        """Run a chain over the data of now, with the effects of its actions."""
        stated = body.organizationId or query.organizationId
        return success(data=await self._runs.trigger(call.principal, chain_id, stated))
