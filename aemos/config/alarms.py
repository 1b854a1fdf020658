"""The settings of alarms and of the channels that tell them."""

from __future__ import annotations

import attrs

from aemos.config.checks import at_least, between, more_than, networks
from aemos.config.declare import setting


@attrs.frozen
class Alarms:
    queue: int = setting(
        100_000,
        "readings that may wait to be judged for alarms; beyond it the oldest are left out",
        valid=at_least(1),
    )
    keep_days: int = setting(
        365,
        "days after which alarms that are cleared, and the log of deliveries, are forgotten",
        valid=at_least(1),
    )
    delivery_attempts: int = setting(
        8,
        "attempts to tell a channel something; they come 10 s, 20 s, 40 s ... after each other",
        valid=between(1, 30),
    )
    webhook_timeout: float = setting(
        10.0, "how long the receiver of a webhook may take to answer", valid=more_than(0)
    )
    webhook_networks: tuple[str, ...] = setting(
        [],
        "private networks that webhooks may go to; they go to public addresses only by themselves",
        valid=networks,
    )
