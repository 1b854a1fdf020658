"""Who may touch a resource that belongs to an organization: the rules that every service asks.

The original looked for a permission in any organization and for ownership elsewhere, so that rights
in one organization opened another. Here a permission counts only in the organization that owns the
resource (spec/http-api.md section 1.6).
"""

from __future__ import annotations

from aemos.errors import BadRequest, Forbidden, NotFound
from aemos.model import Principal

_INSUFFICIENT = "Forbidden: Insufficient permissions"
_INSUFFICIENT_HERE = "Forbidden: Insufficient permissions for this organization"
_NO_MEMBER = "Forbidden: You do not have access to this organization"
_OTHER_OWNER = "Forbidden: Resource does not belong to the specified organization"
_NO_OWNER = "Forbidden: Cannot verify resource organization ownership"


class NotStated(BadRequest):
    """The caller does not say what a guard has to know: an organization, a resource."""


class NotThere(NotFound):
    """A guard finds no such resource."""


def require(by: Principal, permission: str, organization_id: int | None) -> None:
    """Ask for a permission in the organization that owns the resource.

    @param organization_id: None = the resource belongs to none, only a System Admin reaches it.
    @raise Forbidden: the permission is not held there.
    """
    if by.administrator:
        return
    if organization_id is None:
        raise Forbidden(_NO_OWNER)
    if not by.may(permission, organization_id):
        raise Forbidden(_INSUFFICIENT)


def require_here(by: Principal, permission: str, organization_id: int) -> None:
    """The rule PO: the path names the organization. @raise Forbidden: not permitted there."""
    if not by.administrator and not by.may(permission, organization_id):
        raise Forbidden(_INSUFFICIENT_HERE)


def require_somewhere(by: Principal, permission: str) -> None:
    """@raise Forbidden: the permission is held in no organization at all."""
    if not by.administrator and not holding(by, permission):
        raise Forbidden(_INSUFFICIENT)


def require_member(by: Principal, organization_id: int | None) -> None:
    """@raise Forbidden: not a member of that organization (a System Admin is one of all)."""
    if not by.administrator and organization_id not in by.organizations:
        raise Forbidden(_NO_MEMBER)


def require_owned(
    by: Principal, permission: str, stated: int | None, *, found: bool, owner: int | None
) -> None:
    """The rule OWN: the caller states the organization, and the resource must belong to it.

    @param stated: the organization id of the query or body.
    @param found: whether the resource exists; for a System Admin the caller checks that.
    @raise NotStated: no organization was stated.
    @raise Forbidden: not a member, no permission, or the resource belongs to another organization.
    @raise NotThere: no such resource.
    """
    if stated is None:
        raise NotStated("Organization ID is required")
    if by.administrator:
        return
    require_member(by, stated)
    require(by, permission, stated)
    if not found:
        raise NotThere("Resource not found")
    if owner is None:
        raise Forbidden(_NO_OWNER)
    if owner != stated:
        raise Forbidden(_OTHER_OWNER)


def holding(by: Principal, permission: str) -> list[int]:
    """@return: the organizations where the permission is held by a role, in ascending order."""
    return sorted(org for org, names in by.permissions.items() if permission in names)


def scope(by: Principal, permission: str) -> list[int] | None:
    """@return: the organizations that a list may show; None = all (System Admin)."""
    return None if by.administrator else holding(by, permission)
