"""Users: makes the administrators that nobody could make over HTTP."""

from __future__ import annotations

import re

import attrs

from aemos.errors import BadRequest
from aemos.services.auth import SYSTEM_ADMIN
from aemos.services.events import Events, UserChanged
from aemos.services.passwords import Passwords
from aemos.storage import audit, organizations, roles, users
from aemos.storage.audit import Actor
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_SHORTEST_PASSWORD = 8
_ROOT_NAME = "Root"


@attrs.frozen
class Administrator:
    """What `create_admin` found or made.

    `created` tells whether the user is new, `promoted` whether one that was there became it now.
    """

    user_id: int
    email: str
    organization_id: int
    created: bool
    promoted: bool


@attrs.define
class Users:
    """Makes users and gives them roles."""

    _database: Database
    _events: Events
    _passwords: Passwords

    async def create_admin(self, email: str, password: str) -> Administrator:
        """Make sure that there is a System Admin of this e-mail.

        Makes the user if there is none, and the membership, in a new organization if there is none.
        A user that exists keeps its password; `password` is not looked at then.

        @raise BadRequest: no e-mail address, or a password of fewer than 8 characters.
        """
        if len(email) > 256 or _EMAIL.fullmatch(email) is None:
            raise BadRequest(f"{email[:80]!r} is not an e-mail address")
        hashed = None
        if await self._database.read(users.find_by_email, email) is None:
            if len(password) < _SHORTEST_PASSWORD:
                raise BadRequest(f"the password needs at least {_SHORTEST_PASSWORD} characters")
            hashed = await self._passwords.hash(password)
        with audit.acting(audit.actor() or Actor("server")):
            administrator: Administrator = await self._database.transact(_ensure, email, hashed)
        self._events.publish(UserChanged(administrator.user_id))
        return administrator


def _ensure(tx: Transaction, email: str, hashed: str | None) -> Administrator:
    user = users.find_by_email(tx, email)
    if user is None:
        values = {"userName": email.partition("@")[0], "email": email, "password": hashed}
        user_id = users.create(tx, values)
    elif user["status"] is False:
        raise BadRequest(f"the user {email} exists and is inactive")
    else:
        user_id, email = user["id"], user["email"]
    role = roles.id_of(tx, SYSTEM_ADMIN)
    if role is None:
        role = tx.insert("Role", {"name": SYSTEM_ADMIN, "organizationId": None})
    held = [grant for grant in users.grants(tx, user_id) if grant["role"] == SYSTEM_ADMIN]
    organization = held[0]["organizationId"] if held else _join(tx, user_id, role)
    promoted = user is not None and not held
    return Administrator(user_id, email, organization, created=user is None, promoted=promoted)


def _join(tx: Transaction, user_id: int, role: int) -> int:
    """@return: the organization where the user holds the role now."""
    organization = organizations.oldest(tx)
    if organization is None:
        root = {"name": _ROOT_NAME, "status": "active", "isParent": True}
        organization = organizations.create(tx, root)
    membership = users.membership(tx, user_id, organization)
    values = {"role": role, "status": "active"}
    if membership is None:
        key = {"userId": user_id, "organizationId": organization}
        tx.insert("OrganizationUser", {**key, **values})
    else:
        tx.update("OrganizationUser", membership["id"], values)
    return organization
