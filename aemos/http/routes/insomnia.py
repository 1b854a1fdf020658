"""`/insomnia`: the API as a collection to try it with (spec/http-api.md section 4.14)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime

from aemos.http import insomnia
from aemos.http.limits import require_localhost
from aemos.http.render import Answer, Shape
from aemos.http.routing import API, Auth, Call, Group, route, table
from aemos.model import Instant


class InsomniaRoutes:
    """The export, for this machine only."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/insomnia",)

    def __init__(self, groups: Iterable[Group], clock: IReactorTime) -> None:
        """@param groups: all that are served; read when asked, so that this one may be in it."""
        self._groups, self._clock = groups, clock

    @route("GET", "", auth=Auth.OPEN, errors=Shape.E2)
    async def export(self, call: Call) -> Answer:
        """Export every route as an Insomnia collection."""
        require_localhost(call.request)
        host = call.request.getHost()
        base_url = f"http://127.0.0.1:{getattr(host, 'port', 3000)}"
        document = insomnia.export(table(self._groups), base_url, Instant.of(self._clock.seconds()))
        name = 'attachment; filename="aemos-api-insomnia.json"'
        return Answer(document, headers={"Content-Disposition": name})
