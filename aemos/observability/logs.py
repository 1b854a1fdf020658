"""Log lines: text for a terminal or JSON for programs, at a level that may change, without secrets.

The lines are events of `twisted.logger`. Under `twistd` the observer made here takes the place of
twistd's own (`LoggedService`) and honours its `--logfile`; under `twist` it replaces the factory
behind `--log-file`. An observer named on the command line (`twistd --logger`, `--syslog`) wins.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from types import FrameType
from typing import Any, Protocol, cast

from twisted.application.service import MultiService
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from aemos import json
from aemos.config.schema import Log
from aemos.model import Instant

MASK = "***"
LONGEST = 10_000
"""Characters of one text in the log: nobody fills the disk by calling himself something long."""
_MARGIN = 1000  # what a cut may have cut in two is not shown

_LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
_FINER = ("http", "verbose", "silly")  # what existing installations may have in LOG_LEVEL
_RANK = {level: rank for rank, level in enumerate(LogLevel.iterconstants())}

_SECRET_NAME = re.compile(r"(?i)token|password|passwd|authorization|secret|cookie")
# Clients choose much of what is logged, so no pattern may take more than linear time: each begins
# with something literal, and what could be scanned again from every beginning is bounded.
_SECRETS = (
    # "token": "...", password=..., Authorization: Bearer ...
    (
        re.compile(
            r"""(?ix) ( (?: token|password|passwd|authorization|secret|cookie )
                \\{0,8} ["']? \s{0,8} [:=] \s{0,8} )
            (?: (?:bearer|basic)\s{1,8}\S+ | \\{0,8} "(?:[^"\\]|\\.){0,500}"
            | '(?:[^'\\]|\\.){0,500}' | [^\s,;&})\]]+ )"""
        ),
        r"\1" + MASK,
    ),
    (re.compile(r"(?i)\b(bearer|basic) {1,8}[^\s,;'\"]+"), r"\1 " + MASK),
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),  # a JSON web token
    (re.compile(r"\b[0-9a-f]{64}\b"), MASK),  # a device token
    (re.compile(r"(\w://[^\s:/@]{0,200}:)\S{1,200}@"), r"\1" + MASK + "@"),  # a URL with a password
)
_SUSPECT = re.compile(
    r"(?i)token|passw|authorization|secret|cookie|bearer|basic|eyJ|[0-9a-f]{64}|://"
)
"""What all of `_SECRETS` have in common: few texts have it, so most are searched once only."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Out(Protocol):
    """Where lines go: a text stream or a `LogFile`."""

    def write(self, text: str, /) -> object:
        """Take a line with its end."""

    def flush(self) -> object:
        """Bring it out."""


def redact(text: str) -> str:
    """@return: printable `text`, with what looks like a token, password or credential as ***.

    More than `LONGEST` characters are cut.
    """
    length = len(text)
    if length > LONGEST:
        text = text[: LONGEST + _MARGIN]
    text = text.encode("utf-8", "backslashreplace").decode()
    if _SUSPECT.search(text):
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return f"{text[:-_MARGIN]}... ({length} characters)" if length > LONGEST else text


@implementer(ILogObserver)
class Observer:
    """Writes each event of its level or above as one line."""

    def __init__(self, out: Out, render: Callable[[LogEvent], str], level: str = "info") -> None:
        """@param level: debug, info, warn or error."""
        self._out = out
        self._render = render
        self._threshold = 0
        self.level = level

    @property
    def level(self) -> str:
        """The lowest level that is written; may be set at any time."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        if level in _FINER:
            level = "debug"
        self._threshold = _RANK[_LEVELS[level]]
        self._level = level

    def __call__(self, event: LogEvent) -> None:
        """Write the event, or not."""
        if _RANK[_level(event)] >= self._threshold:
            self._out.write(self._render(event) + "\n")
            self._out.flush()


def text_line(event: LogEvent) -> str:
    """Render `2026-01-01T00:00:00.000Z info  [aemos.mqtt] message`, a traceback below it."""
    line = (
        f"{_time(event)} {_level(event).name:<5} [{event.get('log_namespace', '-')}] "
        f"{_CONTROL.sub(_escaped, _message(event))}"
    )
    failure = event.get("log_failure")
    if failure is None:
        return line
    if _is_serious(event):
        return line + "\n" + _traceback(failure)
    return f"{line}: {_CONTROL.sub(_escaped, _summary(failure))}"


def json_line(event: LogEvent) -> str:
    """Render one JSON object: the fields of the event, then time, level, logger and message."""
    line: dict[str, Any] = {}
    if event.get("log_namespace") != "log_legacy":
        for name, value in event.items():
            if not name.startswith("log_"):
                line[name] = MASK if _is_secret(name) else _plain(value)
    line["time"] = _time(event)
    line["level"] = _level(event).name
    line["logger"] = event.get("log_namespace", "-")
    line["message"] = _message(event)
    failure = event.get("log_failure")
    if failure is not None:
        line["error"] = _summary(failure)
        if _is_serious(event):
            line["traceback"] = _traceback(failure)
    return json.encode(line).decode()


def make_observer(settings: Log, out: Out) -> Observer:
    """@return: an observer for the format and level of the settings."""
    is_text = settings.format == "text"
    if settings.format == "auto":
        is_text = bool(getattr(out, "isatty", lambda: False)())
    return Observer(out, text_line if is_text else json_line, settings.level)


def install(settings: Log, command: MutableMapping[Any, Any] | None) -> Observer:
    """Make the observer of a server that `twistd` or `twist` is about to start.

    @param command: the options of that command (`Options.parent`), None without one.
    """
    command = {} if command is None else command
    if "fileLogObserverFactory" in command:
        observer = make_observer(settings, command["logFile"])
        command["fileLogObserverFactory"] = lambda _: observer
        command["logLevel"] = LogLevel.debug  # the observer's own level decides
        return observer
    return make_observer(settings, _twistd_output(command))


class LoggedService(MultiService):
    """The root of a server's services: takes its observer along into the application it joins."""

    def __init__(self, observer: Observer, command: Mapping[Any, Any] | None) -> None:
        """@param command: as in `install`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.observer = observer
        self._syslog = bool(command and command.get("syslog"))

    def setServiceParent(self, parent: object) -> None:
        """Join; twistd looks for an `ILogObserver` component when its application is complete."""
        if isinstance(parent, Componentized) and not self._syslog:
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def _twistd_output(command: Mapping[Any, Any]) -> Out:
    """Open what twistd would have: standard output, or a file that SIGUSR1 rotates."""
    name = command.get("logfile")
    daemon = bool(command) and not command.get("nodaemon")
    if name == "-" or (not name and not daemon) or command.get("syslog"):
        return sys.stdout
    out = LogFile.fromFullPath(os.path.abspath(name or "twistd.log"))
    if not signal.getsignal(signal.SIGUSR1):

        def rotate(number: int, frame: FrameType | None) -> None:
            from twisted.internet import reactor  # late: importing it installs one

            reactor.callFromThread(out.rotate)  # type: ignore[attr-defined]

        signal.signal(signal.SIGUSR1, rotate)
    return cast(Out, out)


def _level(event: LogEvent) -> Any:
    """The level of an event; what Twisted itself tells of its day is for debugging."""
    level = event.get("log_level", LogLevel.info)
    if level is LogLevel.info:
        namespace = event.get("log_namespace", "")
        if namespace == "log_legacy" or namespace.startswith("twisted."):
            return LogLevel.debug
    return level


def _is_serious(event: LogEvent) -> bool:
    return _RANK[_level(event)] >= _RANK[LogLevel.error]


def _time(event: LogEvent) -> str:
    return Instant.of(event.get("log_time", 0.0)).iso()


def _message(event: LogEvent) -> str:
    shown = {
        name: MASK if not name.startswith("log_") and _is_secret(name) else value
        for name, value in event.items()
    }
    return redact(formatEvent(shown))


@lru_cache(1000)
def _is_secret(name: str) -> bool:
    """@return: whether a field of this name is not for the log; the same few names come again."""
    return _SECRET_NAME.search(name) is not None


def _summary(failure: Failure) -> str:
    return redact(f"{failure.type.__name__ if failure.type else '?'}: {failure.getErrorMessage()}")


def _traceback(failure: Failure) -> str:
    return redact(failure.getTraceback().rstrip())


def _plain(value: object) -> object:
    """A field as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return redact(value if isinstance(value, str) else repr(value))


def _escaped(control: re.Match[str]) -> str:
    """A line break from outside must not look like a line of ours."""
    return control[0].encode("unicode_escape").decode()
