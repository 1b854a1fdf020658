"""The running server: opens its rooms in order, and closes them in the opposite one."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from aemos import __version__, open_files
from aemos.assembly import Doors, Services
from aemos.config.schema import Settings
from aemos.errors import AemosError, ConfigurationError, StartError
from aemos.listeners import Listeners
from aemos.observability.logs import LoggedService, Observer
from aemos.reactor import spare_log_context
from aemos.services import demo
from aemos.services.control import ControlSocket, socket_path
from aemos.services.events import Events
from aemos.services.passwords import Passwords
from aemos.services.users import Users
from aemos.storage.database import Database, open_database


class Server(LoggedService):
    """What `twistd aemos` runs.

    Start: database (with its migrations), services, doors. Stop: the doors stop accepting, what is
    queued is committed and acknowledged, then sessions close and the database does; all of it
    within `stop_grace`.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        observer: Observer,
        command: Mapping[Any, Any] | None = None,
        read: Callable[[], Settings] | None = None,
    ) -> None:
        """@param read: reads the configuration again (SIGHUP); without it that changes nothing.

        It may raise `ConfigurationError`.
        """
        super().__init__(observer, command)
        self._settings, self._reactor = settings, reactor
        self._read = read
        self._acl = settings.mqtt.acl
        self._control: ControlSocket | None = None
        self._passwords: Passwords | None = None
        self._database: Database | None = None
        self._services: Services | None = None
        self._doors: Doors | None = None
        self._listeners: Listeners | None = None
        self._starting: Deferred[None] | None = None

    # ------------------------------------------------------------------ start

    def startService(self) -> None:
        """Begin to start; a failure is one line in the log and ends the process with code 1."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(_heed_signals, self._reactor, self.reload)
        spare_log_context()
        self._starting = ensureDeferred(self._start())

    async def _start(self) -> None:
        try:
            await self._open()
        except CancelledError:
            self._log.info("stopped before everything was started")
        except AemosError as error:
            self._fail(str(error))
        except Exception:
            self._log.failure("starting failed")
            self._fail("a fault of the server, see above")

    async def _open(self) -> None:
        open_files.raise_limit(_open_files(self._settings))
        reactor, events = self._reactor, Events()
        _make_data_dir(self._settings.data_dir)
        self._control = ControlSocket(reactor, socket_path(self._settings), events)
        self._control.start()
        passwords = self._passwords = Passwords(self._settings.auth, reactor)
        passwords.start()
        database = self._database = open_database(reactor, self._settings)
        await database.start()
        settings, farm = self._settings, None
        if settings.demo:
            farm = await demo.create(settings, database, passwords)
            if farm is not None:
                settings = demo.with_open_telemetry(settings, farm)
        if settings.auth.admin_email:
            users = Users(database, events, passwords)
            made = await users.create_admin(settings.auth.admin_email, settings.auth.admin_password)
            if made.promoted:  # anybody can sign up with any address
                self._log.warn(
                    "{email} had signed up before and is a System Admin from now on, with the"
                    " password of then, not that of auth.admin_password",
                    email=made.email,
                )
        self._services = Services(settings, reactor, events, database, passwords)
        self._doors = Doors(self._services, self.observer)
        await self._doors.clients.start()
        await self._services.presences.start()
        await self._doors.broker.start()
        await self._services.commands.start()
        await self._services.alarms.start()
        await self._services.fail_safe.start()
        self._doors.sys_topics.start()
        await self._services.rules.start()
        self._listeners = Listeners(reactor, settings, self._doors)
        await self._listeners.open()
        ports = self._listeners.ports
        self._doors.ports.update(ports)
        self._doors.series.start()
        self._services.upkeep.start()
        self._services.outbox.start()
        _spare_the_collector()
        _write_ports(settings.data_dir, ports)
        bound = ", ".join(f"{name} {port}" for name, port in ports.items())
        self._log.info("aemos {version} is ready: {ports}", version=__version__, ports=bound)
        if farm is not None:
            # The log takes sys.stdout over and would mask the tokens.
            print(demo.banner(settings, farm, ports), file=sys.__stdout__, flush=True)

    def _fail(self, reason: str) -> None:
        self._log.critical("aemos cannot start: {reason}", reason=reason)
        atexit.register(_exit_with_failure)
        self._reactor.callLater(0, self._reactor.stop)

    # ------------------------------------------------------------------ reload

    def reload(self) -> None:
        """Read the configuration again, and take from it what can change while clients stay.

        That is the level of the log, the ACL of MQTT and what the files of TLS hold. Where it is
        wrong, everything stays as it was.
        """
        services, doors, listeners = self._services, self._doors, self._listeners
        if self._read is None or services is None or doors is None or listeners is None:
            return
        try:
            settings = self._read()
        except ConfigurationError as error:
            for line in str(error).splitlines():
                self._log.error("configuration not taken over: {line}", line=line)
            return
        for problem in listeners.reload(settings):
            self._log.error("certificates not taken over: {problem}", problem=problem)
        if settings.mqtt.acl != self._acl:
            self._acl = settings.mqtt.acl
            services.authorization.configure(self._acl)
            doors.broker.rights_changed()
        self._log.info("configuration read again")
        self.observer.level = settings.log.level

    # ------------------------------------------------------------------ stop

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when everything is closed, or when the grace is over."""
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        ends = self._reactor.seconds() + self._settings.stop_grace
        if self._starting is not None:
            self._starting.cancel()
        doors, services = self._doors, self._services
        if services is not None:
            services.presences.freeze()
        if doors is not None:
            doors.streams.stop()
            doors.socket_io.stop_polling()
        closing: list[Deferred[Any]] = []
        if self._listeners is not None:
            closing += self._listeners.close()
        if doors is not None:
            doors.sys_topics.stop()
            doors.series.stop()
            closing.append(doors.broker.drain())
        await self._within(ends, closing, "acknowledging what was taken")
        if services is not None:
            await self._within(ends, [ensureDeferred(services.rules.stop())], "rules")
            services.fail_safe.stop()
            await self._within(ends, [ensureDeferred(services.alarms.stop())], "alarms")
            services.commands.stop()
            services.upkeep.stop()
            last = [
                ensureDeferred(services.token_use.stop()),
                ensureDeferred(services.presences.stop()),
                ensureDeferred(services.outbox.stop()),
            ]
            await self._within(ends, last, "last uses, presence and letters")
        if doors is not None:
            await self._within(ends, [ensureDeferred(doors.clients.stop())], "records of clients")
        if self._database is not None:
            await self._database.stop(max(0.0, ends - self._reactor.seconds()))
        if doors is not None:
            sessions = [doors.broker.close_all(), doors.channel.stop(), doors.socket_io.stop()]
            await self._within(ends, sessions, "closing sessions")
        if self._passwords is not None:
            self._passwords.stop()
        if self._control is not None:
            await self._control.stop()
        if doors is not None and doors.ports:
            self._log.info("aemos has stopped")

    async def _within(self, ends: float, waiting: list[Deferred[Any]], what: str) -> None:
        """Wait for all, while the grace lasts; an error is logged and stops nothing.

        What is not done by then is cancelled, and not waited for: it may be waiting for a database
        that says nothing.
        """
        over: Deferred[None] = Deferred()
        all_done = DeferredList(waiting, consumeErrors=True)

        def late() -> None:
            all_done.cancel()
            if not over.called:
                over.callback(None)

        def done(results: list[tuple[bool, Any]]) -> None:
            for succeeded, result in results:
                if not succeeded:
                    reason = result.getErrorMessage() or "not in time"
                    self._log.warn("stopping: {what}: {reason}", what=what, reason=reason)
            if timer.active():
                timer.cancel()
            if not over.called:
                over.callback(None)

        timer = self._reactor.callLater(max(0.0, ends - self._reactor.seconds()), late)
        all_done.addCallback(done)
        await over


def _spare_the_collector() -> None:
    """Let the cyclic collector look less often, and never at what lives as long as the server.

    Messages are many and free of cycles; with the defaults, looking for cycles among those that
    wait for a commit costs a tenth of the time that they take.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _open_files(settings: Settings) -> int:
    """@return: how many sockets and files the server may come to have open."""
    realtime = settings.realtime
    sockets = settings.mqtt.max_connections + realtime.max_connections
    sockets += realtime.socket_io.max_connections
    return sockets + 1000  # requests, database, files


def _make_data_dir(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartError(f"the data folder {path} cannot be made: {error.strerror}") from error


def _write_ports(data_dir: str, ports: Mapping[str, int]) -> None:
    """Tell other programs on this machine what was bound; port 0 in the settings picks freely."""
    path = os.path.join(data_dir, "ports.json")
    try:
        with open(f"{path}.new", "w") as file:
            json.dump(dict(ports), file)
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from error


def _heed_signals(reactor: Any, reload: Callable[[], None]) -> None:
    """Let an ordered stop end with exit code 0: twistd would end as if the signal had killed it.

    SIGHUP reads the configuration again.
    """

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):  # the second signal of an impatient operator
            reactor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(stop))
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reload))


def _exit_with_failure() -> None:
    """Give the process the exit code that twistd has no way to give it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
