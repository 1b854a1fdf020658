"""Environment variables that are no key of their own: database parts, refused ones, idle ones."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

DATABASE_PARTS = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")
"""Together they name a MySQL database, with the original's defaults for those that are not set."""

REFUSED = {
    "ENABLE_COAP": "there is no CoAP in this version; leave it out or set it to false",
}
"""Switches for what is not here: a server that ignored them would be less than was asked for."""

OFF = frozenset({"", "false", "no", "0", "off"})
"""Values that leave a refused switch off."""

WITHOUT_EFFECT = (
    "COAP_*",
    "DEFAULT_EVENT_PRIORITY",
    "ENABLE_ADVANCED_ANALYTICS",
    "ENABLE_CENTRAL_ERROR_HANDLER",
    "ENABLE_COMPRESSION",
    "ENABLE_CONSOLE_LOGS",
    "ENABLE_DETAILED_HEALTH_CHECKS",
    "ENABLE_FEATURE_FLAGS",
    "ENABLE_FILE_LOGS",
    "ENABLE_HEALTH_CHECKS",
    "ENABLE_HELMET",
    "ENABLE_HPP",
    "ENABLE_MONGO_SANITIZE",
    "ENABLE_NEW_SENSOR_ALGORITHM",
    "ENABLE_RESPONSE_TIME",
    "EXTERNAL_ACTION_TIMEOUT",
    "FEATURE_FLAG_*",
    "HEALTH_CHECK_DATABASE",
    "INSTANCE_ID",
    "LOG_RETENTION_DAYS",
    "NODE_ENV",
    "REDIS_*",
    "RESPONSE_TIME_THRESHOLD",
    "RULE_ENGINE_SCHEDULE_REFRESH_MS",
    "SERVER_URL",
    "WORKER_*",
)
"""What an existing installation may set (spec/http-api.md 1.1, spec/notifications-metrics.md 5):
accepted, and without effect in this version."""


def without_effect(environ: Mapping[str, str]) -> list[str]:
    """@return: the names in `environ` that the original reads and this version does not."""
    return sorted(
        name
        for name in environ
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHOUT_EFFECT)
    )
