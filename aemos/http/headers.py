"""Header lines that are the same for many answers, kept as bytes ready to send.

Setting some twenty headers one by one would cost more than routing the request does.
"""

from __future__ import annotations

from math import ceil

from aemos.http.limits import Allowance

CORS = b"\r\nAccess-Control-Allow-Origin: *"
"""Every answer has it."""

POLICY = (
    b"\r\nContent-Security-Policy: default-src 'self';base-uri 'self';font-src 'self' https: data:;"
    b"form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';"
    b"script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';"
    b"upgrade-insecure-requests"
)
"""The part of `SECURITY` that a page with a policy of its own goes without."""

_SECURITY = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}

SECURITY = POLICY + "".join(f"\r\n{name}: {value}" for name, value in _SECURITY.items()).encode()
"""What the original's helmet sets (spec/http-api.md section 1.2). Each line begins with CRLF."""

TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)
"""A whole answer: for a line that is not read to its end."""


def rate_limit(allowance: Allowance, window: float, now: float) -> bytes:
    """Tell a client what it has left.

    @param window: seconds. @param now: seconds since 1970.
    @return: lines that begin with CRLF each.
    """
    limit, remaining, seconds = allowance.limit, allowance.remaining, ceil(allowance.resets_in)
    lines = (
        f"\r\nX-RateLimit-Limit: {limit}"
        f"\r\nX-RateLimit-Remaining: {remaining}"
        f"\r\nX-RateLimit-Reset: {ceil(now + allowance.resets_in)}"
        f"\r\nRateLimit-Policy: {limit};w={int(window)}"
        f"\r\nRateLimit-Limit: {limit}"
        f"\r\nRateLimit-Remaining: {remaining}"
        f"\r\nRateLimit-Reset: {seconds}"
    )
    if allowance.exceeded:
        lines += f"\r\nRetry-After: {seconds}"
    return lines.encode()
