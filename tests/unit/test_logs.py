"""Log lines: form, level, and what must never be in one."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import Application
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface.verify import verifyObject

from aemos import json
from aemos.config.schema import Log
from aemos.observability import logs

DEVICE_TOKEN = "0123456789abcdef" * 4
WEB_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6MX0.c2lnbmF0dXJl"


def lines_of(
    emit: Callable[[Logger], object], format: str = "text", level: str = "info"
) -> list[str]:
    """What the log says when `emit` logs something."""
    out = io.StringIO()
    emit(Logger("aemos.test", observer=logs.make_observer(Log(level, format), out)))
    return out.getvalue().split("\n")[:-1]


def broken(log: Logger) -> None:
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        log.failure("it broke")


def test_a_text_line_has_time_level_logger_and_message() -> None:
    (line,) = lines_of(lambda log: log.info("{client} left: {reason}", client="c1", reason="quit"))
    assert line[10] == "T"
    assert line[23:] == "Z info  [aemos.test] c1 left: quit"


def test_a_json_line_has_the_fields_of_the_event_too() -> None:
    (line,) = lines_of(lambda log: log.warn("{n} left", n=3, peer=None, raw=b"\xff"), "json")
    event = json.decode(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "warn",
        "logger": "aemos.test",
        "message": "3 left",
        "n": 3,
        "peer": None,
        "raw": "\\xff",
    }


def test_a_field_cannot_pretend_to_be_the_time_or_the_level() -> None:
    (line,) = lines_of(lambda log: log.info("x", time=0, logger="y", message="y"), "json")
    event = json.decode(line)
    assert (event["logger"], event["message"]) == ("aemos.test", "x")
    assert event["time"] != 0


def test_lines_below_the_level_are_left_out_until_the_level_changes() -> None:
    out = io.StringIO()
    observer = logs.make_observer(Log("warn", "text"), out)
    log = Logger("aemos.test", observer=observer)
    log.info("one")
    log.warn("two")
    observer.level = "debug"
    log.debug("three")
    observer.level = "error"
    log.warn("four")
    said = [line.rpartition("] ")[2] for line in out.getvalue().splitlines()]
    assert said == ["two", "three"]
    assert observer.level == "error"


@pytest.mark.parametrize("level", ["http", "verbose", "silly"])
def test_finer_levels_of_older_installations_are_debug(level: str) -> None:
    assert lines_of(lambda log: log.debug("fine"), level=level)


def test_what_twisted_says_of_its_day_is_for_debugging() -> None:
    out = io.StringIO()
    observer = logs.make_observer(Log("info", "text"), out)
    Logger("twisted.web.server", observer=observer).info("Site starting on 80")
    assert out.getvalue() == ""
    Logger("twisted.web.server", observer=observer).error("Site is broken")
    assert "Site is broken" in out.getvalue()


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_failure_brings_its_traceback_without_secrets(format: str) -> None:
    text = "\n".join(lines_of(broken, format))
    assert "Traceback" in text
    assert "ValueError" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_failure_below_error_is_one_line_without_a_traceback(format: str) -> None:
    def emit(log: Logger) -> None:
        try:
            raise ValueError("no such\nthing")
        except ValueError:
            log.failure("tried again", level=logs.LogLevel.warn)

    (line,) = lines_of(emit, format)
    assert "ValueError: no such\\nthing" in line
    assert "Traceback" not in line


def test_a_line_break_from_outside_does_not_make_a_line() -> None:
    (line,) = lines_of(lambda log: log.info("{topic}", topic="a\n2026 error [aemos] lie\x1b[0m"))
    assert line.endswith(r"a\n2026 error [aemos] lie\x1b[0m")


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "said",
    [
        '{"token":"s3cret","value":1}',
        '{"accessToken" : "s3cret"}',
        '{\\"token\\": \\"s3cret\\"}',
        "token=s3cret&x=1",
        "password: s3cret",
        "'password': 's3cret'",
        "mysql://root:s3@cret/s3cret@db/x",
        "Authorization: Bearer s3cret",
        "authorization: Basic s3cret",
        "sent Bearer s3cret here",
        "JWT_SECRET=s3cret",
        "mysql://root:s3cret@db/x",
        "Cookie: s3cret",
    ],
)
def test_secrets_in_a_text_are_masked(said: str, format: str) -> None:
    (line,) = lines_of(lambda log: log.info("{said} {raw}", said=said, raw=said.encode()), format)
    assert "cret" not in line.replace("JWT_SECRET", "")
    assert "***" in line


@pytest.mark.parametrize("format", ["text", "json"])
def test_tokens_are_known_by_their_looks(format: str) -> None:
    (line,) = lines_of(
        lambda log: log.info("{a} and {b}", a=DEVICE_TOKEN, b=f"<{WEB_TOKEN}>"), format
    )
    assert DEVICE_TOKEN not in line
    assert "eyJ" not in line


@pytest.mark.parametrize("format", ["text", "json"])
def test_fields_with_secret_names_are_masked_whatever_they_hold(format: str) -> None:
    (line,) = lines_of(
        lambda log: log.info("{token} {new_password}", token="abc", new_password=["def"]), format
    )
    assert "abc" not in line
    assert "def" not in line


@given(st.text())
def test_any_text_can_be_logged_as_one_line(text: str) -> None:
    for format in ("text", "json"):
        lines = lines_of(lambda log: log.info("{text}", text=text), format)
        assert len(lines) == 1


def test_text_that_utf8_cannot_hold_is_logged_too() -> None:
    (line,) = lines_of(lambda log: log.info("{text}", text="a\ud800b"), "json")
    assert json.decode(line)["message"] == r"a\ud800b"


def test_auto_means_text_on_a_terminal_and_json_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, first in ((Terminal(), "2"), (io.StringIO(), "{")):
        Logger("x", observer=logs.make_observer(Log(), out)).info("hello")
        assert out.getvalue()[0] == first


def test_the_observer_joins_the_application_that_twistd_makes() -> None:
    observer = logs.install(Log(), {"nodaemon": True, "logfile": None})
    assert verifyObject(ILogObserver, observer)
    application = Application("aemos")
    logs.LoggedService(observer, {"nodaemon": True}).setServiceParent(application)
    assert application.getComponent(ILogObserver) is observer


def test_with_syslog_twistd_keeps_its_own_observer() -> None:
    command = {"nodaemon": True, "syslog": True}
    application = Application("aemos")
    logs.LoggedService(logs.install(Log(), command), command).setServiceParent(application)
    assert application.getComponent(ILogObserver, None) is None


def test_under_twist_the_observer_takes_the_place_of_its_factory() -> None:
    out = io.StringIO()
    command: dict[str, object] = {"fileLogObserverFactory": None, "logFile": out}
    observer = logs.install(Log(format="text"), command)
    factory = command["fileLogObserverFactory"]
    assert callable(factory)
    assert factory(out) is observer
    event: LogEvent = {"log_format": "hello", "log_time": 0.0, "log_namespace": "x"}
    observer(event)
    assert out.getvalue() == "1970-01-01T00:00:00.000Z info  [x] hello\n"


@pytest.mark.parametrize(
    "piece",
    ["x", "token", "token=", 'token=\\",', "token='", "-eyJ", "eyJa.", "bearer ", "a://b:", "\\"],
)
def test_whatever_a_client_calls_itself_is_looked_through_at_once(piece: str) -> None:
    began = time.perf_counter()
    lines_of(lambda log: log.info("{id} came", id=(piece * 65535)[:65535]), "json")
    assert time.perf_counter() - began < 2  # minutes, if a pattern were tried from each letter


def test_long_text_is_cut_and_a_secret_at_the_cut_does_not_show() -> None:
    name = "-" * (logs.LONGEST - 10) + " " + DEVICE_TOKEN + "!" * 2000
    (line,) = lines_of(lambda log: log.info("{name}", name=name))
    assert line.endswith(f"... ({len(name)} characters)")
    assert len(line) < logs.LONGEST + 100
    assert DEVICE_TOKEN[:8] not in line
