"""Signs sensors and devices in by their tokens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from aemos.errors import AemosError, StorageUnavailable, Unauthenticated
from aemos.model import Instant, Principal
from aemos.services.catalogue import Catalogue, Credential, Identity

LoginDone = Callable[[Principal | AemosError], object]

BY_CERTIFICATE = Credential(0, "certificate", None)
"""Of who came with a client certificate: valid as long as the device exists, unlike any digest."""

_LONGEST_TOKEN = 128  # of 64 bytes


class DeviceLogin:
    """CONNECT authentication as in spec/mqtt.md section 3, without its back doors."""

    def __init__(
        self,
        catalogue: Catalogue,
        clock: IReactorTime,
        used: Callable[[Identity, Credential], object],
    ) -> None:
        """@param used: told about each successful sign-in, to keep `lastUsed`."""
        self._catalogue, self._clock, self._used = catalogue, clock, used

    def authenticate(self, username: str, token: bytes, done: LoginDone) -> None:
        """Call `done` with the principal, or with why not.

        `Unauthenticated` is the same for an unknown name and a wrong token; its text is for the
        log. `StorageUnavailable` means that nobody can tell just now.
        """
        if len(token) > _LONGEST_TOKEN:
            done(Unauthenticated("unknown name or wrong token"))
            return

        def found(identity: Identity | StorageUnavailable | None) -> None:
            if isinstance(identity, StorageUnavailable):
                done(identity)
            elif isinstance(identity, Identity) and (
                credential := self._credential(identity, token)
            ):
                self._used(identity, credential)
                done(identity.principal(credential))
            # A token that another process made a moment ago is not in what is held.
            elif not isinstance(identity, Identity) or not self._catalogue.find_again(
                identity, found_again
            ):
                done(Unauthenticated("unknown name or wrong token"))

        def found_again(identity: Identity | StorageUnavailable | None) -> None:
            if isinstance(identity, Identity) and (credential := self._credential(identity, token)):
                self._used(identity, credential)
                done(identity.principal(credential))
            else:
                done(
                    identity
                    if isinstance(identity, StorageUnavailable)
                    else Unauthenticated("unknown name or wrong token")
                )

        self._catalogue.find(username, found)

    def certified(self, name: str, done: LoginDone) -> None:
        """Sign in by the uuid in a client certificate that was verified; as `authenticate` else."""

        def found(identity: Identity | StorageUnavailable | None) -> None:
            if isinstance(identity, Identity):
                done(identity.principal(BY_CERTIFICATE))
            else:
                done(identity or Unauthenticated("the certificate's name is that of no device"))

        self._catalogue.find(name, found)

    def refresh(self, principal: Principal, done: LoginDone) -> None:
        """Call `done` with the principal as its rights are now, or with why its sessions must end.

        Waits for the database if need be: a revocation must not be forgotten because it met an
        outage.
        """

        def found(identity: Identity | StorageUnavailable | None) -> None:
            now = Instant.of(self._clock.seconds())
            credential = None
            if isinstance(identity, Identity):
                credential = (
                    BY_CERTIFICATE
                    if principal.credential == BY_CERTIFICATE.digest
                    else identity.credential_by_digest(principal.credential, now)
                )
            if not isinstance(identity, Identity) or credential is None:
                done(Unauthenticated("the token was revoked or has expired"))
            else:
                done(identity.principal(credential))

        self._catalogue.find(principal.name, found, patient=True)

    def _credential(self, identity: Identity, token: bytes) -> Credential | None:
        return identity.credential(token, Instant.of(self._clock.seconds()))
