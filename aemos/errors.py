"""Every error that aemos raises on purpose.

Doors translate these into their own language (an HTTP status, a CONNACK code, a closed connection);
services and storage only raise them. The text of an error is meant for the person who caused it: it
names the field or the thing, and never holds SQL, a token or a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class AemosError(Exception):
    """Base of all. `code` is a stable word for programs, `status` what the HTTP door answers.

    `details` is what an answer shows beside the text.
    """

    code = "internal"
    status = 500
    details: Mapping[str, object] = MappingProxyType({})


class BadRequest(AemosError):
    """What the caller sent cannot be understood or breaks a rule that the text names."""

    code, status = "bad_request", 400


class Unauthenticated(AemosError):
    """No identity, or one that is not (or no longer) valid."""

    code, status = "unauthenticated", 401


class TokenExpired(Unauthenticated):
    """A token that was valid once; who shows it may know."""

    code = "token_expired"
    details = MappingProxyType({"code": code})


class Forbidden(AemosError):
    """A valid identity that may not do this."""

    code, status = "forbidden", 403


class NotFound(AemosError):
    """Nothing of that name that the caller may see."""

    code, status = "not_found", 404


class Conflict(AemosError):
    """The change collides with what is stored already."""

    code, status = "conflict", 409


class TooManyRequests(AemosError):
    """A limit was reached; the text says which one."""

    code, status = "too_many_requests", 429


class Unavailable(AemosError):
    """A part that the answer needs is away (database, worker pool); trying again later may work."""

    code, status = "unavailable", 503


class StorageUnavailable(Unavailable):
    """The database cannot be reached, or cannot write just now (disk full, read-only)."""

    code = "storage_unavailable"


class RowRefused(AemosError):
    """The database looked at these rows and refused them; writing them again would not help."""

    code, status = "row_refused", 400


class DuplicateRow(RowRefused):
    """A unique index already holds this value. `index` is the index or column name if known."""

    code, status = "duplicate", 409

    def __init__(self, message: str, index: str = "") -> None:
        super().__init__(message)
        self.index = index


class MissingReference(RowRefused):
    """A foreign key points at a row that does not exist, or a row still points here."""

    code = "missing_reference"


class ConfigurationError(AemosError):
    """The configuration cannot be used; each line of the text names a key, its place, and why."""

    code = "configuration"


class StartError(AemosError):
    """The server cannot start; the text is the one line shown to the operator."""

    code = "start"
