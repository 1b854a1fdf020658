"""Describes the API as an Insomnia collection (export format 4), from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from aemos import json
from aemos.http.routing import Auth, Endpoint
from aemos.model import Instant

_WORKSPACE, _ENVIRONMENT = "wrk_aemos", "env_aemos"
_TOKENS = {Auth.USER: "token", Auth.DEVICE: "device_token"}


def export(endpoints: Iterable[Endpoint], base_url: str, now: Instant) -> dict[str, Any]:
    """@param base_url: where the requests shall go, without a slash at its end.

    @return: the collection: a workspace, an environment for the tokens, a folder for each group of
        routes, and a request for each route.
    """
    resources: list[dict[str, Any]] = [
        {"_id": _WORKSPACE, "_type": "workspace", "name": "AEMOS API", "scope": "collection"},
        {
            "_id": _ENVIRONMENT,
            "_type": "environment",
            "parentId": _WORKSPACE,
            "name": "Base Environment",
            "data": {"base_url": base_url, "token": "", "device_token": ""},
        },
    ]
    folders: set[str] = set()
    for number, endpoint in enumerate(endpoints):
        folder = "fld_" + endpoint.route.name.partition(".")[0]
        if folder not in folders:
            folders.add(folder)
            name = folder.removeprefix("fld_").removesuffix("Routes")
            resources.append(
                {
                    "_id": folder,
                    "_type": "request_group",
                    "parentId": _WORKSPACE,
                    "name": name,
                }
            )
        resources.append(_request(number, endpoint, folder))
    return {
        "_type": "export",
        "__export_format": 4,
        "__export_date": now,
        "__export_source": "aemos",
        "resources": resources,
    }


def _request(number: int, endpoint: Endpoint, folder: str) -> dict[str, Any]:
    route = endpoint.route
    path = endpoint.rules[0].replace("<", "{{ _.").replace(">", " }}")
    request: dict[str, Any] = {
        "_id": f"req_{number}",
        "_type": "request",
        "parentId": folder,
        "name": route.summary or route.name,
        "method": route.method,
        "url": "{{ _.base_url }}" + path,
        "headers": [],
        "parameters": [
            {"name": field.encode_name, "value": "", "disabled": not field.required}
            for field in (msgspec.structs.fields(route.query) if route.query else ())
        ],
        "body": {},
        "authentication": {},
    }
    if route.auth in _TOKENS:
        token = "{{ _." + _TOKENS[route.auth] + " }}"
        request["authentication"] = {"type": "bearer", "token": token}
    if route.body is not None:
        required = {
            field.encode_name: "" for field in msgspec.structs.fields(route.body) if field.required
        }
        text = json.encode(required).decode()
        request["body"] = {"mimeType": "application/json", "text": text}
        request["headers"] = [{"name": "Content-Type", "value": "application/json"}]
    return request
