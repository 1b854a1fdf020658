"""What a message claims about its sender, checked against who really sent it (promise P4)."""

from __future__ import annotations

from aemos.model import Code, Message, PrincipalKind, Verdict
from aemos.services.catalogue import Identity

_OTHER_DEVICE = Verdict(Code.INVALID_DEVICE_UUID, "deviceUuid does not agree with the topic")
_EXPIRED = Verdict(Code.AUTHENTICATION_FAILED, "the token that this session came with has expired")
_BAD_TOKEN = Verdict(
    Code.AUTHENTICATION_FAILED, "the token in the message is not valid for this device"
)
_NO_TOKEN = Verdict(
    Code.AUTHENTICATION_FAILED, "no token in the message, and the sender is not this device"
)
_NO_RIGHT = Verdict(
    Code.NOT_AUTHORIZED, "the user lacks the permission in the device's organization"
)


def refuted(
    message: Message, identity: Identity, device_uuid: object, token: object, permission: str
) -> Verdict | None:
    """Compare payload, topic and principal (spec/mqtt.md section 5, corrected).

    The topic names the device (`identity`). A `token` is optional when the device itself is signed
    in; when present it must be valid for the device. Anybody else needs it, but for users, who need
    `permission` in the device's organization.
    @return: why the message is not believed, None = it is.
    """
    principal = message.principal
    if device_uuid is not None and device_uuid != identity.uuid:
        return _OTHER_DEVICE
    if principal.expires_at is not None and principal.expires_at <= message.received_at:
        return _EXPIRED
    if token is not None:
        if not isinstance(token, str):
            return _BAD_TOKEN
        return None if identity.credential(token, message.received_at) else _BAD_TOKEN
    if principal.name == identity.uuid and principal.kind in (
        PrincipalKind.SENSOR,
        PrincipalKind.DEVICE,
    ):
        return None
    if principal.kind in (PrincipalKind.USER, PrincipalKind.API_KEY):
        owner = identity.organization_id
        held = principal.administrator or (owner is not None and principal.may(permission, owner))
        return None if held else _NO_RIGHT
    return None if principal.kind is PrincipalKind.SERVER else _NO_TOKEN
