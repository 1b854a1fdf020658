"""Rule chains and their nodes, for every door (spec/http-api.md section 4.11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aemos.errors import BadRequest, DuplicateRow, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.rules import configs
from aemos.services.rules.cron import times
from aemos.services.rules.rulebook import Rulebook
from aemos.storage import areas, rules
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_NAME_TAKEN = "A node with this name already exists in this rule chain"
_ANY_TIME = Instant.parse("2026-01-01T00:00:00Z")


@attrs.define
class RuleChains:
    """Lists, makes, changes and deletes chains and nodes; every call says for whom.

    `stated` is the organization that the caller says owns the chain (rule OWN). A chain on its way
    out has its `nodes` where that is said, a node its `config` as an object. Whoever is answered
    finds the change in force.
    """

    _database: Database
    _book: Rulebook

    async def listed(self, by: Principal, organization_id: int) -> list[Row]:
        """@return: the chains of an organization with their nodes.

        @raise Forbidden: not a member, or no rule.view there.
        """
        access.require_member(by, organization_id)
        access.require(by, "rule.view", organization_id)

        def read(tx: Transaction) -> list[Row]:
            chains = rules.chains_of(tx, organization_id)
            nodes = rules.nodes_of(tx, [chain["id"] for chain in chains])
            return [
                {**chain, "nodes": [shown(node) for node in nodes[chain["id"]]]} for chain in chains
            ]

        return await self._database.read(read)

    async def get(self, by: Principal, chain_id: int, stated: int | None) -> Row:
        """@return: the chain with its nodes. @raise: as `chain_for`."""

        def read(tx: Transaction) -> Row:
            chain = chain_for(tx, by, "rule.view", chain_id, stated)
            nodes = rules.nodes_of(tx, [chain_id])[chain_id]
            return {**chain, "nodes": [shown(node) for node in nodes]}

        return await self._database.read(read)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """@param values: columns of RuleChain; `name` and `organizationId` must be there.

        @return: the chain. @raise Forbidden: no rule.create in the organization.
        @raise NotFound: no such organization. @raise BadRequest: no such schedule or time zone.
        """
        organization_id: int = values["organizationId"]
        access.require_member(by, organization_id)
        access.require(by, "rule.create", organization_id)
        _check_schedule(values)

        def write(tx: Transaction) -> Row:
            if not areas.organization_exists(tx, organization_id):
                raise NotFound(f"Organization with ID {organization_id} not found")
            return _chain(tx, rules.create_chain(tx, values))

        return await self._in_force(await self._database.transact(write))

    async def change(
        self, by: Principal, chain_id: int, stated: int | None, changes: Mapping[str, Any]
    ) -> Row:
        """@return: the chain. @raise: as `chain_for`, and BadRequest as `create`."""
        _check_schedule(changes)

        def write(tx: Transaction) -> Row:
            chain_for(tx, by, "rule.update", chain_id, stated)
            rules.change_chain(tx, chain_id, changes)
            return _chain(tx, chain_id)

        return await self._in_force(await self._database.transact(write))

    async def delete(self, by: Principal, chain_id: int, stated: int | None) -> None:
        """Delete a chain with its nodes. @raise: as `chain_for`."""

        def write(tx: Transaction) -> None:
            chain_for(tx, by, "rule.delete", chain_id, stated)
            rules.delete_chain(tx, chain_id)

        await self._database.transact(write)
        await self._book.reload([chain_id])

    async def nodes(self, by: Principal, chain_id: int, stated: int | None) -> list[Row]:
        """@return: the nodes by name, each with its `nextNode`. @raise: as `chain_for`."""

        def read(tx: Transaction) -> list[Row]:
            chain_for(tx, by, "rule.view", chain_id, stated)
            rows = rules.nodes_of(tx, [chain_id])[chain_id]
            by_id = {row["id"]: shown(row) for row in rows}
            return [
                {**shown(row), "nextNode": by_id.get(row["nextNodeId"])}
                for row in sorted(rows, key=lambda row: (row["name"], row["id"]))
            ]

        return await self._database.read(read)

    async def node(self, by: Principal, node_id: int, stated: int | None) -> Row:
        """@return: the node with its `nextNode`. @raise: as `chain_for`, for the chain it is in."""

        def read(tx: Transaction) -> Row:
            node = _node_for(tx, by, "rule.view", node_id, stated)
            following = node["nextNodeId"] and rules.node(tx, node["nextNodeId"])
            return {**shown(node), "nextNode": following and shown(following)}

        return await self._database.read(read)

    async def create_node(
        self, by: Principal, stated: int | None, values: Mapping[str, Any]
    ) -> Row:
        """@param values: columns of RuleChainNode; `config` as JSON text or as an object.

        @return: the node. @raise: as `chain_for`, for rule.update.
        @raise BadRequest: a name that the chain has already, a config that does not fit, or a next
            node that is not in the chain.
        """
        config = configs.parse(values.get("config"))
        configs.check(values["type"], config)

        def write(tx: Transaction) -> Row:
            chain_for(tx, by, "rule.update", values["ruleChainId"], stated)
            _check_next(tx, values["ruleChainId"], values.get("nextNodeId"))
            return _node(tx, rules.create_node(tx, {**values, "config": config}))

        return shown(await self._named(write))

    async def change_node(
        self, by: Principal, node_id: int, stated: int | None, changes: Mapping[str, Any]
    ) -> Row:
        """@return: the node. @raise: as `create_node`, for the chain that the node is in."""
        given = dict(changes)
        if "config" in given:
            given["config"] = configs.parse(given["config"])

        def write(tx: Transaction) -> Row:
            before = _node_for(tx, by, "rule.update", node_id, stated)
            if "config" in given:
                configs.check({**before, **given}["type"], given["config"])
            _check_next(tx, before["ruleChainId"], given.get("nextNodeId"))
            rules.change_node(tx, node_id, given)
            return _node(tx, node_id)

        return shown(await self._named(write))

    async def delete_node(self, by: Principal, node_id: int, stated: int | None) -> None:
        """Delete a node; those that pointed to it point nowhere. @raise: as `node`."""

        def write(tx: Transaction) -> Row:
            row = _node_for(tx, by, "rule.delete", node_id, stated)
            rules.delete_node(tx, node_id)
            return row

        row = await self._database.transact(write)
        await self._book.reload([row["ruleChainId"]])

    async def _in_force(self, chain: Row) -> Row:
        await self._book.reload([chain["id"]])
        return chain

    async def _named(self, write: Callable[[Transaction], Row]) -> Row:
        try:
            row = await self._database.transact(write)
        except DuplicateRow:
            raise BadRequest(_NAME_TAKEN) from None
        await self._book.reload([row["ruleChainId"]])
        return row


def chain_for(
    tx: Transaction, by: Principal, permission: str, chain_id: int, stated: int | None
) -> Row:
    """@raise NotFound, Forbidden, BadRequest: as `access.require_owned`."""
    row = rules.chain(tx, chain_id)
    owner = None if row is None else row["organizationId"]
    access.require_owned(by, permission, stated, found=row is not None, owner=owner)
    return _chain(tx, chain_id)


def shown(node: Row) -> Row:
    """@return: a node as clients read it: its config is an object in any case."""
    return {**node, "config": {} if node["config"] is None else node["config"]}


def _chain(tx: Transaction, chain_id: int) -> Row:
    row = rules.chain(tx, chain_id)
    if row is None:
        raise NotFound("Rule chain not found")
    return row


def _node_for(
    tx: Transaction, by: Principal, permission: str, node_id: int, stated: int | None
) -> Row:
    row = rules.node(tx, node_id)
    chain = None if row is None else rules.chain(tx, row["ruleChainId"])
    owner = None if chain is None else chain["organizationId"]
    access.require_owned(by, permission, stated, found=row is not None, owner=owner)
    return _node(tx, node_id)


def _node(tx: Transaction, node_id: int) -> Row:
    row = rules.node(tx, node_id)
    if row is None:
        raise NotFound("Node not found")
    return row


def _check_next(tx: Transaction, chain_id: int, next_id: int | None) -> None:
    if next_id is not None:
        following = rules.node(tx, next_id)
        if following is None or following["ruleChainId"] != chain_id:
            raise BadRequest('"nextNodeId" must be a node of the same rule chain')


def _check_schedule(values: Mapping[str, Any]) -> None:
    zone, expression = values.get("timezone"), values.get("cronExpression")
    if zone is not None or expression:
        times(expression or "* * * * *", "UTC" if zone is None else zone, _ANY_TIME)
