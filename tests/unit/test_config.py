"""The configuration: where values come from, and what is said about wrong ones."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from aemos.config import schema
from aemos.config.load import describe, load
from aemos.config.names import REFUSED, without_effect
from aemos.config.schema import AclRule, Settings
from aemos.config.tls_files import check_tls_files
from aemos.errors import ConfigurationError

SAMPLE = Path(__file__).parents[2] / "etc" / "aemos.yaml"


def write(folder: Path, text: str) -> str:
    path = folder / "aemos.yaml"
    path.write_text(text)
    return str(path)


def problems(path: str | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {})
    return str(caught.value).splitlines()


def sections() -> list[type]:
    return [
        value
        for value in vars(schema).values()
        if isinstance(value, type) and attrs.has(value) and value is not AclRule
    ]


def test_without_file_and_environment_everything_is_at_its_default() -> None:
    assert load(None, {}) == Settings()


def test_the_file_overrides_defaults_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "http: {port: 8080, host: 10.0.0.1}\nmqtt: {default_qos: 2}\n")
    settings = load(path, {"PORT": "9090"})
    assert (settings.http.port, settings.http.host) == (9090, "10.0.0.1")
    assert settings.mqtt.default_qos == 2


def test_the_variables_of_the_originals_socket_io_are_heeded() -> None:
    environ = {
        "ENABLE_SOCKET_IO": "false",
        "SOCKET_IO_PING_INTERVAL": "25000",
        "SOCKET_IO_PING_TIMEOUT": "20000",
        "CORS_ORIGIN": "https://farm.example",
        "NOTIFICATION_INTERVAL": "500",
        "NOTIFICATION_BUFFER_SIZE": "50",
        "ENABLE_BROADCAST_ALL": "true",
    }
    door = load(None, environ).realtime.socket_io
    assert (door.enabled, door.ping_interval_ms, door.ping_timeout_ms) == (False, 25000, 20000)
    assert (door.cors, door.cors_origin) == ((), ("https://farm.example",))
    assert (door.notification_interval_ms, door.notification_buffer) == (500, 50)
    assert door.broadcast_all


def test_an_empty_key_and_an_empty_variable_leave_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "http:\n  port:\nmqtt:\n")
    assert load(path, {"MQTT_PORT": ""}) == Settings()


def test_the_sample_file_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = re.sub(r"^( *)#(?=\w+: )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)
    keys = set(re.findall(r"^ *(\w+):", text, flags=re.MULTILINE))
    assert load(write(tmp_path, text), {}) == Settings()
    declared = {field.name for section in sections() for field in attrs.fields(section)}
    assert declared <= keys


def test_the_sample_file_names_every_variable() -> None:
    text = SAMPLE.read_text()
    fields = [field for section in sections() for field in attrs.fields(section)]
    variables = {field.metadata["env"] for field in fields if field.metadata.get("env")}
    assert {name for name in variables if not re.search(rf"\[{name}[ \]]", text)} == set()


def test_the_sample_rules_are_valid(tmp_path: Path) -> None:
    rules = re.findall(r"^ *#  - (\{.*?\}) *#?.*$", SAMPLE.read_text(), flags=re.MULTILINE)
    assert len(rules) == 2
    settings = load(write(tmp_path, f"mqtt: {{acl: {{rules: [{', '.join(rules)}]}}}}"), {})
    assert settings.mqtt.acl.rules == (
        AclRule(topic="private/#", deny="subscribe"),
        AclRule(topic="site/%u/#", allow="both", user="gateway-1"),
    )


def test_no_two_keys_share_a_variable() -> None:
    fields = [field for section in sections() for field in attrs.fields(section)]
    variables = [field.metadata["env"] for field in fields if field.metadata.get("env")]
    assert len(variables) == len(set(variables))


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("1", True), ("0", False), ("yes", True), ("no", False)],
)
def test_booleans_have_several_spellings(text: str, value: bool) -> None:
    assert load(None, {"ENABLE_MQTT": text}).mqtt.enabled is value


@pytest.mark.parametrize("text", ["ja", "2", "tru", "-"])
def test_other_words_are_no_booleans(text: str) -> None:
    assert problems(None, {"ENABLE_MQTT": text}) == [
        f"ENABLE_MQTT: {text!r} is neither true nor false"
    ]


def test_lists_may_be_yaml_lists_or_text_with_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "http: {trusted_proxies: [10.0.0.0/8, '::1']}\n")
    settings = load(path, {"REALTIME_ANONYMOUS": " 1, 2,"})
    assert settings.http.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.realtime.anonymous == ("1", "2")


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("PORT", "70000", "70000 is not in 0..65535"),
        ("PORT", "-1", "-1 is not in 0..65535"),
        ("PORT", "3000.5", "'3000.5' is not a whole number"),
        ("MQTT_DEFAULT_QOS", "3", "3 is not in 0..2"),
        ("LOG_LEVEL", "loud", "loud is not one of debug, info, warn, error"),
        ("LOG_FORMAT", "xml", "xml is not one of auto, text, json"),
        ("MQTT_ACL_MODE", "closed", "closed is not one of devices, open"),
        ("JWT_EXPIRES_IN", "soon", "soon is not a time"),
        ("TRUSTED_PROXIES", "everybody", "[everybody] holds 'everybody', which is no address"),
        ("REALTIME_ANONYMOUS", "1,none", "[1, none] holds 'none', which is neither"),
        ("JWT_SECRET", "your-secret-key", "the value is a well-known example"),
        ("JWT_SECRET", "short", "the value is shorter than 16 bytes"),
        ("AEMOS_STOP_GRACE", "nan", "'nan' is not a number"),
    ],
)
def test_a_wrong_variable_is_named_with_the_reason(variable: str, text: str, said: str) -> None:
    (problem,) = problems(None, {variable: text})
    assert problem.startswith(f"{variable}: {said}")


def test_all_mistakes_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "http:\n  port: 70000\n  prot: 1\nmqtt:\n  enabled: maybe\nlogs: {}\nhttp: {}\n"
        "realtime: [1]\ningest:\n  max_items: {}\n",
    )
    assert problems(path, {"MQTT_PORT": "x"}) == [
        f"{path}:6: logs: there is no such key",
        f"{path}:7: http: is given twice",
        f"{path}:3: http.prot: there is no such key",
        f"{path}:2: http.port: 70000 is not in 0..65535",
        f"{path}:5: mqtt.enabled: 'maybe' is neither true nor false",
        "MQTT_PORT: 'x' is not a whole number",
        f"{path}:8: realtime: must hold keys with values",
        f"{path}:10: ingest.max_items: must be a single value",
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{topic: a}", "needs either allow or deny"),
        ("{topic: a, allow: both, deny: both}", "needs either allow or deny"),
        ("{allow: both}", "names no topic"),
        ("{topic: a, allow: all}", "must allow or deny one of publish, subscribe, both"),
        ("{topic: a, allow: both, qos: 1}", "holds 'qos', which no rule has"),
        ("{topic: a, topic: b, allow: both}", "holds a key twice"),
        ("{topic: a/#/b, deny: both}", "names no possible topic: # stands alone in the last level"),
        ("a/b", "must hold keys with values"),
    ],
)
def test_a_wrong_acl_rule_is_named_by_its_line(tmp_path: Path, rule: str, said: str) -> None:
    path = write(tmp_path, f"mqtt:\n  acl:\n    rules:\n      - {rule}\n")
    assert problems(path) == [f"{path}:4: mqtt.acl.rules: the rule in line 4 {said}"]


def test_what_is_not_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "http:\n  port: [1\nmqtt: 3\n")
    (problem,) = problems(path)
    assert re.match(rf"{path}:\d: not YAML: ", problem)


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    assert problems(str(tmp_path / "none.yaml")) == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    ]
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert problems(str(tmp_path / "binary.yaml")) == [
        f"{tmp_path}/binary.yaml: cannot be read: it is not UTF-8 text"
    ]


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    assert load(None, {"JWT_SECRET_FILE": str(secret)}).auth.jwt_secret == "0123456789abcdef"


def test_a_secret_and_its_file_cannot_both_count(tmp_path: Path) -> None:
    environ = {"JWT_SECRET": "0123456789abcdef", "JWT_SECRET_FILE": str(tmp_path)}
    assert problems(None, environ) == [
        "JWT_SECRET_FILE: JWT_SECRET is set too; only one of them can count"
    ]


def test_a_missing_secret_file_is_told(tmp_path: Path) -> None:
    assert problems(None, {"DB_PASSWORD_FILE": str(tmp_path / "none")}) == [
        f"DB_PASSWORD_FILE: {tmp_path}/none cannot be read: No such file or directory"
    ]


def test_the_parts_of_a_database_become_its_url() -> None:
    environ = {
        "DB_HOST": "db.example",
        "DB_PORT": "3307",
        "DB_NAME": "farm",
        "DB_USER": "us@er",
        "DB_PASSWORD": "p:/#w",
    }
    assert load(None, environ).database.url == "mysql://us%40er:p%3A%2F%23w@db.example:3307/farm"


def test_parts_that_are_not_set_are_as_in_the_original() -> None:
    assert load(None, {"DB_HOST": "::1"}).database.url == "mysql://root@[::1]:3306/aemos_core"


def test_a_database_url_wins_over_the_parts_and_they_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "database: {url: 'sqlite:///file'}")
    assert load(path, {"DB_HOST": "h"}).database.url == "mysql://root@h:3306/aemos_core"
    environ = {"DB_HOST": "h", "DATABASE_URL": "sqlite:///variable"}
    assert load(path, environ).database.url == "sqlite:///variable"


def test_a_wrong_port_of_the_database_is_named() -> None:
    assert problems(None, {"DB_PORT": "tcp://1"}) == ["DB_PORT: 'tcp://1' is no port"]


@pytest.mark.parametrize("variable", REFUSED)
def test_a_switch_for_what_is_not_here_stops_the_start(variable: str) -> None:
    value = "8883" if variable.endswith("PORT") else "true"
    (problem,) = problems(None, {variable: value})
    assert problem == f"{variable}: {REFUSED[variable]}"
    assert load(None, {variable: "0" if value == "8883" else "false"}) == Settings()


def test_variables_of_the_original_without_a_meaning_here_are_accepted_and_named() -> None:
    environ = {"NODE_ENV": "production", "REDIS_HOST": "r", "ENABLE_HELMET": "false", "HOME": "/"}
    assert load(None, environ) == Settings()
    assert without_effect(environ) == ["ENABLE_HELMET", "NODE_ENV", "REDIS_HOST"]


def test_no_variable_of_a_key_counts_as_without_effect() -> None:
    fields = [field for section in sections() for field in attrs.fields(section)]
    variables = {field.metadata["env"] for field in fields if field.metadata.get("env")}
    assert without_effect(dict.fromkeys(variables, "")) == []


def test_the_first_administrator_needs_both_parts() -> None:
    assert problems(None, {"AEMOS_ADMIN_EMAIL": "a@b.example"}) == [
        "AEMOS_ADMIN_EMAIL: auth.admin_email needs auth.admin_password beside it"
    ]
    assert problems(None, {"AEMOS_ADMIN_PASSWORD": "secret"}) == [
        "AEMOS_ADMIN_PASSWORD: auth.admin_password needs auth.admin_email beside it"
    ]


def test_limits_of_rules_that_contradict_each_other_are_named() -> None:
    environ = {"QUEUE_WARNING_THRESHOLD": "60000", "RULE_CHAIN_TIMEOUT": "10000"}
    assert problems(None, {**environ, "DATA_COLLECTION_TIMEOUT": "20000"}) == [
        "DATA_COLLECTION_TIMEOUT: rules.collection_timeout_ms must be less than"
        " rules.chain_timeout_ms",
        "QUEUE_WARNING_THRESHOLD: rules.queue_warning must be less than rules.queue_critical",
    ]


def test_a_demo_server_listens_on_the_loopback_address_unless_told_otherwise() -> None:
    settings = load(None, {"MQTT_HOST": "0.0.0.0"}, demo=True)
    assert settings.demo
    assert (settings.http.host, settings.mqtt.host) == ("127.0.0.1", "0.0.0.0")
    assert load(None, {"AEMOS_DEMO": "true"}).http.host == "127.0.0.1"
    assert load(None, {}).http.host == "0.0.0.0"


def test_the_description_shows_everything_but_secrets() -> None:
    environ = {
        "DATABASE_URL": "mysql://user:hunter2@db.example/farm",
        "JWT_SECRET": "0123456789abcdef",
        "REALTIME_ANONYMOUS": "1,2",
    }
    lines = describe(load(None, environ))
    assert "database.url: mysql://user:***@db.example/farm" in lines
    assert "auth.jwt_secret: ***" in lines
    assert "auth.admin_password: " in lines
    assert "realtime.anonymous: [1, 2]" in lines
    assert "mqtt.acl.mode: devices" in lines
    assert not any("hunter2" in line or "0123456789abcdef" in line for line in lines)


@pytest.mark.parametrize("url", ["mysql://u:p@ss@h/n", "mysql://:p@h/n", "mysql://u:a/b@h/n"])
def test_no_part_of_a_password_is_ever_shown(url: str) -> None:
    shown = describe(Settings(database=schema.Database(url=url)))
    (line,) = [line for line in shown if "database.url" in line]
    password = url.removeprefix("mysql://").partition(":")[2].rpartition("@")[0]
    assert password not in line
    assert password[-2:] not in line.removeprefix("database.url: mysql")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("postgres://u:hunter2@h/n", "the value is not mysql://"),
        ("sqlite:///", "the value needs a path"),
        ("mysql://u:hun/ter2@h/n", "the value is not of the form"),
        ("mysql://u:hunter2@h:99999/n", "the value is not of the form"),
        ("mysql://u:hunter2@h", "the value does not name the database"),
        ("mysql://:hunter2@h/n", "the value does not name the user"),
        ("mysql://u:hunter2@h/n?charset=latin1", "the value has an unknown option charset"),
    ],
)
def test_a_url_that_names_no_database_is_told_without_its_password(url: str, wrong: str) -> None:
    (said,) = problems(None, {"DATABASE_URL": url})
    assert said.startswith(f"DATABASE_URL: {wrong}")
    assert "ter2" not in said


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("bogus:1883", "Unknown endpoint type: 'bogus'"),
        ("tcp:mqtt", "invalid literal for int() with base 10: 'mqtt'"),
        ("tcp", "'port'"),
    ],
)
def test_an_endpoint_must_be_one_that_twisted_knows(text: str, wrong: str) -> None:
    for variable in ("HTTP_ENDPOINT", "MQTT_ENDPOINT", "MQTT_WS_ENDPOINT"):
        (said,) = problems(None, {variable: text})
        assert said.startswith(f"{variable}: {text} is not an endpoint string of Twisted: ")
        assert wrong in said


def test_endpoints_of_all_kinds_are_taken() -> None:
    for text in (r"tcp6:1883:interface=\:\:1", "unix:/run/a.sock", "systemd:domain=INET:index=0"):
        assert load(None, {"MQTT_ENDPOINT": text}).mqtt.endpoint == text


def test_what_is_not_printable_does_not_break_the_line_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, '"\\n": 1\nmail: {sender: "a\\nb"}\n')
    first, second = problems(path)
    assert first.endswith(r"'\n': there is no such key")
    assert second.endswith(r"mail.sender: 'a\nb' is not an e-mail address")


def test_a_data_folder_has_a_name(tmp_path: Path) -> None:
    (said,) = problems(write(tmp_path, "data_dir: ''"))
    assert said.endswith("data_dir:  must not be empty")


def test_files_of_tls_are_looked_at_where_a_port_needs_them(tmp_path: Path) -> None:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    environ = {"MQTT_TLS_CERT": cert, "MQTT_TLS_KEY": key, "HTTP_TLS_CERT": cert}
    check_tls_files(load(None, environ))
    ports = {"MQTT_WSS_PORT": "9443", "HTTP_TLS_PORT": "443", "HTTP_TLS_KEY": key}
    with pytest.raises(ConfigurationError) as caught:
        check_tls_files(load(None, environ | ports))
    assert str(caught.value).splitlines() == [
        f"{door}: {cert} cannot be used for TLS: No such file or directory"
        for door in ("http", "mqtt")
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"MQTT_TLS_PORT": "8883", "MQTT_TLS_KEY": "k"},
            "mqtt.tls.cert (MQTT_TLS_CERT): MQTT over TLS needs it",
        ),
        (
            {"MQTT_WSS_PORT": "9443", "MQTT_TLS_CERT": "c"},
            "mqtt.tls.key (MQTT_TLS_KEY): MQTT over TLS needs it",
        ),
        (
            {"HTTP_TLS_PORT": "443", "HTTP_TLS_CERT": "c"},
            "http.tls_key (HTTP_TLS_KEY): HTTPS needs it",
        ),
        ({"MQTT_TLS_CRL": "r"}, "mqtt.tls.ca (MQTT_TLS_CA): mqtt.tls.crl needs it"),
        (
            {"MQTT_TLS_CLIENT_CERTIFICATES": "required"},
            "mqtt.tls.ca (MQTT_TLS_CA): mqtt.tls.client_certificates: required needs it",
        ),
    ],
)
def test_tls_needs_its_files(environ: dict[str, str], said: str) -> None:
    assert problems(None, environ) == [said]
