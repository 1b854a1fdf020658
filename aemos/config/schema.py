"""Every setting of the server, declared once: place in the YAML, variable, default, meaning.

A section is a frozen attrs class; a field made with `setting` is one key. `aemos.config.load` reads
YAML and environment against these declarations; a test compares them with `etc/aemos.yaml`.
Sizes are bytes, times are seconds unless the name says otherwise.
"""

from __future__ import annotations

import attrs

from aemos.config.alarms import Alarms
from aemos.config.checks import (
    at_least,
    between,
    database_url,
    duration,
    endpoint_string,
    mail_address,
    more_than,
    networks,
    not_empty,
    one_of,
    organizations,
    signing_secret,
)
from aemos.config.declare import setting
from aemos.config.rules import Rules
from aemos.config.socketio import SocketIo

PORT = between(0, 65535)


@attrs.frozen
class Database:
    url: str = setting(
        "",
        "mysql://user:password@host:3306/name or sqlite:///path; empty: SQLite in the data folder. "
        "DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD together name a MySQL database too",
        env="DATABASE_URL",
        secret=True,
        valid=database_url,
    )
    pool_size: int = setting(
        5,
        "connections for reading (and, on MySQL, for ordinary writes)",
        env="DB_POOL_SIZE",
        valid=between(1, 100),
    )
    connect_timeout: float = setting(
        10.0, "how long one attempt to connect may take", valid=more_than(0)
    )
    query_timeout: float = setting(
        60.0,
        "a MySQL statement without an answer for longer counts as a lost connection",
        valid=at_least(1),
    )
    ping_after: float = setting(
        5.0, "a connection idle for longer is checked before it is used", valid=at_least(0)
    )
    max_batch: int = setting(
        500, "rows that one group commit takes at most", valid=between(1, 10_000)
    )
    max_queue: int = setting(
        100_000, "rows waiting for commit before the doors stop reading", valid=at_least(1)
    )
    retry_delay: float = setting(
        0.5, "pause before the writer tries a lost database again", valid=more_than(0)
    )
    repeat_days: int = setting(
        7, "how long a stored reading is remembered to recognise its repeats", valid=at_least(0)
    )
    audit_days: int = setting(
        365, "how long entries of the audit log are kept; 0 = for ever", valid=at_least(0)
    )
    retention_interval: float = setting(
        600.0, "how often readings that are too old are looked for", valid=at_least(1)
    )
    max_size: int = setting(
        0,
        "bytes of a SQLite file beyond which the oldest readings are rolled up; 0 = no limit",
        valid=at_least(0),
    )


@attrs.frozen
class Http:
    enabled: bool = setting(True, "serve REST, realtime and pages", env="ENABLE_HTTP")
    host: str = setting("0.0.0.0", "address to listen on", env="HOST")
    port: int = setting(3000, "port to listen on; 0 picks a free one", env="PORT", valid=PORT)
    endpoint: str = setting(
        "",
        "a Twisted endpoint string instead of host and port",
        env="HTTP_ENDPOINT",
        valid=endpoint_string,
    )
    tls_port: int = setting(0, "port for HTTPS; 0 = off", env="HTTP_TLS_PORT", valid=PORT)
    tls_endpoint: str = setting(
        "",
        "a Twisted endpoint string below TLS instead of host and tls_port",
        valid=endpoint_string,
    )
    tls_cert: str = setting(
        "", "PEM file of the certificate with its chain behind it", env="HTTP_TLS_CERT"
    )
    tls_key: str = setting("", "PEM file of its private key", env="HTTP_TLS_KEY")
    trusted_proxies: tuple[str, ...] = setting(
        [], "networks whose forwarding headers are believed", env="TRUSTED_PROXIES", valid=networks
    )
    max_body: int = setting(10 * 1024 * 1024, "largest request body", valid=at_least(1024))
    request_timeout: float = setting(
        30.0, "a request that is not complete after this is dropped", valid=more_than(0)
    )
    store_timeout: float = setting(
        5.0,
        "a request that waits longer than this for its commit is answered 503",
        valid=more_than(0),
    )
    answer_timeout: float = setting(
        20.0,
        "a request without an answer after this is answered 503; what it asks for may happen yet",
        valid=more_than(0),
    )
    rate_limit: bool = setting(True, "limit requests per address", env="ENABLE_RATE_LIMIT")
    rate_limit_max: int = setting(
        10_000, "requests per address and window", env="RATE_LIMIT_MAX", valid=at_least(1)
    )
    rate_limit_window_ms: int = setting(
        900_000, "the window in milliseconds", env="RATE_LIMIT_WINDOW_MS", valid=at_least(1)
    )


@attrs.frozen
class AclRule:
    """One line of `mqtt.acl.rules`; exactly one of allow and deny is given."""

    topic: str
    allow: str = ""
    deny: str = ""
    user: str = ""
    client: str = ""


@attrs.frozen
class Acl:
    mode: str = setting(
        "devices",
        "devices (the built-in rules) or open (all that no rule denies)",
        env="MQTT_ACL_MODE",
        valid=one_of("devices", "open"),
    )
    rules: tuple[AclRule, ...] = setting([], "first match wins, before the built-in rules")


@attrs.frozen
class Tls:
    port: int = setting(0, "port for MQTT over TLS; 0 = off", env="MQTT_TLS_PORT", valid=PORT)
    endpoint: str = setting(
        "", "a Twisted endpoint string below TLS instead of host and port", valid=endpoint_string
    )
    websocket_port: int = setting(
        0, "port for MQTT over WebSocket over TLS; 0 = off", env="MQTT_WSS_PORT", valid=PORT
    )
    websocket_endpoint: str = setting(
        "",
        "a Twisted endpoint string below TLS instead of host and websocket_port",
        valid=endpoint_string,
    )
    cert: str = setting(
        "", "PEM file of the certificate with its chain behind it", env="MQTT_TLS_CERT"
    )
    key: str = setting("", "PEM file of its private key", env="MQTT_TLS_KEY")
    ca: str = setting(
        "", "PEM file of the authorities whose client certificates count", env="MQTT_TLS_CA"
    )
    crl: str = setting("", "PEM file of their revocation lists", env="MQTT_TLS_CRL")
    client_certificates: str = setting(
        "identity",
        "with a CA: off (not asked for), identity (a certificate whose common name is a uuid "
        "replaces the token) or required (in addition to the token)",
        env="MQTT_TLS_CLIENT_CERTIFICATES",
        valid=one_of("off", "identity", "required"),
    )


@attrs.frozen
class Mqtt:
    enabled: bool = setting(True, "serve MQTT", env="ENABLE_MQTT")
    host: str = setting("0.0.0.0", "address to listen on", env="MQTT_HOST")
    port: int = setting(
        1883, "port for plain MQTT; 0 picks a free one", env="MQTT_PORT", valid=PORT
    )
    endpoint: str = setting(
        "",
        "a Twisted endpoint string instead of host and port",
        env="MQTT_ENDPOINT",
        valid=endpoint_string,
    )
    websocket_port: int = setting(
        9001, "port for MQTT over WebSocket; 0 = off", env="MQTT_WS_PORT", valid=PORT
    )
    websocket_endpoint: str = setting(
        "",
        "a Twisted endpoint string instead of host and websocket_port",
        env="MQTT_WS_ENDPOINT",
        valid=endpoint_string,
    )
    proxy_protocol: tuple[str, ...] = setting(
        [],
        "networks of balancers whose connections begin with a PROXY header (version 1 or 2)",
        env="MQTT_PROXY_PROTOCOL",
        valid=networks,
    )
    auth_enabled: bool = setting(
        True, "false admits everybody and checks nothing (warned at start)", env="MQTT_AUTH_ENABLED"
    )
    token_auth: bool = setting(True, "false refuses device tokens", env="MQTT_TOKEN_AUTH")
    allow_unauthenticated: bool = setting(
        False, "admit clients without credentials", env="MQTT_ALLOW_UNAUTHENTICATED"
    )
    default_qos: int = setting(
        1, "QoS of what the server publishes", env="MQTT_DEFAULT_QOS", valid=between(0, 2)
    )
    datastream_qos: int = setting(
        1,
        "QoS of the announcement of a stored reading",
        env="MQTT_DATASTREAM_QOS",
        valid=between(0, 2),
    )
    max_packet: int = setting(
        1024 * 1024,
        "largest packet accepted",
        env="MQTT_MAX_PACKET",
        valid=between(1024, 268_435_455),
    )
    max_connections: int = setting(20_000, "connections at once", valid=at_least(1))
    connect_timeout: float = setting(
        30.0, "a connection without CONNECT is closed after this", valid=more_than(0)
    )
    packet_timeout: float = setting(
        120.0, "a packet that is not complete after this closes the connection", valid=more_than(0)
    )
    max_keep_alive: int = setting(
        0, "longest keep-alive accepted, 0 = as the client asks", valid=between(0, 65535)
    )
    max_inflight: int = setting(
        100, "unacknowledged messages towards one client", valid=between(1, 65535)
    )
    max_queued: int = setting(10_000, "messages waiting for one client", valid=at_least(1))
    max_queued_bytes: int = setting(
        8 * 1024 * 1024, "bytes waiting for one client", valid=at_least(1)
    )
    queue_full: str = setting(
        "refuse_newest",
        "what happens beyond these: refuse_newest, drop_oldest, or disconnect (the client; for one "
        "that is absent the newest are refused)",
        valid=one_of("refuse_newest", "drop_oldest", "disconnect"),
    )
    message_expiry: int = setting(
        0,
        "a message that has waited for its client for longer is given up; 0 = never",
        valid=at_least(0),
    )
    max_unacknowledged: int = setting(
        1000,
        "messages of one connection that wait for commit before reading stops",
        valid=at_least(1),
    )
    max_unacknowledged_bytes: int = setting(1024 * 1024, "bytes of the same", valid=at_least(1))
    max_unreleased: int = setting(
        65_535, "QoS 2 messages of one client that it has not released (PUBREL)", valid=at_least(1)
    )
    max_output: int = setting(
        4 * 1024 * 1024,
        "unsent bytes of one connection beyond which QoS 0 is dropped",
        valid=at_least(1),
    )
    max_subscriptions: int = setting(1000, "subscriptions of one client", valid=at_least(1))
    max_topic_levels: int = setting(256, "levels of a topic or filter", valid=between(1, 65535))
    max_retained: int = setting(100_000, "retained messages in all", valid=at_least(0))
    session_expiry: int = setting(
        7 * 86400,
        "an absent persistent session is forgotten after this; 0 = never",
        valid=at_least(0),
    )
    max_sessions: int = setting(100_000, "stored sessions in all", valid=at_least(1))
    max_sessions_per_device: int = setting(
        1000, "stored sessions of one device or user; 0 = no limit", valid=at_least(0)
    )
    trusted_networks: tuple[str, ...] = setting(
        ["127.0.0.0/8", "::1"],
        "networks whose clients no connect rate, flapping or failed sign-in keeps out",
        valid=networks,
    )
    max_per_address: int = setting(
        15_000, "connections from one address (IPv6: one /64); 0 = no limit", valid=at_least(0)
    )
    max_per_device: int = setting(
        100, "connections of one device or user; 0 = no limit", valid=at_least(0)
    )
    connect_rate: float = setting(
        2000.0,
        "connections per second in all, ten seconds' worth at once; 0 = no limit",
        valid=at_least(0),
    )
    connect_rate_per_address: float = setting(
        1000.0, "the same from one address", valid=at_least(0)
    )
    publish_rate: float = setting(
        100_000.0,
        "messages per second of one device, beyond it is read more slowly; 0 = no limit",
        valid=at_least(0),
    )
    publish_bytes: float = setting(
        100.0 * 1024 * 1024, "bytes per second of the same", valid=at_least(0)
    )
    flapping_connects: int = setting(
        60,
        "connects of one client in flapping_window before it is banned; 0 = never",
        valid=at_least(0),
    )
    flapping_window: float = setting(60.0, "seconds for these", valid=more_than(0))
    max_failed_logins: int = setting(
        100,
        "different wrong credentials of one address in failed_login_window before it is banned;"
        " 0 = never",
        valid=at_least(0),
    )
    failed_login_window: float = setting(600.0, "seconds for these", valid=more_than(0))
    ban_time: int = setting(300, "how long a ban lasts", valid=at_least(1))
    refusal_time: float = setting(
        0.2,
        "a refusal of credentials comes this long after them, whatever was wrong",
        valid=between(0, 5),
    )
    client_records: int = setting(
        20_000, "clients that are remembered, connected or gone", valid=at_least(0)
    )
    sys_interval: float = setting(
        10.0,
        "how often figures below $SYS/broker are told to administrators; 0 = never",
        valid=at_least(0),
    )
    strict_text: bool = setting(
        True, "close on control characters and non-characters in text [MQTT-1.5.3]"
    )
    tls: Tls = attrs.field(factory=Tls)
    acl: Acl = attrs.field(factory=Acl)


@attrs.frozen
class Auth:
    jwt_secret: str = setting(
        "",
        "signs JSON web tokens; empty: made once and kept in the data folder",
        env="JWT_SECRET",
        secret=True,
        valid=signing_secret,
    )
    jwt_expires_in: str = setting(
        "24h",
        "lifetime of an access token: seconds, or 30m, 24h, 7d",
        env="JWT_EXPIRES_IN",
        valid=duration,
    )
    refresh_expires_in: str = setting(
        "7d", "lifetime of a refresh token", env="JWT_REFRESH_EXPIRES_IN", valid=duration
    )
    bcrypt_cost: int = setting(
        12, "work factor of new password hashes (4 to 15)", valid=between(4, 15)
    )
    bcrypt_threads: int = setting(1, "threads that check passwords", valid=between(1, 64))
    bcrypt_queue: int = setting(
        100, "password checks that may wait; beyond it sign-ins are answered 503", valid=at_least(1)
    )
    account_failures: int = setting(
        5,
        "failed sign-ins in a row that cost an account no time; each further one doubles the pause",
        valid=at_least(1),
    )
    address_failures: int = setting(
        50, "the same for all accounts that one address tries", valid=at_least(1)
    )
    lock: float = setting(900.0, "the longest such pause", valid=at_least(1))
    admin_email: str = setting(
        "", "creates the first administrator at start", env="AEMOS_ADMIN_EMAIL"
    )
    admin_password: str = setting("", "its password", env="AEMOS_ADMIN_PASSWORD", secret=True)


@attrs.frozen
class Mail:
    host: str = setting(
        "",
        "server that takes mail to be sent (SMTP); empty: no mail is sent, passwords cannot be "
        "reset by mail",
        env="SMTP_HOST",
    )
    port: int = setting(587, "its port", env="SMTP_PORT", valid=between(1, 65535))
    user: str = setting("", "name to sign in with; empty: do not sign in", env="SMTP_USER")
    password: str = setting("", "its password", env="SMTP_PASSWORD", secret=True)
    tls: str = setting(
        "starttls",
        "starttls, tls (from the first byte, port 465) or none; the certificate is checked",
        env="SMTP_TLS",
        valid=one_of("starttls", "tls", "none"),
    )
    sender: str = setting(
        "aemos@localhost", "address that letters come from", env="SMTP_FROM", valid=mail_address
    )
    link: str = setting(
        "",
        "address of the dashboard, for links in letters, e.g. https://farm.example; empty: letters "
        "show the token only",
        env="DASHBOARD_URL",
    )


@attrs.frozen
class Realtime:
    anonymous: tuple[str, ...] = setting(
        [],
        "organization ids (or all) whose telemetry rooms sockets without a token may join",
        env="REALTIME_ANONYMOUS",
        valid=organizations,
    )
    max_connections: int = setting(5000, "realtime connections at once", valid=at_least(1))
    max_rooms: int = setting(1000, "subscriptions of one connection", valid=at_least(1))
    max_buffer: int = setting(
        1024 * 1024,
        "unsent bytes of one connection before events are dropped and counted",
        valid=at_least(1024),
    )
    replay_seconds: float = setting(
        300.0,
        "how long events of a room that everybody left are kept for those who come back; 0 keeps "
        "no events",
        valid=at_least(0),
    )
    replay_events: int = setting(
        20_000, "events kept for clients that come back", valid=at_least(1)
    )
    replay_bytes: int = setting(32 * 1024 * 1024, "memory for them in bytes", valid=at_least(1024))
    authenticate_timeout: float = setting(
        10.0, "a connection that does not authenticate is closed after this", valid=more_than(0)
    )
    max_message: int = setting(64 * 1024, "largest message from a client", valid=at_least(1024))
    ping_interval: float = setting(
        25.0,
        "a connection silent for this long is asked; silent for twice as long, it is closed",
        valid=more_than(0),
    )
    socket_io: SocketIo = attrs.field(factory=SocketIo)


@attrs.frozen
class Presence:
    grace: float = setting(
        15.0,
        "how long a device may be overdue, or disconnected, before it counts",
        valid=at_least(0),
    )
    assumed_interval: float = setting(
        600.0,
        "how often a device that does not stay connected is assumed to report, until that is "
        "learned",
        valid=more_than(0),
    )
    settle: float = setting(
        60.0, "how long devices have to come back after the server has started", valid=at_least(0)
    )


@attrs.frozen
class Ingest:
    max_items: int = setting(1000, "readings in one message", valid=at_least(1))
    ledger_entries: int = setting(200, "refusals remembered per device", valid=at_least(0))
    ledger_rate: int = setting(
        20,
        "refusals per device and second that are written down; the rest is counted",
        valid=at_least(0),
    )
    catalogue_size: int = setting(100_000, "devices and sensors kept in memory", valid=at_least(1))
    catalogue_refresh: float = setting(
        5.0,
        "how often changes made by other processes are looked for on a shared database",
        valid=more_than(0),
    )
    negative_expiry: float = setting(
        5.0, "how long an unknown device or variable stays unknown", valid=at_least(1)
    )


@attrs.frozen
class Commands:
    ttl: float = setting(
        3600.0, "how long a command waits for its device if it does not say so", valid=more_than(0)
    )
    max_ttl: float = setting(2_592_000.0, "the longest such time", valid=more_than(0))
    max_waiting: int = setting(
        10_000, "commands that may wait for all devices together", valid=at_least(1)
    )
    max_waiting_per_device: int = setting(
        100,
        "commands that may wait for one device; a new one cancels the oldest",
        valid=at_least(1),
    )
    max_wait: float = setting(
        60.0, "the longest that a request may wait for the device to answer", valid=at_least(0)
    )
    stop_retry: float = setting(
        5.0,
        "after this, and after twice as long each time, up to a minute, an actuator is told again "
        "to stop",
        valid=more_than(0),
    )
    stop_attempts: int = setting(
        5, "attempts to stop an actuator before it counts as stuck", valid=at_least(1)
    )
    keep_days: int = setting(
        90, "days after which commands that are over are forgotten", valid=at_least(1)
    )


@attrs.frozen
class Log:
    level: str = setting(
        "info",
        "debug, info, warn or error; http, verbose and silly of older installations are debug",
        env="LOG_LEVEL",
        valid=one_of("debug", "info", "warn", "error", "http", "verbose", "silly"),
    )
    format: str = setting(
        "auto",
        "text, json, or auto: text on a terminal, JSON lines otherwise",
        env="LOG_FORMAT",
        valid=one_of("auto", "text", "json"),
    )


@attrs.frozen
class Settings:
    """The whole configuration; sections are YAML mappings of the same names."""

    data_dir: str = setting(
        "./aemos-data",
        "SQLite file, generated secrets, control socket",
        env="AEMOS_DATA_DIR",
        valid=not_empty,
    )
    stop_grace: float = setting(
        10.0,
        "how long stopping may take before what is left is cut off",
        env="AEMOS_STOP_GRACE",
        valid=at_least(0),
    )
    demo: bool = setting(False, "create the demo farm when the database is empty", env="AEMOS_DEMO")
    database: Database = attrs.field(factory=Database)
    http: Http = attrs.field(factory=Http)
    mqtt: Mqtt = attrs.field(factory=Mqtt)
    auth: Auth = attrs.field(factory=Auth)
    realtime: Realtime = attrs.field(factory=Realtime)
    mail: Mail = attrs.field(factory=Mail)
    presence: Presence = attrs.field(factory=Presence)
    ingest: Ingest = attrs.field(factory=Ingest)
    commands: Commands = attrs.field(factory=Commands)
    alarms: Alarms = attrs.field(factory=Alarms)
    rules: Rules = attrs.field(factory=Rules)
    log: Log = attrs.field(factory=Log)
