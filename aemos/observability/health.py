"""Whether the server can do its work just now, part by part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import (
    Deferred,
    TimeoutError,
    ensureDeferred,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import AemosError

Part = Callable[[], Awaitable[object] | None]
"""Returns (or finishes) when ready, raises when not; the text of an `AemosError` says why."""


class Health:
    """The parts that readiness depends on."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, patience: float = 2.0) -> None:
        """@param patience: seconds after which a part that does not answer counts as not ready."""
        self._clock, self._patience = clock, patience
        self._parts: dict[str, Part] = {}

    def add(self, name: str, part: Part) -> None:
        """Make readiness depend on a part."""
        self._parts[name] = part

    async def check(self) -> dict[str, str]:
        """@return: for each part, "" when it is ready, else what is wrong with it."""
        names = list(self._parts)
        answers: list[str] = await gatherResults([self._ask(name) for name in names])
        return dict(zip(names, answers, strict=True))

    def _ask(self, name: str) -> Deferred[str]:
        asked: Deferred[object] = maybeDeferred(lambda: _started(self._parts[name]()))
        asked.addTimeout(self._patience, self._clock)
        return asked.addCallbacks(lambda _: "", lambda failure: self._reason(name, failure))

    def _reason(self, name: str, failure: Failure) -> str:
        if failure.check(AemosError):
            return failure.getErrorMessage()
        if failure.check(TimeoutError):
            return f"no answer within {self._patience:g} s"
        self._log.failure("checking {part} failed", failure, part=name)
        return "cannot be checked"


def _started(answer: Awaitable[object] | None) -> object:
    """Give a coroutine to Twisted; a Deferred and None pass."""
    if answer is None or isinstance(answer, Deferred):
        return answer
    return ensureDeferred(answer)  # type: ignore[arg-type]
