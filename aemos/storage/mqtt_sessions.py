"""Reads what is stored of MQTT sessions and retained messages."""

from __future__ import annotations

from aemos.storage.mqtt_changes import RELEASED, WAITING
from aemos.storage.transaction import Row, Transaction

PAGE = 2000
"""Rows that are read at once where there may be many."""


def sessions(tx: Transaction, after: int) -> list[Row]:
    """@param after: the id of the last session of the page before. @return: one page, by id."""
    return tx.all(
        "SELECT id, digest, principal, client_id, next_packet_id, seen_at FROM mqtt_session"
        " WHERE id > %s ORDER BY id LIMIT %s",
        (after, PAGE),
    )


def subscriptions(tx: Transaction, first: int, last: int) -> list[Row]:
    """@return: the subscriptions of the sessions with these ids, both included."""
    return tx.all(
        "SELECT session_id, topic_filter, qos FROM mqtt_subscription"
        " WHERE session_id BETWEEN %s AND %s",
        (first, last),
    )


def waiting(tx: Transaction) -> list[Row]:
    """@return: how many copies without a packet id, and bytes of them, each session is owed."""
    return tx.all(
        "SELECT q.session_id, COUNT(*) AS copies, SUM(LENGTH(m.topic) + LENGTH(m.payload)) AS size"
        " FROM mqtt_queue q JOIN mqtt_message m ON m.id = q.message_id"
        f" WHERE q.state = {WAITING} AND q.packet_id IS NULL GROUP BY q.session_id"
    )


def last_position(tx: Transaction) -> int:
    """@return: the highest position that was ever given to a copy that is still there."""
    return int(tx.value("SELECT MAX(position) FROM mqtt_queue") or 0)


def queue(tx: Transaction, session_id: int) -> tuple[list[Row], list[int]]:
    """@return: the copies that a session is owed, in order, and its inbound QoS 2 ids.

    `topic` is None where the message is missing.
    """
    copies = tx.all(
        "SELECT q.position, q.message_id, q.qos, q.retain, q.state, q.packet_id,"
        " m.topic, m.payload, m.created_at"
        " FROM mqtt_queue q LEFT JOIN mqtt_message m ON m.id = q.message_id"
        f" WHERE q.session_id = %s AND q.state IN ({WAITING}, {RELEASED}) ORDER BY q.position",
        (session_id,),
    )
    inbound = tx.all(
        "SELECT packet_id FROM mqtt_inbound WHERE session_id = %s ORDER BY received_at",
        (session_id,),
    )
    return copies, [row["packet_id"] for row in inbound]


def retained(tx: Transaction, after: bytes) -> list[Row]:
    """@param after: the digest of the last one of the page before. @return: one page."""
    return tx.all(
        "SELECT digest, topic, qos, payload FROM mqtt_retained"
        " WHERE digest > %s ORDER BY digest LIMIT %s",
        (after, PAGE),
    )
