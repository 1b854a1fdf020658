"""Where a notification channel leads: the JSON of its routes and of `notification_channel`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote_plus, urlsplit

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from aemos import json
from aemos.errors import BadRequest
from aemos.services.alarms.forms import PLACEHOLDER
from aemos.storage.transaction import Row

WORDS = (
    "text", "subject", "change", "message", "name", "severity", "state", "value", "uuid",
    "alarmId", "organizationId", "timestamp",
)  # fmt: skip
"""What the template of a webhook may have in double braces."""

Address = Annotated[str, Meta(pattern=rf"^[!-~]+@[!-~]+{json.END}", max_length=254)]
Secret = Annotated[str, Meta(min_length=8, max_length=256)]
Headers = Annotated[dict[str, str], Meta(max_length=20)]

_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that say how a request is sent."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[ -~]{0,1000}")


class _Target(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all; the tag `type` says which it is."""


class EmailTarget(_Target, tag="email"):
    """A letter to each of these addresses, over `mail.host`."""

    recipients: Annotated[list[Address], Meta(min_length=1, max_length=50)]


class WebhookTarget(_Target, tag="webhook"):
    """A POST to this address, signed if there is a `secret`.

    The body is JSON with everything, or what `template` makes of it; with the interface of an SMS
    provider that is an SMS. `secret` and `headers` are never shown; where a change leaves them out,
    they stay.
    """

    url: Annotated[str, Meta(max_length=2000)]
    secret: Secret | UnsetType | None = UNSET
    headers: Headers | UnsetType = UNSET
    template: Annotated[str, Meta(max_length=4000)] = ""
    contentType: Annotated[str, Meta(pattern=rf"^[!-~]+/[ -~]+{json.END}", max_length=100)] = (
        "application/json"
    )


class MqttTarget(_Target, tag="mqtt"):
    """A message on `organizations/{id}/notifications`."""


class RealtimeTarget(_Target, tag="realtime"):
    """The event `notification` in the room of the organization."""


Target = EmailTarget | WebhookTarget | MqttTarget | RealtimeTarget


def kind_of(target: Target) -> str:
    """@return: the tag of the target."""
    return str(target.__struct_config__.tag)


def check(target: Target) -> None:
    """@raise BadRequest: an address that no webhook can go to, or a word that is not in `WORDS`."""
    if not isinstance(target, WebhookTarget):
        return
    try:
        url = urlsplit(target.url)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        usable = usable and url.username is None and target.url.isascii()
        usable = usable and target.url.isprintable() and " " not in target.url
    except ValueError:
        usable = False
    if not usable:
        raise BadRequest(
            'Invalid request body: "target.url" must be an http or https address without a password'
        )
    headers = {} if target.headers is UNSET else target.headers
    for name, value in headers.items():
        written = _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
        if not written or name.lower() in _OURS:
            raise BadRequest('Invalid request body: "target.headers" has one that cannot be sent')
    unknown = sorted(set(PLACEHOLDER.findall(target.template)) - {*WORDS})
    if unknown:
        raise BadRequest(
            f'Invalid request body: "target.template" has no {", ".join(unknown)};'
            f" there is {', '.join(WORDS)}"
        )


def stored(target: Target, before: Mapping[str, Any] | None = None) -> Row:
    """@param before: the row that is changed. @return: the columns of a channel for a target."""
    config = msgspec.to_builtins(target)
    secrets: dict[str, Any] = {}
    if isinstance(target, WebhookTarget):
        if before is not None and before["kind"] == "webhook":
            secrets = dict(before["secrets"] or {})
        given = {name: config.pop(name) for name in ("secret", "headers") if name in config}
        secrets.update(given)
    return {"kind": kind_of(target), "config": config, "secrets": secrets or None}


def shown_target(row: Mapping[str, Any]) -> Row:
    """@return: the target of a channel without what is secret."""
    config = dict(row["config"])
    if row["kind"] == "webhook":
        secrets = row["secrets"] or {}
        config["signed"] = bool(secrets.get("secret"))
        config["headerNames"] = sorted(secrets.get("headers") or {})
    return config


def body_of(config: Mapping[str, Any], content: Mapping[str, Any]) -> bytes:
    """@return: what a webhook sends: the template, its words as the content type wants them."""
    template = config.get("template") or ""
    if not template:
        return json.encode(content)
    kind = str(config.get("contentType", "")).partition(";")[0].strip().lower()
    alarm = content.get("alarm") or {}
    words = {**alarm, **content, "alarmId": alarm.get("id")}
    return PLACEHOLDER.sub(lambda found: _escaped(words.get(found[1]), kind), template).encode()


def _escaped(value: Any, kind: str) -> str:
    text = "" if value is None else str(value)
    if kind.endswith("json"):
        return json.encode(text).decode()[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus(text)
    return text
