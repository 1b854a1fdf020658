"""The HTTP door as a service: listens while it runs, and finishes its requests when it stops."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort

from aemos.errors import StartError
from aemos.http.site import Site


class HttpDoor(Service):
    """Serves a site at one address."""

    name = "http"

    def __init__(self, site: Site, endpoint: str, reactor: Any, stop_grace: float) -> None:
        """@param endpoint: where to listen, as Twisted writes it.

        @param stop_grace: seconds that requests in progress get when the door stops.
        """
        self._site, self._reactor, self._grace = site, reactor, stop_grace
        self._endpoint = endpoint
        self._listening: IListeningPort | None = None

    async def listen(self) -> None:
        """Open the port; the service counts as running after that.

        @raise StartError: it cannot be opened, e.g. because it is in use.
        """
        try:
            self._listening = await serverFromString(self._reactor, self._endpoint).listen(
                self._site
            )
        except Exception as error:
            raise StartError(f"HTTP cannot listen on {self._endpoint}: {error}") from error

    @property
    def port(self) -> int | None:
        """The TCP port that is bound, if the door is open and its address has one."""
        if self._listening is None:
            return None
        port: int | None = getattr(self._listening.getHost(), "port", None)
        return port

    def stopService(self) -> Deferred[None]:
        """Stop accepting, answer what is in progress, close."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await _maybe(listening.stopListening())
        drained = self._site.drain()
        drained.addTimeout(self._grace, self._reactor)
        try:
            await drained
        except TimeoutError:
            return


async def _maybe(result: object) -> None:
    if isinstance(result, Deferred):
        await result
