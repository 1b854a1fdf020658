"""Declares every table with its columns and their kinds: what rows are decoded and filled by.

Source: spec/data-model.md section 2; tables named in snake_case are those that aemos adds. The
column types are in `migrations/`; a contract test compares the two.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aemos import json
from aemos.model import Instant


class Kind(enum.Enum):
    """What a column holds, as Python sees it."""

    ID = "id"  # int: this row's or another's
    INT = "int"
    NUMBER = "number"  # float
    TEXT = "text"
    BOOL = "bool"  # bool, stored as 0 or 1
    INSTANT = "instant"  # Instant, stored as DATETIME or as milliseconds
    JSON = "json"  # any JSON value, stored as its text
    JSON_TEXT = "json_text"  # JSON text, stored as a JSON string (DeviceState.allowedValues)
    BLOB = "blob"  # bytes


@attrs.frozen
class Table:
    """One table; `timestamps` = it keeps `createdAt` and `updatedAt`."""

    name: str
    columns: Mapping[str, Kind]
    timestamps: bool = False

    def encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn values into SQL parameters by the kinds of their columns.

        @raise ValueError: a name that is no column of this table.
        """
        unknown = values.keys() - self.columns.keys()
        if unknown:
            raise ValueError(f"{self.name} has no column {', '.join(sorted(unknown))}")
        return {name: _encode(self.columns[name], value) for name, value in values.items()}


def _encode(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.JSON:
        return json.encode(value).decode()
    if kind is Kind.JSON_TEXT:
        return json.encode(_json_text(value)).decode()
    if kind is Kind.INSTANT:
        return Instant(value)
    return value


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.encode(value).decode()


def _decode_bool(value: Any) -> Any:
    # `status` is a boolean in User and a word everywhere else.
    return bool(value) if isinstance(value, int) else value


def _decode_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.decode(value)
    except json.MalformedJson:
        # Compat: where the original kept RuleChainNode.config as TEXT, it may hold anything.
        return value


def _decode_json_text(value: Any) -> Any:
    decoded = _decode_json(value)
    return None if decoded is None else _json_text(decoded)


def _decode_instant(value: Any) -> Any:
    return Instant(value) if type(value) is int else value


_DECODERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.BOOL: _decode_bool,
    Kind.INSTANT: _decode_instant,
    Kind.JSON: _decode_json,
    Kind.JSON_TEXT: _decode_json_text,
}


def _table(name: str, columns: str, *, timestamps: bool = False) -> Table:
    pairs = (column.split(":") for column in columns.split())
    return Table(name, {column: Kind(kind) for column, kind in pairs}, timestamps)


_ALL = (
    _table(
        "Organization",
        "id:id parentId:id name:text status:text detail:text paymentMethods:text image:text "
        "address:text email:text zip:text contactNumber:text isParent:bool createdAt:instant "
        "updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "User",
        "id:id userName:text email:text password:text phoneNumber:text accessFailedCount:int "
        "status:bool image:blob detail:text notifyByMessage:bool notifyByEmail:bool "
        "notifyBySMS:bool smsNumber:text createdBy:id createdAt:instant updatedAt:instant "
        "termsAndConditions:text",
        timestamps=True,
    ),
    _table(
        "Role",
        "id:id name:text organizationId:id",
    ),
    _table(
        "Permission",
        "id:id name:text description:text",
    ),
    _table(
        "RolePermission",
        "roleId:id permissionId:id",
    ),
    _table(
        "OrganizationUser",
        "id:id userId:id organizationId:id role:id status:text createdAt:instant updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "Area",
        "id:id name:text description:text organizationId:id parentArea:id image:text "
        "uuid:text status:text",
    ),
    _table(
        "Sensor",
        "id:id name:text description:text status:text uuid:text createdAt:instant "
        "updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "Device",
        "id:id name:text description:text uuid:text status:text deviceType:text "
        "communicationProtocol:text isCritical:bool lastHeartbeat:instant metadata:json "
        "capabilities:json controlModes:text createdAt:instant updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "AreaSensor",
        "areaId:id sensorId:id detail:text createdAt:instant updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "AreaDevice",
        "areaId:id deviceId:id detail:text createdAt:instant updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "TelemetryData",
        "id:id variableName:text datatype:text sensorId:id",
    ),
    _table(
        "DataStream",
        "id:id value:text telemetryDataId:id recievedAt:instant",
    ),
    _table(
        "DeviceState",
        "id:id deviceId:id stateName:text dataType:text defaultValue:text "
        "allowedValues:json_text status:text createdAt:instant",
    ),
    _table(
        "DeviceStateInstance",
        "id:id deviceStateId:id value:text fromTimestamp:instant toTimestamp:instant "
        "initiatedBy:text initiatorId:id",
    ),
    _table(
        "DeviceToken",
        "id:id token:text sensorId:id expiresAt:instant lastUsed:instant status:text "
        "createdAt:instant updatedAt:instant",
        timestamps=True,
    ),
    _table(
        "RuleChain",
        "id:id organizationId:id name:text description:text executionType:text "
        "scheduleEnabled:bool cronExpression:text timezone:text priority:int maxRetries:int "
        "retryDelay:int scheduleMetadata:json lastExecutedAt:instant lastErrorAt:instant "
        "executionCount:int failureCount:int createdAt:instant updatedAt:instant mode:text",
        timestamps=True,
    ),
    _table(
        "RuleChainNode",
        "id:id name:text ruleChainId:int type:text config:json nextNodeId:int",
    ),
    _table(
        "rule_trigger",
        "id:id kind:text source_id:id name:text value:text at:instant depth:int",
    ),
    _table(
        "rule_applied",
        "trigger_id:id chain_id:id changed_states:json",
    ),
    _table(
        "Notification",
        "id:id title:text insight:text userGroup:text severity:text organizationId:id",
    ),
    _table(
        "Ticket",
        "id:id createdAt:instant notificationId:id assignedTo:id comment:text "
        "assignedAt:instant acknowledgedAt:instant",
    ),
    _table(
        "PaymentCard",
        "id:id organizationId:id name:text cardNumber:text cvv:text zip:text expiry:instant",
    ),
    _table(
        "token_label",
        "token_id:id label:text",
    ),
    _table(
        "device_credential",
        "id:id digest:text device_id:id label:text expires_at:instant status:text "
        "created_at:instant last_used_at:instant",
    ),
    _table(
        "api_key",
        "id:id digest:text prefix:text label:text organization_id:id permissions:json "
        "created_by:id status:text created_at:instant expires_at:instant last_used_at:instant",
    ),
    _table(
        "audit_log",
        "id:id at:instant organization_id:id actor_kind:text actor_id:id actor_name:text "
        "action:text resource:text resource_id:id changes:json address:text request_id:text",
    ),
    _table(
        "alarm_definition",
        "id:id organization_id:id name:text enabled:bool severity:text telemetry_id:id "
        "sensor_id:id area_id:id variable_name:text condition_tree:json hold_seconds:number "
        "clear_hold_seconds:number message:text steps:json tell_clear:bool quiet_hours:json "
        "created_at:instant updated_at:instant",
    ),
    _table(
        "alarm",
        "id:id alarm_key:text open_key:text definition_id:id organization_id:id sensor_id:id "
        "area_id:id uuid:text name:text severity:text state:text message:text value:text "
        "assignee_id:id raised_at:instant acknowledged_at:instant acknowledged_by:id "
        "cleared_at:instant cleared_by:id",
    ),
    _table(
        "alarm_event",
        "id:id alarm_id:id at:instant kind:text user_id:id user_name:text comment:text",
    ),
    _table(
        "notification_channel",
        "id:id organization_id:id name:text kind:text enabled:bool system_alarms:bool config:json "
        "secrets:json created_at:instant updated_at:instant",
    ),
    _table(
        "delivery",
        "id:id organization_id:id channel_id:id alarm_id:id purpose:text content:json state:text "
        "attempts:int due_at:instant created_at:instant sent_at:instant detail:text",
    ),
    _table(
        "notification_origin",
        "notification_id:id alarm_id:id created_at:instant",
    ),
    _table(
        "notification_read",
        "notification_id:id user_id:id read_at:instant",
    ),
    _table(
        "device_status",
        "uuid:text status:text metadata:json reported_at:instant last_seen_at:instant",
    ),
    _table(
        "mail_outbox",
        "id:id recipient:text subject:text body:text created_at:instant expires_at:instant "
        "attempts:int next_attempt_at:instant",
    ),
    _table(
        "account_token",
        "digest:text user_id:id purpose:text email:text created_at:instant expires_at:instant",
    ),
    _table(
        "verified_email",
        "user_id:id email:text verified_at:instant",
    ),
    _table(
        "login_session",
        "id:text user_id:id created_at:instant expires_at:instant revoked_at:instant",
    ),
    _table(
        "refresh_use",
        "session_id:text number:int",
    ),
    _table(
        "command",
        "id:id command_id:text device_uuid:text organization_id:id actuator:text stops:bool "
        "state_name:text state_value:text payload:blob qos:int status:text attempts:int "
        "reply:json initiated_by:text initiator_id:id max_on:number stop_at:instant "
        "created_at:instant changed_at:instant expires_at:instant",
    ),
    _table(
        "command_transition",
        "id:id command:id status:text at:instant detail:text",
    ),
    _table(
        "actuator_timer",
        "id:id device_uuid:text actuator:text organization_id:id state_id:id state_name:text "
        "off_value:text stop:json stop_id:text stop_command:id mark:int max_on:number "
        "stop_at:instant next_at:instant attempts:int created_at:instant",
    ),
    _table(
        "reading_key",
        "telemetry_id:id digest:blob received_at:instant",
    ),
    _table(
        "ledger",
        "id:id device_uuid:text at:instant code:text reason:text topic:text payload:text",
    ),
    _table(
        "retention_policy",
        "id:id organization_id:id telemetry_id:id raw_days:int hourly_days:int daily_days:int "
        "created_at:instant updated_at:instant",
    ),
    _table(
        "reading_rollup",
        "telemetry_id:id hours:int start_at:instant readings:int numbers:int total:number "
        "low:number high:number first_at:instant first_value:text last_at:instant "
        "last_value:text",
    ),
    _table(
        "writer_mark",
        "node:text batch:int at:instant",
    ),
    _table(
        "presence",
        "uuid:text presence:text since_at:instant last_seen_at:instant interval_ms:int stays:bool",
    ),
    _table(
        "mqtt_client",
        "id:id digest:blob kind:text name:text client_id:text peer:text transport:text "
        "protocol_level:int clean_session:bool keep_alive:int connected_at:instant "
        "disconnected_at:instant disconnect_reason:text subscriptions:int in_flight:int "
        "queued:int messages_received:int messages_sent:int bytes_received:int bytes_sent:int "
        "dropped:int",
    ),
    _table(
        "mqtt_session",
        "id:id digest:blob principal:text client_id:text next_packet_id:int "
        "created_at:instant seen_at:instant",
    ),
    _table(
        "mqtt_subscription",
        "session_id:id digest:blob topic_filter:text qos:int created_at:instant",
    ),
    _table(
        "mqtt_message",
        "id:id topic:text payload:blob created_at:instant",
    ),
    _table(
        "mqtt_queue",
        "session_id:id position:int message_id:id qos:int retain:bool state:int packet_id:int",
    ),
    _table(
        "mqtt_inbound",
        "session_id:id packet_id:int received_at:instant",
    ),
    _table(
        "mqtt_retained",
        "digest:blob topic:text qos:int payload:blob principal:text stored_at:instant",
    ),
)

TABLES: Mapping[str, Table] = {table.name: table for table in _ALL}
"""Every table by its name."""

_COLUMN_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    column: _DECODERS[kind]
    for table in _ALL
    for column, kind in table.columns.items()
    if kind in _DECODERS
}


def decoder(column: str) -> Callable[[Any], Any] | None:
    """How to decode a column of a result, known by the last dotted part of its name.

    So `MAX(recievedAt) AS recievedAt` and ``s.createdAt AS `sensor.createdAt` `` are decoded, while
    `MAX(recievedAt)` without a name stays what the driver gives.

    @return: None = as the driver gives it.
    """
    return _COLUMN_DECODERS.get(column.rpartition(".")[2])
