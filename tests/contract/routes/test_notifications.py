"""`/notifications` and `/tickets`: what alarms make, who has read it, who sees to it."""

from __future__ import annotations

from typing import Any

from aemos.model import Instant
from aemos.services.alarms.subject import Change, Transition
from tests.farm import NORTH
from tests.whole import Whole, email

API = "/api/v1"


async def token(whole: Whole, name: str = "Org Admin") -> str:
    return (await whole.sign_in(name))[0]


async def alarm(whole: Whole, key: str) -> None:
    """An alarm of `NORTH`, which makes a notification."""
    row = {"organization_id": NORTH, "name": key, "severity": "warning", "message": f"it is {key}"}
    recorder = whole.services.alarms.recorder
    recorder.put([Transition(key, Change.RAISE, Instant.of(0), row)])
    await recorder.flush()


async def listed(whole: Whole, user: str, query: str = "") -> list[dict[str, Any]]:
    reply = await whole.call("GET", f"{API}/notifications{query}", user)
    rows: list[dict[str, Any]] = reply.data["notifications"]
    return rows


async def test_each_user_reads_for_oneself(whole: Whole) -> None:
    user, viewer, stranger = [
        await token(whole, name) for name in ("Org Admin", "Viewer", "stranger")
    ]
    await alarm(whole, "hot")
    await alarm(whole, "dry")
    dry, hot = await listed(whole, user)
    assert (hot["title"], hot["insight"], hot["severity"]) == ("hot", "it is hot", "warning")
    assert (hot["organizationId"], hot["readAt"], hot["userGroup"]) == (NORTH, None, None)
    assert hot["createdAt"].endswith("Z")
    assert hot["alarmId"] < dry["alarmId"]
    path = f"{API}/notifications/{hot['id']}/read"
    for _ in range(2):
        assert (await whole.call("POST", path, user)).status == 204
    assert (await listed(whole, user))[1]["readAt"].endswith("Z")
    assert [row["id"] for row in await listed(whole, user, "?unread=true")] == [dry["id"]]
    assert len(await listed(whole, viewer, "?unread=true")) == 2
    assert (await whole.call("POST", path, stranger)).status == 403
    assert await listed(whole, stranger) == []
    for count in (1, 0):
        reply = await whole.call("POST", f"{API}/notifications/read", user)
        assert reply.data == {"read": count}
    assert await listed(whole, user, "?unread=true") == []


async def test_a_ticket_is_made_assigned_acknowledged_and_deleted(whole: Whole) -> None:
    user, viewer, stranger = [
        await token(whole, name) for name in ("Org Admin", "Viewer", "stranger")
    ]
    await alarm(whole, "hot")
    (notification,) = await listed(whole, user)
    body = {"notificationId": notification["id"], "comment": "look at the fan"}
    assert (await whole.call("POST", f"{API}/tickets", viewer, body)).status == 403
    assert (await whole.call("POST", f"{API}/tickets", stranger, body)).status == 403
    made = await whole.call("POST", f"{API}/tickets", user, body)
    assert made.status == 201, made.body
    ticket = made.data["ticket"]
    assert ticket | {"createdAt": "", "id": 0} == {
        **body, "createdAt": "", "id": 0, "assignedTo": None, "assignedAt": None,
        "acknowledgedAt": None,
    }  # fmt: skip
    path = f"{API}/tickets/{ticket['id']}"
    ids = {
        row["email"]: row["id"]
        for row in await whole.services.database.read(lambda tx: tx.all("SELECT * FROM User"))
    }
    foreign = {"assignedTo": ids[email("stranger")]}
    assert (await whole.call("PATCH", path, user, foreign)).status == 400
    own = {"assignedTo": ids[email("Viewer")], "acknowledged": True}
    changed = (await whole.call("PATCH", path, user, own)).data["ticket"]
    assert (changed["assignedTo"], changed["comment"]) == (own["assignedTo"], "look at the fan")
    assert changed["assignedAt"].endswith("Z")
    assert changed["acknowledgedAt"].endswith("Z")
    freed = (await whole.call("PATCH", path, user, {"assignedTo": None})).data["ticket"]
    assert (freed["assignedAt"], freed["acknowledgedAt"]) == (None, changed["acknowledgedAt"])
    for query, count in (
        ("", 1),
        (f"?notificationId={notification['id']}", 1),
        ("?assignedTo=1", 0),
    ):
        reply = await whole.call("GET", f"{API}/tickets{query}", viewer)
        assert len(reply.data["tickets"]) == count
    assert (await whole.call("GET", f"{API}/tickets", stranger)).data["tickets"] == []
    assert (await whole.call("GET", path, stranger)).status == 403
    for status in (204, 404):
        assert (await whole.call("DELETE", path, user)).status == status
