"""Finds out who an MQTT client is: a device by its token, a user, or nobody if that is allowed."""

from __future__ import annotations

from aemos.config.schema import Mqtt
from aemos.errors import Unauthenticated
from aemos.model import ANONYMOUS, Principal, PrincipalKind
from aemos.services.device_login import DeviceLogin, LoginDone
from aemos.services.user_login import UserLogin


class Login:
    """Asks whom the name speaks of: e-mail addresses have an @, uuids of devices do not."""

    def __init__(self, devices: DeviceLogin, users: UserLogin, settings: Mqtt) -> None:
        self._devices, self._users, self._settings = devices, users, settings

    def authenticate(
        self, username: str | None, password: bytes | None, private: bool, done: LoginDone
    ) -> None:
        """Call `done` with the principal, or with an `AemosError` that says why not.

        `Unauthenticated` is the same for an unknown name and a wrong secret; its text is for the
        log.
        @param private: nobody on the way can read the password.
        """
        if not self._settings.auth_enabled:
            done(ANONYMOUS)
        elif not username or not password:
            done(
                ANONYMOUS
                if self._settings.allow_unauthenticated
                else Unauthenticated("no credentials given")
            )
        elif "@" in username:
            self._users.authenticate(username, password, private, done)
        elif not self._settings.token_auth:
            done(Unauthenticated("device tokens are switched off (mqtt.token_auth)"))
        else:
            self._devices.authenticate(username, password, done)

    def certified(self, name: str, username: str | None, done: LoginDone) -> None:
        """Sign in the device whose client certificate was verified; as `authenticate` else.

        @param username: given beside the certificate; it cannot be another's.
        """
        if not self._settings.auth_enabled:
            done(ANONYMOUS)
        elif username and username != name:
            done(Unauthenticated("the client certificate names somebody else"))
        else:
            self._devices.certified(name, done)

    def refresh(self, principal: Principal, done: LoginDone) -> None:
        """Call `done` with the principal as of now, or with why its sessions must end."""
        if principal.kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE):
            self._devices.refresh(principal, done)
        elif principal.kind is PrincipalKind.USER:
            self._users.refresh(principal, done)
        else:
            done(principal)
