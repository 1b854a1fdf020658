"""`/notification-channels` and `/deliveries`: shapes, rights, and what is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.farm import NORTH
from tests.whole import Whole

API = "/api/v1"
SECRET, PASSWORD = "a secret that both know", "Basic cGFzc3dvcmQ="
HOOK: dict[str, Any] = {
    "organizationId": NORTH,
    "name": "SMS",
    "target": {
        "type": "webhook",
        "url": "http://127.0.0.1:9/sms",
        "secret": SECRET,
        "headers": {"Authorization": PASSWORD},
        "template": '{"text": "{{text}}"}',
    },
}


async def token(whole: Whole, name: str = "Org Admin") -> str:
    return (await whole.sign_in(name))[0]


async def test_a_channel_is_made_shown_changed_and_deleted(whole: Whole) -> None:
    user = await token(whole)
    made = await whole.call("POST", f"{API}/notification-channels", user, HOOK)
    assert made.status == 201, made.body
    channel = made.data["notificationChannel"]
    assert channel["target"] == {
        "type": "webhook", "url": "http://127.0.0.1:9/sms", "template": '{"text": "{{text}}"}',
        "contentType": "application/json", "signed": True, "headerNames": ["Authorization"],
    }  # fmt: skip
    assert (channel["kind"], channel["enabled"], channel["systemAlarms"]) == (
        "webhook",
        True,
        False,
    )
    path = f"{API}/notification-channels/{channel['id']}"
    assert (await whole.call("GET", path, user)).data["notificationChannel"] == channel
    url = {"type": "webhook", "url": "https://x.example/"}
    changed = await whole.call("PATCH", path, user, {"target": url, "enabled": False})
    kept = changed.data["notificationChannel"]
    assert (kept["enabled"], kept["target"]["signed"]) == (False, True)
    target = {**url, "secret": None, "headers": {}}
    changed = await whole.call("PATCH", path, user, {"target": target})
    bare = changed.data["notificationChannel"]["target"]
    assert (bare["signed"], bare["headerNames"]) == (False, [])
    for status in (204, 404):
        assert (await whole.call("DELETE", path, user)).status == status


async def test_secrets_are_in_no_answer_and_not_in_the_audit_log(whole: Whole) -> None:
    user = await token(whole)
    made = await whole.call("POST", f"{API}/notification-channels", user, HOOK)
    path = f"{API}/notification-channels/{made.data['notificationChannel']['id']}"
    answers = [made, await whole.call("GET", path, user)]
    for path in ("/notification-channels", "/audit-log?resource=notification_channel"):
        answers.append(await whole.call("GET", f"{API}{path}", user))
    assert answers[-1].data["entries"][0]["changes"]["secrets"] == [None, "***"]
    for answer in answers:
        assert SECRET not in str(answer.body)
        assert PASSWORD not in str(answer.body)


async def test_a_trial_is_logged_with_what_became_of_it(whole: Whole) -> None:
    user, supervisor = await token(whole), await token(whole, "Supervisor")
    made = await whole.call("POST", f"{API}/notification-channels", user, HOOK)
    number = made.data["notificationChannel"]["id"]
    path = f"{API}/notification-channels/{number}/test"
    assert (await whole.call("POST", path, supervisor)).status == 403
    tried = await whole.call("POST", path, user)
    assert (tried.status, tried.data["delivery"]["state"]) == (201, "waiting")
    await whole.services.alarms.deliveries.settle()
    log = await whole.call("GET", f"{API}/deliveries?channelId={number}&state=failed", supervisor)
    (row,) = log.data["deliveries"]
    assert (row["purpose"], row["attempts"]) == ("test", 1)
    assert "private address" in row["detail"]
    stranger = await token(whole, "stranger")
    assert (await whole.call("GET", f"{API}/deliveries", stranger)).data["deliveries"] == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"type": "pigeon"}, "target"),
        ({"type": "email", "recipients": []}, "target.recipients"),
        ({"type": "email", "recipients": ["no address"]}, "target.recipients[0]"),
        ({"type": "webhook", "url": "file:///etc/passwd"}, "target.url"),
        ({"type": "webhook", "url": "https://x", "secret": "short"}, "target.secret"),
        ({"type": "webhook", "url": "https://x", "headers": {"A B": "c"}}, "target.headers"),
        ({"type": "webhook", "url": "https://x", "headers": {"A": "b\r\nC: d"}}, "target.headers"),
        ({"type": "webhook", "url": "https://x", "headers": {"host": "y"}}, "target.headers"),
    ],
)
async def test_a_target_that_makes_no_sense_is_refused(
    whole: Whole, target: Mapping[str, Any], says: str
) -> None:
    body = {**HOOK, "target": target}
    reply = await whole.call("POST", f"{API}/notification-channels", await token(whole), body)
    assert (reply.status, f'"{says}' in reply.body["message"]) == (400, True), reply.body
