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


def _refusal(status: int, reason: str, message: str) -> bytes:
    body = b'{"status":"fail","statusCode":%d,"message":"%b"}' % (status, message.encode())
    return (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


MALFORMED = _refusal(400, "Bad Request", "the request cannot be read, or its head is too large")
TOO_LONG = _refusal(431, "Request Header Fields Too Large", "the URL or a header is too long")
"""Whole answers, for what is not read to its end."""


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
