"""The permissions and roles that every database starts with (spec/data-model.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aemos.storage.transaction import Transaction

_OBJECTS = {
    "organization": "organizations",
    "area": "areas",
    "device": "devices and their states",
    "sensor": "sensors and their variables",
    "rule": "rule chains",
}
_ACTIONS = {"view": "See", "create": "Create", "update": "Change", "delete": "Delete"}

PERMISSIONS: Mapping[str, str] = {
    **{
        f"{name}.{action}": f"{verb} {things}"
        for name, things in _OBJECTS.items()
        for action, verb in _ACTIONS.items()
    },
    "role.view": "See roles",
    "role.assign": "Give roles to users",
    "permission.manage": "Change what roles may do",
}
"""Permission name -> description."""

_NOT_FOR_ORG_ADMIN = {"organization.create", "organization.delete", "permission.manage"}

ROLES: Mapping[str, Sequence[str]] = {
    "System Admin": tuple(PERMISSIONS),
    "Org Admin": tuple(name for name in PERMISSIONS if name not in _NOT_FOR_ORG_ADMIN),
    "Supervisor": ("organization.view", "area.view", "device.view", "sensor.view", "rule.view"),
    "Viewer": ("area.view", "device.view", "sensor.view", "rule.view"),
}
"""Role name -> the permissions that it is granted."""


def permissions_and_roles(tx: Transaction, migration: object = None) -> None:
    """Add what is missing. A role that has permissions already keeps exactly those."""
    permissions = {name: _permission(tx, name, text) for name, text in PERMISSIONS.items()}
    for role, granted in ROLES.items():
        role_id = tx.value("SELECT id FROM Role WHERE name = %s", (role,))
        if role_id is None:
            role_id = tx.insert("Role", {"name": role})
        if tx.value("SELECT roleId FROM RolePermission WHERE roleId = %s LIMIT 1", (role_id,)):
            continue
        for name in granted:
            tx.insert("RolePermission", {"roleId": role_id, "permissionId": permissions[name]})


def _permission(tx: Transaction, name: str, description: str) -> int:
    found: int | None = tx.value("SELECT id FROM Permission WHERE name = %s", (name,))
    if found is None:
        return tx.insert("Permission", {"name": name, "description": description})
    return found
