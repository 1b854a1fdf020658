"""Tokens that sensors and devices sign in with: the SQL of `DeviceToken` and `device_credential`.

Source: spec/data-model.md section 2. The token itself is read by nothing here: it is shown once,
when it is made, and looked up by `aemos.storage.identities` alone.

Both kinds are known by one id. Those of devices' tokens begin at 1,000,000,000,000 in everything
but the column, so that an id of one kind never means a row of the other.
"""

from __future__ import annotations

from typing import Any

import attrs

from aemos.model import Instant, PrincipalKind
from aemos.storage.transaction import Row, Transaction

_OF_DEVICES = 1_000_000_000_000  # more than a table will have rows, and exact in JavaScript


@attrs.frozen
class TokenTable:
    """The tokens of one kind of holder, and what its columns are called.

    A row on its way out is `id`, `sensorId` or `deviceId`, `label` if it has one, `expiresAt`,
    `lastUsed`, `status` and `createdAt`.
    """

    kind: PrincipalKind
    table: str
    holder: str
    proof: str
    expires_at: str
    select: str
    first_id: int = 0

    def find(self, tx: Transaction, token_id: int) -> Row | None:
        row = tx.one(f"{self.select} WHERE t.id = %s", (token_id - self.first_id,))
        return None if row is None else self._shown(row)

    def of_holder(self, tx: Transaction, holder_id: int) -> list[Row]:
        """@return: all tokens of a sensor or device, newest first."""
        rows = tx.all(
            f"{self.select} WHERE t.{self.holder} = %s ORDER BY createdAt DESC, id DESC",
            (holder_id,),
        )
        return [self._shown(row) for row in rows]

    def create(
        self,
        tx: Transaction,
        holder_id: int,
        proof: str,
        expires_at: Instant | None,
        label: str | None,
    ) -> int:
        """@param proof: the digest of a device's token, a sensor's token as it is (Compat: the
        original looks for it so).

        @return: the id of the new token.
        """
        values: dict[str, Any] = {
            self.holder: holder_id,
            self.proof: proof,
            self.expires_at: expires_at,
            "status": "active",
        }
        if self.kind is PrincipalKind.DEVICE:
            values |= {"label": label, "created_at": tx.now}
        token_id = tx.insert(self.table, values)
        if label is not None and self.kind is PrincipalKind.SENSOR:
            tx.insert("token_label", {"token_id": token_id, "label": label})
        return token_id + self.first_id

    def end(self, tx: Transaction, token_id: int, at: Instant) -> None:
        """Let a token expire at this time."""
        tx.update(self.table, token_id - self.first_id, {self.expires_at: at})

    def revoke(self, tx: Transaction, token_id: int) -> None:
        tx.update(self.table, token_id - self.first_id, {"status": "revoked"})

    def delete(self, tx: Transaction, token_id: int) -> None:
        tx.delete(self.table, {"id": token_id - self.first_id})

    def _shown(self, row: Row) -> Row:
        row["id"] += self.first_id
        if row["label"] is None:  # Compat: a sensor's token that has none is what it always was
            del row["label"]
        return row


_TABLES = {
    PrincipalKind.SENSOR: TokenTable(
        PrincipalKind.SENSOR,
        table="DeviceToken",
        holder="sensorId",
        proof="token",
        expires_at="expiresAt",
        select="SELECT t.id AS id, t.sensorId AS sensorId, l.label AS label,"
        " t.expiresAt AS expiresAt, t.lastUsed AS lastUsed, t.status AS status,"
        " t.createdAt AS createdAt"
        " FROM DeviceToken t LEFT JOIN token_label l ON l.token_id = t.id",
    ),
    PrincipalKind.DEVICE: TokenTable(
        PrincipalKind.DEVICE,
        table="device_credential",
        holder="device_id",
        proof="digest",
        expires_at="expires_at",
        select="SELECT t.id AS id, t.device_id AS deviceId, t.label AS label,"
        " t.expires_at AS expiresAt, t.last_used_at AS lastUsed, t.status AS status,"
        " t.created_at AS createdAt FROM device_credential t",
        first_id=_OF_DEVICES,
    ),
}


def of_kind(kind: PrincipalKind) -> TokenTable:
    """@return: the tokens of sensors, or those of devices."""
    return _TABLES[kind]


def with_id(token_id: int) -> TokenTable:
    """@return: the tokens among which one of this id is."""
    of_devices = token_id > _OF_DEVICES
    return _TABLES[PrincipalKind.DEVICE if of_devices else PrincipalKind.SENSOR]
