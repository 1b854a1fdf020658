"""Readings on their way into `DataStream`, and how many of them are stored at once."""

from __future__ import annotations

import attrs

from aemos.model import Instant


@attrs.define(slots=True, eq=False)
class Reading:
    """One value of one variable, before and after it is stored.

    `value` is text of at most 50 characters, `key` (16 bytes) recognises a repeat, None = no key.
    `urgent` is the notification priority, decided when the message was judged. The writer fills in
    `id`, or sets `duplicate` and leaves `id` None.
    """

    value: str
    telemetry_id: int
    variable_name: str
    at: Instant
    key: bytes | None = None
    urgent: bool = False
    trigger_rules: bool = True
    id: int | None = None
    duplicate: bool = False
