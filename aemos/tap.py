"""`twistd aemos`: its options, and the service that it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from twisted.python import usage

from aemos import __version__
from aemos.config.load import describe, load
from aemos.config.schema import Settings
from aemos.config.tls_files import check_tls_files
from aemos.errors import ConfigurationError
from aemos.observability import logs
from aemos.server import Server

CONFIGURATION_ERROR = 3
"""Exit code when the configuration cannot be used; the command `aemos` has the same."""


class Options(usage.Options):
    """Command line of `twistd aemos`."""

    optParameters = [  # noqa: RUF012 - twisted.python.usage reads it so
        ["config", "c", None, "YAML file; environment variables override it"],
    ]
    optFlags = [  # noqa: RUF012
        ["check-config", None, "check the configuration, show it without secrets, and exit"],
        ["demo", None, "create the demo farm if the database is empty, listen on loopback"],
    ]
    longdesc = "IoT backend: MQTT, REST and realtime, in which an acknowledged message is stored."

    def opt_version(self) -> None:
        """Show the version of aemos and exit."""
        print(f"aemos {__version__}")
        sys.exit(0)


def makeService(
    options: Options, reactor: Any = None, environ: Mapping[str, str] | None = None
) -> Server:
    """Read the configuration and make the server; nothing is opened before it is started.

    A configuration that cannot be used ends the process: each mistake is a line on standard error.
    """
    if reactor is None:
        from twisted.internet import reactor  # late: importing it installs one

    def read() -> Settings:
        return load(
            options["config"],
            os.environ if environ is None else environ,
            demo=bool(options["demo"]),
        )

    try:
        settings = read()
        check_tls_files(settings)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            print(f"aemos: {line}", file=sys.stderr)
        sys.exit(CONFIGURATION_ERROR)
    if options["check-config"]:
        print("\n".join(describe(settings)))
        sys.exit(0)
    command = options.parent
    observer = logs.install(settings.log, command)
    return Server(settings, reactor, observer, command, read)
