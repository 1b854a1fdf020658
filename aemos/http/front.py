"""What each request to the API passes: headers for all, path, rate limit; then comes its route."""

from __future__ import annotations

import secrets
from functools import lru_cache
from itertools import count
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString

from aemos.errors import BadRequest
from aemos.http import headers
from aemos.http.connection import ApiRequest
from aemos.http.endpoint import Api
from aemos.http.limits import ClientAddresses, RateLimit, network
from aemos.http.paths import Paths
from aemos.http.render import Answer, failure


class Front:
    """The way into the API, for everything that is not attached to the site beside it."""

    def __init__(
        self, api: Api, addresses: ClientAddresses, limit: RateLimit | None, clock: IReactorTime
    ) -> None:
        self._api, self._paths = api, Paths(api.rules)
        # Programs ask for the same few paths all the time.
        self._folded = lru_cache(256)(self._fold)
        self._addresses, self._limit, self._clock = addresses, limit, clock
        self._ids = (f"{secrets.token_hex(4)}{number:08x}" for number in count())
        self._date = (-1, b"")

    def serve(self, request: ApiRequest) -> None:
        """Answer it, now or later."""
        now = self._clock.seconds()
        request.id = next(self._ids)
        request.ready_lines += b"".join(
            (headers.SECURITY, self._date_at(int(now)), b"\r\nX-Request-Id: ", request.id.encode())
        )
        try:
            path, limited = self._folded(request.path)
        except UnicodeDecodeError:
            request.answer(failure(BadRequest("the path is not UTF-8")))
            return
        address = request.address = self._addresses.of(request)
        request.network = network(address)
        if self._limit is not None and limited:
            allowance = self._limit.count(address)
            request.ready_lines += headers.rate_limit(allowance, self._limit.window, now)
            if allowance.exceeded:
                body = b"Too many requests, please try again later"
                request.answer(Answer(body, 429, content_type="text/html; charset=utf-8"))
                return
        self._api.serve(request, path)

    def _fold(self, path: bytes) -> tuple[str, bool]:
        """@return: the path as a rule writes it, and whether the rate limit counts it.

        @raise UnicodeDecodeError: what is behind the percent signs is not UTF-8.
        """
        segments = self._paths.fold(_segments(path))
        return "/" + "/".join(segments), bool(segments) and segments[0].lower() == "api"

    def _date_at(self, second: int) -> bytes:
        """@return: the header line of that second; it is the same for many requests."""
        if self._date[0] != second:
            self._date = second, b"\r\nDate: " + datetimeToString(second)
        return self._date[1]


def _segments(path: bytes) -> list[str]:
    """@raise UnicodeDecodeError: what is behind the percent signs is not UTF-8."""
    if b"%" in path:
        return [unquote_to_bytes(part).decode() for part in path[1:].split(b"/")]
    return path[1:].decode().split("/")
