"""The `aemos` command: administration beside a server, running or not.

Every command reads the same configuration as the server. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 wrong configuration, 4 the database cannot be used.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TextIO

import attrs
from twisted.internet import task
from twisted.python import usage

from aemos import __version__, json
from aemos.config.load import describe, load
from aemos.config.names import without_effect
from aemos.config.schema import Settings
from aemos.config.tls_files import check_tls_files
from aemos.errors import AemosError, ConfigurationError, StartError, StorageUnavailable, Unavailable
from aemos.model import PrincipalKind
from aemos.services import demo
from aemos.services.control import socket_path, tell
from aemos.services.events import Events, IdentityChanged, UserChanged
from aemos.services.passwords import Passwords
from aemos.services.tokens import DeviceTokens
from aemos.services.users import Users
from aemos.simulator import Simulator
from aemos.storage import audit
from aemos.storage.audit import Actor
from aemos.storage.database import Database, open_database

DONE, FAILED, USAGE, CONFIGURATION, STORAGE = range(5)
"""Exit codes."""


@attrs.frozen
class Result:
    """What a command did: `text` for a person, `data` for a program."""

    text: str
    data: Mapping[str, Any]


@attrs.frozen
class Call:
    """What a command works with."""

    reactor: Any
    settings: Settings
    environ: Mapping[str, str]
    stdin: TextIO


class _Versioned(usage.Options):
    """Options with our version instead of Twisted's."""

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"aemos {__version__}")
        raise SystemExit(DONE)


class _Command(_Versioned):
    """What all commands have."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", None, "YAML file; environment variables override it"]
    ]
    optFlags: ClassVar[list[list[Any]]] = [["json", "j", "print one JSON object"]]

    async def run(self, call: Call) -> Result:
        """Do it."""
        raise NotImplementedError


class CreateAdmin(_Command):
    """aemos create-admin: make sure that a System Admin with this e-mail exists."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["email", "e", None, "e-mail address to sign in with"],
        ["password", "p", None, "its password; other users of the machine may see it"],
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        [
            "password-stdin",
            None,
            "read the password from the first line of standard input; a terminal is asked for it",
        ]
    ]

    def postOptions(self) -> None:
        """Check what belongs together."""
        if not self["email"]:
            raise usage.UsageError("create-admin needs --email")
        if (self["password"] is None) != bool(self["password-stdin"]):
            raise usage.UsageError("create-admin needs either --password or --password-stdin")

    async def run(self, call: Call) -> Result:
        """Create the user, or find it."""
        password = self["password"]
        if password is None:
            password = _read_password(call.stdin)
        passwords = Passwords(call.settings.auth, call.reactor)
        passwords.start()
        try:
            async with _Opened(call) as opened:
                users = Users(opened.database, opened.events, passwords)
                made = await users.create_admin(self["email"], password)
        finally:
            passwords.stop()
        data = {"id": made.user_id, "email": made.email, "organizationId": made.organization_id}
        how = "was made" if made.created else "existed, with the password it has"
        return Result(
            f"{made.email} is a System Admin; the user {how}", {**data, "created": made.created}
        )


class CreateToken(_Command):
    """aemos create-token: make a token that a sensor or device signs in with."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["sensor", "s", None, "uuid of the sensor"],
        ["device", "d", None, "uuid of the device"],
        [
            "expires",
            "x",
            None,
            "when it ends: 12h or 30d from now, or an ISO 8601 time; default never",
        ],
    ]

    def postOptions(self) -> None:
        """Check what is needed."""
        if bool(self["sensor"]) == bool(self["device"]):
            raise usage.UsageError("create-token needs either --sensor or --device")

    async def run(self, call: Call) -> Result:
        """Create the token and show it."""
        async with _Opened(call) as opened:
            tokens = DeviceTokens(opened.database, opened.events, call.reactor)
            kind = PrincipalKind.SENSOR if self["sensor"] else PrincipalKind.DEVICE
            uuid = self["sensor"] or self["device"]
            row = await tokens.create_for(kind, uuid, self["expires"])
        return Result(row["token"], row)


class Migrate(_Command):
    """aemos migrate: bring the schema of the database up to date."""

    async def run(self, call: Call) -> Result:
        """Opening the database is all that it takes."""
        async with _Opened(call) as opened:
            applied = opened.applied
        text = f"applied: {', '.join(applied)}" if applied else "the schema is up to date"
        return Result(text, {"applied": applied})


class CheckConfig(_Command):
    """aemos check-config: read and check the configuration, and show it without secrets."""

    async def run(self, call: Call) -> Result:
        """What `load` accepted is right; look at the files that it names, and show it."""
        check_tls_files(call.settings)
        lines = describe(call.settings)
        ignored = without_effect(call.environ)
        if ignored:
            lines = [*lines, f"without effect in this version: {', '.join(ignored)}"]
        settings = dict(line.split(": ", 1) for line in describe(call.settings))
        return Result("\n".join(lines), {"settings": settings, "withoutEffect": ignored})


class Simulate(_Command):
    """aemos simulate: publish readings for the demo farm's sensors until stopped."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["rate", "r", 1.0, "readings per second", float],
        ["count", "n", None, "stop after so many", int],
        ["host", None, None, "MQTT server; default: where this configuration listens"],
        ["port", None, None, "its port", int],
    ]

    def postOptions(self) -> None:
        """Check the numbers."""
        if not 0 < self["rate"] <= 100_000:
            raise usage.UsageError("--rate must be above 0 and at most 100000")
        if self["count"] is not None and self["count"] < 1:
            raise usage.UsageError("--count must be at least 1")

    async def run(self, call: Call) -> Result:
        """Publish; on a signal, wait for what was sent to be acknowledged."""
        credentials = demo.read_credentials(call.settings)
        if credentials is None:
            raise Unavailable("there is no demo farm; a server started with --demo makes one")
        host, port = demo.mqtt_address(call.settings)
        simulator = Simulator(call.reactor, credentials.sensors, self["rate"], self["count"])
        call.reactor.addSystemEventTrigger("before", "shutdown", simulator.stop)
        totals = await simulator.run(self["host"] or host, self["port"] or port)
        return Result(
            f"{totals.sent} readings sent, {totals.acknowledged} acknowledged", attrs.asdict(totals)
        )


class Options(_Versioned):
    """The command line of `aemos`."""

    longdesc = "`aemos COMMAND --help` shows the options of a command."
    subCommands: ClassVar[list[Any]] = [
        ["create-admin", None, CreateAdmin, "make a System Admin"],
        ["create-token", None, CreateToken, "make a token for a sensor or device"],
        ["simulate", None, Simulate, "publish readings for the demo farm"],
        ["check-config", None, CheckConfig, "check and show the configuration"],
        ["migrate", None, Migrate, "bring the database up to date"],
    ]

    def postOptions(self) -> None:
        """There must be a command."""
        if self.subCommand is None:
            raise usage.UsageError("give a command")


class _Opened:
    """A database opened for one command; afterwards a running server hears what was changed."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._news: list[IdentityChanged | UserChanged] = []
        self.events = Events()
        self.applied: list[str] = []
        self.database: Database = open_database(call.reactor, call.settings)

    async def __aenter__(self) -> _Opened:
        self.events.subscribe(IdentityChanged, self._news.append)
        self.events.subscribe(UserChanged, self._news.append)
        self.applied = await self.database.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.database.stop()
        if self._news:
            await tell(self._call.reactor, socket_path(self._call.settings), self._news)


async def execute(
    command: _Command, reactor: Any, environ: Mapping[str, str], stdin: TextIO
) -> tuple[int, str]:
    """Run a parsed command.

    @return: the exit code, and what to print: on standard output with `--json` or on success, else
        on standard error.
    """
    try:
        settings = load(command["config"], environ)
        with audit.acting(Actor("cli", name=f"uid {os.getuid()}")):
            result = await command.run(Call(reactor, settings, environ, stdin))
    except AemosError as error:
        code = _exit_code(error)
        if command["json"]:
            return code, _json({"status": "error", "code": error.code, "message": str(error)})
        return code, "\n".join(f"aemos: {line}" for line in str(error).splitlines())
    if command["json"]:
        return DONE, _json({"status": "success", "data": result.data})
    return DONE, result.text


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; always ends in `SystemExit`."""
    options = Options()  # type: ignore[no-untyped-call]
    try:
        options.parseOptions(sys.argv[1:] if argv is None else argv)  # type: ignore[no-untyped-call]
    except usage.UsageError as error:
        command = f"{options.subCommand} " if options.subCommand else ""
        print(f"aemos: {error}\nTry: aemos {command}--help", file=sys.stderr)
        raise SystemExit(USAGE) from None
    task.react(_react, [options.subOptions])


async def _react(reactor: Any, command: _Command) -> None:
    code, text = await execute(command, reactor, os.environ, sys.stdin)
    print(text, file=sys.stdout if code == DONE or command["json"] else sys.stderr)
    if code:
        raise SystemExit(code)


def _read_password(stdin: TextIO) -> str:
    """@return: the first line; one that is typed does not appear on the terminal."""
    if stdin.isatty():
        return getpass.getpass("Password: ")
    return stdin.readline().rstrip("\r\n")


def _exit_code(error: AemosError) -> int:
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    return STORAGE if isinstance(error, (StartError, StorageUnavailable)) else FAILED


def _json(answer: Mapping[str, Any]) -> str:
    return json.encode(answer).decode()
