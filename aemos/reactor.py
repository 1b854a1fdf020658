"""Takes a cost off the event loop that aemos has no use for: the log context around each event."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.python import log


class _WithoutContext:
    """Stands in for `twisted.python.log` where the epoll reactor dispatches events."""

    err = staticmethod(log.err)

    @staticmethod
    def callWithLogger(logger: Any, function: Callable[..., object], *args: Any) -> None:
        """Call without the context: it only prefixes legacy log lines, and costs as much
        as parsing a packet does."""
        try:
            function(*args)
        except Exception:
            log.err()


def spare_log_context() -> None:
    """Let the epoll reactor of this process call sockets directly; others stay as they are."""
    # Not imported here: it can be only where the system has epoll.
    module: Any = sys.modules.get("twisted.internet.epollreactor")
    if module is not None:
        module.log = _WithoutContext
