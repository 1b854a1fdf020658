"""How a setting is declared: its default, its meaning, its variable and what it must be like."""

from __future__ import annotations

from typing import Any

import attrs

from aemos.config.checks import Check, anything


def setting(
    default: Any, doc: str, *, env: str = "", secret: bool = False, valid: Check = anything
) -> Any:
    """Declare one key.

    @param env: the environment variable that overrides it; for a secret also `<env>_FILE`.
    @param secret: never shown or logged.
    @param valid: says what is wrong with a value ("" = nothing); the default is not asked.
    """
    metadata = {"doc": doc, "env": env, "secret": secret, "valid": valid}
    if isinstance(default, (list, dict)):
        frozen = tuple(default) if isinstance(default, list) else default
        return attrs.field(factory=lambda: frozen, metadata=metadata)
    return attrs.field(default=default, metadata=metadata)
