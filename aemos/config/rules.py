"""The settings of rule chains; the names of the variables are the original's."""

from __future__ import annotations

import attrs

from aemos.config.checks import at_least, between
from aemos.config.declare import setting


@attrs.frozen
class Rules:
    concurrency: int = setting(
        20,
        "rule chains with many conditions or regular expressions that are decided at once",
        env="RULE_ENGINE_WORKER_CONCURRENCY",
        valid=between(1, 100),
    )
    collection_timeout_ms: int = setting(
        5000,
        "milliseconds that a chain that somebody triggers waits for the values it looks at",
        env="DATA_COLLECTION_TIMEOUT",
        valid=between(1000, 30_000),
    )
    chain_timeout_ms: int = setting(
        30_000,
        "milliseconds that one run of a chain may take",
        env="RULE_CHAIN_TIMEOUT",
        valid=between(10_000, 120_000),
    )
    suppress_unchanged: bool = setting(
        False, "an action that asks for the value that a state has already does nothing"
    )
    backpressure: bool = setting(
        True, "refuse triggers while too many wait", env="ENABLE_BACKPRESSURE"
    )
    queue_warning: int = setting(
        10_000,
        "waiting triggers from which on the log warns",
        env="QUEUE_WARNING_THRESHOLD",
        valid=at_least(1),
    )
    queue_critical: int = setting(
        50_000,
        "waiting triggers from which on new ones are refused; the readings are stored all the same",
        env="QUEUE_CRITICAL_THRESHOLD",
        valid=at_least(1),
    )
    queue_recovery: int = setting(
        5000,
        "waiting triggers down to which they are refused then",
        env="QUEUE_RECOVERY_THRESHOLD",
        valid=at_least(1),
    )
    replays: int = setting(2, "replays of rule chains that run at once", valid=at_least(1))
