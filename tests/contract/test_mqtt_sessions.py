"""Changes of MQTT sessions in the database, of either kind: written together, read back alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from aemos.errors import RowRefused
from aemos.model import Instant
from aemos.mqtt.publication import Publication
from aemos.storage import mqtt_sessions
from aemos.storage.database import Database
from aemos.storage.mqtt_changes import (
    PRESENT,
    SESSION_CHANGES,
    Attached,
    Change,
    Copy,
    Created,
    Discarded,
    Expired,
    Inbound,
    Left,
    Numbered,
    Released,
    Removed,
    Retained,
    SessionRow,
    SetAside,
    Subscribed,
)
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Unit

NOON = Instant.parse("2026-11-24T12:00:00Z")
TABLES = ("mqtt_session", "mqtt_subscription", "mqtt_queue", "mqtt_message", "mqtt_inbound")


def write(database: Database, *changes: Change) -> Deferred[RowRefused | None]:
    """@return: fires with what the writer tells."""
    told: Deferred[RowRefused | None] = Deferred()
    database.writer.submit(Unit(((SESSION_CHANGES, changes),), told.callback))
    return told


async def new_session(database: Database, client_id: str = "c") -> SessionRow:
    row = SessionRow("sensor:u", client_id)
    assert await write(database, Created(row)) is None
    return row


def copies(row: SessionRow, *positions: int, qos: int = 1, at: Instant = NOON) -> list[Copy]:
    """@return: a copy for each position, each of a message of its own."""
    return [
        Copy(row, position, Publication("a/b", b"\0\xff%d" % position, qos), qos, False, at)
        for position in positions
    ]


async def queue(database: Database, row: SessionRow) -> list[Any]:
    rows, _ = await database.read(mqtt_sessions.queue, row.id)
    return [(r["position"], r["payload"], r["state"], r["packet_id"]) for r in rows]


async def counts(database: Database) -> Sequence[int]:
    def read(tx: Transaction) -> list[int]:
        return [tx.value(f"SELECT COUNT(*) FROM {table}") for table in TABLES]

    return await database.read(read)


async def test_a_session_is_created_found_and_forgotten_with_all_that_is_its(
    database: Database,
) -> None:
    kept, gone = await new_session(database, "kept"), await new_session(database, "gone")
    message = Publication("t", b"x", 2)
    both = [Copy(row, 1, message, 2, True, NOON) for row in (kept, gone)]
    await write(database, *both, Subscribed(gone, "a/#", 1), Inbound(gone, 7, True))
    assert await counts(database) == [2, 1, 2, 1, 1]
    await write(database, Discarded(gone))
    assert await counts(database) == [1, 0, 1, 1, 0]
    await write(database, Discarded(kept))
    assert await counts(database) == [0, 0, 0, 0, 0]


async def test_a_new_session_takes_the_place_of_a_row_of_the_same_name(database: Database) -> None:
    old = await new_session(database)
    await write(database, *copies(old, 1), Subscribed(old, "a", 1))
    new = SessionRow("sensor:u", "c")
    # All in one unit, as a client does that forgets its session and makes another at once.
    assert await write(database, Discarded(old), Created(new), *copies(new, 2)) is None
    assert new.id != old.id
    assert [p[0] for p in await queue(database, new)] == [2]
    assert await counts(database) == [1, 0, 1, 1, 0]
    again = SessionRow("sensor:u", "c")
    assert await write(database, Created(again)) is None
    assert await counts(database) == [1, 0, 0, 0, 0]


async def test_presence_is_noted(database: Database) -> None:
    row = await new_session(database)
    for change, seen, following in (
        (Left(row, NOON, 17), NOON, 17),
        (Attached(row), PRESENT, 17),
    ):
        await write(database, change)
        [found] = await database.read(mqtt_sessions.sessions, 0)
        assert (found["seen_at"], found["next_packet_id"]) == (seen, following)
    assert (found["principal"], found["client_id"]) == ("sensor:u", "c")
    assert found["digest"] == row.digest
    assert await database.read(mqtt_sessions.sessions, row.id) == []


async def test_copies_are_numbered_released_removed_and_their_messages_go_with_the_last(
    database: Database,
) -> None:
    one, two = await new_session(database, "1"), await new_session(database, "2")
    message = Publication("t", b"shared", 2)
    mine, theirs = (Copy(row, 1, message, 2, False, NOON) for row in (one, two))
    await write(database, mine, theirs)
    mine.packet_id = 5
    await write(database, Numbered(mine))
    assert await queue(database, one) == [(1, b"shared", 0, 5)]
    mine.position = 9
    await write(database, Released(one, 1, 9))
    assert await queue(database, one) == [(9, b"shared", 1, 5)]
    await write(database, Removed(mine))
    assert await queue(database, one) == []
    assert await queue(database, two) == [(1, b"shared", 0, None)]
    await write(database, Removed(theirs))
    assert await counts(database) == [2, 0, 0, 0, 0]


async def test_many_changes_of_many_sessions_in_one_transaction(database: Database) -> None:
    rows = [SessionRow("user:x", f"c{number}") for number in range(30)]
    made = [copy for row in rows for copy in copies(row, *range(1, 41))]
    assert await write(database, *(Created(row) for row in rows), *made) is None
    assert await counts(database) == [30, 0, 1200, 1200, 0]
    assert await write(database, *(Removed(copy) for copy in made if copy.position != 3)) is None
    assert await counts(database) == [30, 0, 30, 30, 0]
    assert await queue(database, rows[7]) == [(3, b"\0\xff3", 0, None)]


async def test_only_the_last_of_several_changes_of_one_thing_counts(database: Database) -> None:
    row = await new_session(database)
    await write(
        database,
        Subscribed(row, "a", 0),
        Subscribed(row, "b", 1),
        Subscribed(row, "a", 2),
        Subscribed(row, "b", None),
        Inbound(row, 1, True),
        Inbound(row, 1, False),
        Inbound(row, 2, False),
        Inbound(row, 2, True),
        Retained(Publication("t", b"1", 1), 1),
        Retained(Publication("t", b"2", 2), 2),
        Retained(Publication("gone", b"1", 1), 1),
        Retained(Publication("gone", b"", 1), 1),
    )
    found = await database.read(mqtt_sessions.subscriptions, row.id, row.id)
    assert [(r["topic_filter"], r["qos"]) for r in found] == [("a", 2)]
    assert (await database.read(mqtt_sessions.queue, row.id))[1] == [2]
    kept = await database.read(mqtt_sessions.retained, b"")
    assert [(r["topic"], r["payload"], r["qos"]) for r in kept] == [("t", b"2", 2)]
    assert await database.read(mqtt_sessions.retained, kept[0]["digest"]) == []


async def test_what_waits_is_counted_by_session(database: Database) -> None:
    one, two = await new_session(database, "1"), await new_session(database, "2")
    sent, *_ = made = copies(one, 4, 5, 6)
    sent.packet_id = 1
    await write(database, *made, *copies(two, 7))
    found = {r["session_id"]: r for r in await database.read(mqtt_sessions.waiting)}
    assert [(found[s.id]["copies"], int(found[s.id]["size"])) for s in (one, two)] == [
        (2, 12),
        (1, 6),
    ]
    assert await database.read(mqtt_sessions.last_position) == 7


async def test_old_messages_expire_unless_they_may_have_been_sent(database: Database) -> None:
    row = await new_session(database)
    old, sent, new = copies(row, 1, 2), copies(row, 3), copies(row, 4, at=Instant(NOON + 1))
    sent[0].packet_id = 1
    await write(database, *old, *sent, *new)
    change = Expired(Instant(NOON + 1))
    await write(database, change)
    assert [(r["session_id"], int(r["size"])) for r in change.found] == [(row.id, 6), (row.id, 6)]
    assert [p[0] for p in await queue(database, row)] == [3, 4]
    assert await counts(database) == [1, 0, 2, 2, 0]


async def test_rows_set_aside_are_kept_and_not_read(database: Database) -> None:
    row = await new_session(database)
    await write(database, *copies(row, 1, 2, 3))
    await write(database, SetAside(row, [1, 3]))
    assert [p[0] for p in await queue(database, row)] == [2]
    assert await counts(database) == [1, 0, 3, 3, 0]


async def test_changes_for_a_session_that_could_not_be_stored_harm_nobody(
    database: Database,
) -> None:
    lost, kept = SessionRow("user:" + "x" * 400, "c"), SessionRow("sensor:u", "kept")
    first = write(database, Created(lost))
    second = write(database, Created(kept), *copies(kept, 1))
    third = write(database, *copies(lost, 2), Subscribed(lost, "a", 1), Inbound(lost, 1, True))
    assert isinstance(await first, RowRefused)
    assert await second is None
    assert await third is None
    assert lost.id == 0
    assert await counts(database) == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("text", ["\u00e9/\U0001f331'\\%s", "x" * 20_000])
async def test_any_topic_filter_and_client_id_comes_back_as_it_was(
    database: Database, text: str
) -> None:
    row = SessionRow("sensor:u", text)
    copy = Copy(row, 1, Publication(text, b"", 1), 1, False, NOON)
    retained = Retained(Publication(text, b"x", 0), 0)
    assert await write(database, Created(row), Subscribed(row, text, 0), copy, retained) is None
    [session] = await database.read(mqtt_sessions.sessions, 0)
    [subscription] = await database.read(mqtt_sessions.subscriptions, row.id, row.id)
    [[stored], _] = await database.read(mqtt_sessions.queue, row.id)
    [kept] = await database.read(mqtt_sessions.retained, b"")
    assert session["client_id"] == subscription["topic_filter"] == text
    assert stored["topic"] == kept["topic"] == text
    assert (stored["payload"], stored["created_at"]) == (b"", NOON)
