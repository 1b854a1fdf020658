"""What the MQTT door needs of the services behind it; `aemos.assembly` puts the real ones in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aemos.errors import AemosError
from aemos.model import Burst, BurstDone, Done, Message, Principal, Verdict


class Judge(Protocol):
    """`aemos.messages.router.Router`."""

    def handle(self, message: Message, done: Done, /) -> object:
        """Call `done(verdict)` exactly once, after the commit if anything is stored."""

    def handle_burst(self, burst: Burst, done: BurstDone, /) -> object:
        """As `handle`, for messages that came together: `done(verdicts)` once for all."""

    def refuse(self, message: Message, verdict: Verdict, done: Done, /) -> object:
        """Note a message that may not come in, and call `done(verdict)`."""


class Login(Protocol):
    """`aemos.services.login.Login`."""

    def authenticate(
        self,
        username: str | None,
        password: bytes | None,
        private: bool,
        done: Callable[[Principal | AemosError], object],
        /,
    ) -> None:
        """Call `done` with who signs in, or with why not.

        @param private: nobody on the way can read the password.
        """

    def certified(
        self,
        name: str,
        username: str | None,
        done: Callable[[Principal | AemosError], object],
        /,
    ) -> None:
        """Call `done` with whom a verified client certificate of that name signs in."""

    def refresh(
        self, principal: Principal, done: Callable[[Principal | AemosError], object], /
    ) -> None:
        """Call `done` with the principal as of now, or with why its sessions must end."""


class Rights(Protocol):
    """`aemos.services.authorization.Authorization`."""

    @property
    def filters_delivery(self) -> bool:
        """Whether `may_receive` has to be asked at all."""

    def may_publish(
        self, principal: Principal, client_id: str, topic: str, done: Callable[[bool], object], /
    ) -> None: ...

    def may_subscribe(
        self, principal: Principal, client_id: str, filter: str, done: Callable[[bool], object], /
    ) -> None: ...

    def may_receive(self, principal: Principal, client_id: str, topic: str, /) -> bool: ...


class Room(Protocol):
    """`aemos.storage.writer.Writer`, as far as doors care: is there room for more?"""

    max_batch: int

    @property
    def full(self) -> bool: ...

    def when_room(self, callback: Callable[[], object], /) -> None:
        """Call back once when it is not full (any more)."""
