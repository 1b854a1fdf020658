"""How many files and sockets the process may have open: raises its limit where it may."""

from __future__ import annotations

import resource

from twisted.logger import Logger

_log = Logger()


def raise_limit(wanted: int) -> int:
    """Let the process have `wanted` files open, or as many as the hard limit allows.

    Too few are warned about; the server then turns away what it has no room for, and goes on.

    @return: how many it may have now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError) as error:
            _log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
            return soft
        soft = target
    if soft != resource.RLIM_INFINITY and soft < wanted:
        _log.warn(
            "only {soft} files may be open, {wanted} may be needed: raise the hard limit"
            " (LimitNOFILE, ulimit -Hn) or lower mqtt.max_connections",
            soft=soft,
            wanted=wanted,
        )
    return soft
