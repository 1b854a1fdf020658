"""Reads the configuration: defaults < YAML file < environment, naming all mistakes at once."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import attrs
import yaml

from aemos.config.names import DATABASE_PARTS, OFF, REFUSED
from aemos.config.rules import Rules
from aemos.config.schema import AclRule, Settings
from aemos.errors import ConfigurationError
from aemos.topics import InvalidTopic, check_filter

S = TypeVar("S")

_YES = frozenset({"true", "yes", "1", "on"})
_NO = frozenset({"false", "no", "0", "off"})
_ACTIONS = ("publish", "subscribe", "both")
_LOOPBACK = "127.0.0.1"


class _Wrong(Exception):
    """The text of one value cannot be what its key needs."""


def load(path: str | None, environ: Mapping[str, str], *, demo: bool = False) -> Settings:
    """Read everything, check everything.

    @param path: the YAML file; None = there is none.
    @param environ: overrides the file. An empty variable counts as not set.
    @param demo: as if `demo: true` were in the file. The demo farm's tokens are meant for this
        machine, so its server listens on the loopback address unless a host is configured.
    @raise ConfigurationError: one line per mistake, each naming the key and its file and line, or
        the variable.
    """
    reader = _Reader(environ)
    settings = reader.section(Settings, reader.file(path), "")
    settings = attrs.evolve(settings, database=reader.database(settings))
    reader.refuse_what_is_not_here()
    reader.compare(settings)
    if reader.problems:
        raise ConfigurationError("\n".join(reader.problems))
    if demo:
        settings = attrs.evolve(settings, demo=True)
    if settings.demo:
        settings = attrs.evolve(
            settings,
            http=_on_loopback(settings.http, "http.host" in reader.given),
            mqtt=_on_loopback(settings.mqtt, "mqtt.host" in reader.given),
        )
    return settings


def describe(settings: Settings) -> list[str]:
    """@return: a line `section.key: value` for each key, with secrets masked."""
    return [
        f"{name}: {_shown(value, field)}"
        for name, value, field in _walk(settings, "")
        if not attrs.has(type(value))
    ]


class _Reader:
    """Collects the values of the sections, what was given, and what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.given: dict[str, str] = {}  # key -> where it was given
        self._environ = environ
        self._path = ""

    def file(self, path: str | None) -> yaml.MappingNode | None:
        """Parse the file; None when there is nothing in it."""
        if path is None:
            return None
        self._path = path
        try:
            node = yaml.compose(Path(path).read_text("utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.problems.append(f"{path}: cannot be read: {reason}")
            return None
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            self.problems.append(f"{path}{line}: not YAML: {error.problem}")
            return None
        except yaml.YAMLError as error:
            self.problems.append(f"{path}: not YAML: {' '.join(str(error).split())}")
            return None
        return self._mapping(node, "the file")

    def section(self, cls: type[S], node: yaml.MappingNode | None, prefix: str) -> S:
        """Read one section from its part of the file and from the environment."""
        fields = _fields(cls)
        in_file = dict(self._keys(node, prefix, fields))
        values: dict[str, Any] = {}
        for name, field in fields.items():
            value_node = in_file.get(name)
            if attrs.has(cast(type, field.type)):
                values[name] = self.section(
                    cast(type, field.type),
                    self._mapping(value_node, prefix + name),
                    f"{prefix}{name}.",
                )
                continue
            value = self._value(prefix + name, field, value_node)
            if value is not None:
                values[name] = value
        return cls(**values)

    def database(self, settings: Settings) -> Any:
        """Put DB_HOST, DB_PORT ... together: they win over the file, DATABASE_URL over them."""
        part = {name: self._variable(name, secret=name == "DB_PASSWORD") for name in DATABASE_PARTS}
        if not any(part.values()) or self.given.get("database.url") == "DATABASE_URL":
            return settings.database
        port = part["DB_PORT"] or "3306"
        if not (port.isdecimal() and 0 < int(port) <= 65535):
            self.problems.append(f"DB_PORT: {port!r} is no port")
        host = part["DB_HOST"] or "localhost"
        user = quote(part["DB_USER"] or "root", safe="")
        password = quote(part["DB_PASSWORD"] or "", safe="")
        name = quote(part["DB_NAME"] or "aemos_core", safe="")
        place = f"[{host}]" if ":" in host else host
        url = f"mysql://{user}{password and ':' + password}@{place}:{port}/{name}"
        return attrs.evolve(settings.database, url=url)

    def refuse_what_is_not_here(self) -> None:
        """A switch for a missing feature stops the start instead of being ignored."""
        for name, reason in REFUSED.items():
            if self._environ.get(name, "").strip().lower() not in OFF:
                self.problems.append(f"{name}: {reason}")

    def compare(self, settings: Settings) -> None:
        """Check what concerns more than one key."""
        auth = settings.auth
        if bool(auth.admin_email) != bool(auth.admin_password):
            here, there = ("admin_email", "admin_password")
            if auth.admin_password:
                here, there = there, here
            where = self.given.get(f"auth.{here}", f"auth.{here}")
            self.problems.append(f"{where}: auth.{here} needs auth.{there} beside it")
        http, tls = settings.http, settings.mqtt.tls
        if http.tls_port or http.tls_endpoint:
            self._need("HTTPS", "http.", http, "tls_cert", "tls_key")
        if tls.port or tls.endpoint or tls.websocket_port or tls.websocket_endpoint:
            self._need("MQTT over TLS", "mqtt.tls.", tls, "cert", "key")
        if tls.client_certificates == "required":
            self._need("mqtt.tls.client_certificates: required", "mqtt.tls.", tls, "ca")
        if tls.crl:
            self._need("mqtt.tls.crl", "mqtt.tls.", tls, "ca")
        rules = settings.rules
        self._order("collection_timeout_ms", "chain_timeout_ms", rules)
        self._order("queue_recovery", "queue_warning", rules)
        self._order("queue_warning", "queue_critical", rules)

    def _order(self, less: str, more: str, rules: Rules) -> None:
        if getattr(rules, less) >= getattr(rules, more):
            where = self.given.get(f"rules.{less}", f"rules.{less}")
            self.problems.append(f"{where}: rules.{less} must be less than rules.{more}")

    def _need(self, what: str, prefix: str, section: Any, *names: str) -> None:
        for name in names:
            if not getattr(section, name):
                variable = _fields(type(section))[name].metadata["env"]
                self.problems.append(f"{prefix}{name} ({variable}): {what} needs it")

    def _value(self, key: str, field: attrs.Attribute[Any], node: yaml.Node | None) -> Any:
        """@return: the value given for a key; None when none is, or it is wrong (and noted)."""
        value = None
        if node is not None and not _is_null(node):
            from_node = functools.partial(_from_node, node)
            value = self._checked(key, field, self._place(node, key), from_node)
        variable = field.metadata["env"]
        text = self._variable(variable, field.metadata["secret"]) if variable else None
        if text is not None:
            value = self._checked(key, field, variable, functools.partial(_from_text, text))
        return value

    def _checked(
        self, key: str, field: attrs.Attribute[Any], where: str, convert: Callable[[Any], Any]
    ) -> Any:
        self.given[key] = where
        try:
            value = convert(field.type)
        except _Wrong as error:
            self.problems.append(f"{where}: {error}")
            return None
        wrong = field.metadata["valid"](value)
        if wrong:
            shown = "the value" if field.metadata["secret"] else _plain(value)
            self.problems.append(f"{where}: {shown} {wrong}")
            return None
        return value

    def _variable(self, name: str, secret: bool) -> str | None:
        """@return: the text of a variable, or of the file that NAME_FILE names for a secret."""
        text = self._environ.get(name) or None
        path = self._environ.get(f"{name}_FILE") if secret else None
        if not path:
            return text
        if text is not None:
            self.problems.append(f"{name}_FILE: {name} is set too; only one of them can count")
            return text
        try:
            return Path(path).read_text("utf-8").rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.problems.append(f"{name}_FILE: {path} cannot be read: {reason}")
            return None

    def _keys(
        self, node: yaml.MappingNode | None, prefix: str, known: Mapping[str, object]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Give the keys of a mapping with their nodes; unknown and repeated ones are noted."""
        seen = set()
        for key_node, value_node in node.value if node else ():
            name = _printable(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if name not in known:
                self.problems.append(
                    f"{self._place(key_node, prefix + name)}: there is no such key"
                )
            elif name in seen:
                self.problems.append(f"{self._place(key_node, prefix + name)}: is given twice")
            else:
                seen.add(name)
                yield name, value_node

    def _mapping(self, node: yaml.Node | None, name: str) -> yaml.MappingNode | None:
        if node is None or _is_null(node):
            return None
        if isinstance(node, yaml.MappingNode):
            return node
        self.problems.append(f"{self._place(node, name)}: must hold keys with values")
        return None

    def _place(self, node: yaml.Node, key: str) -> str:
        return f"{self._path}:{node.start_mark.line + 1}: {key}"


def _from_node(node: yaml.Node, kind: Any) -> Any:
    """Make a value of type `kind` from a YAML node. @raise _Wrong: it cannot be one."""
    if kind == tuple[AclRule, ...]:
        return tuple(_rule(item) for item in _items(node))
    if typing.get_origin(kind) is tuple and isinstance(node, yaml.SequenceNode):
        return tuple(_scalar(item) for item in _items(node))
    return _from_text(_scalar(node), kind)


def _from_text(text: str, kind: Any) -> Any:
    """Make a value of type `kind` from text. @raise _Wrong: it cannot be one."""
    if kind is bool:
        word = text.strip().lower()
        if word in _YES or word in _NO:
            return word in _YES
        raise _Wrong(f"{text!r} is neither true nor false")
    if kind is int:
        if re.fullmatch(r"[+-]?[0-9][0-9_]{0,18}", text.strip()):
            return int(text)
        raise _Wrong(f"{text!r} is not a whole number")
    if kind is float:
        if re.fullmatch(r"[+-]?([0-9]{1,15}(\.[0-9]*)?|\.[0-9]+)", text.strip()):
            return float(text)
        raise _Wrong(f"{text!r} is not a number")
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _rule(node: yaml.Node) -> AclRule:
    """One entry of mqtt.acl.rules. @raise _Wrong: it is none."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong(f"the rule in line {line} must hold keys with values")
    given = {_scalar(key): _scalar(value) for key, value in node.value}
    if len(given) < len(node.value):
        raise _Wrong(f"the rule in line {line} holds a key twice")
    unknown = sorted(given.keys() - {field.name for field in attrs.fields(AclRule)})
    if unknown:
        raise _Wrong(f"the rule in line {line} holds {unknown[0]!r}, which no rule has")
    if not given.get("topic"):
        raise _Wrong(f"the rule in line {line} names no topic")
    try:
        check_filter(given["topic"])
    except InvalidTopic as error:
        raise _Wrong(f"the rule in line {line} names no possible topic: {error}") from error
    if ("allow" in given) == ("deny" in given):
        raise _Wrong(f"the rule in line {line} needs either allow or deny")
    if given.get("allow", given.get("deny")) not in _ACTIONS:
        raise _Wrong(f"the rule in line {line} must allow or deny one of {', '.join(_ACTIONS)}")
    return AclRule(**given)


def _items(node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise _Wrong("must be a list")
    return list(node.value)


def _scalar(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _Wrong("must be a single value")
    return str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _fields(cls: type) -> Mapping[str, attrs.Attribute[Any]]:
    """The keys of a section, with their types resolved from the annotations."""
    return {field.name: field for field in attrs.fields(attrs.resolve_types(cls))}


def _walk(section: Any, prefix: str) -> Iterator[tuple[str, Any, attrs.Attribute[Any]]]:
    for name, field in _fields(type(section)).items():
        value = getattr(section, name)
        yield prefix + name, value, field
        if attrs.has(type(value)):
            yield from _walk(value, f"{prefix}{name}.")


def _shown(value: Any, field: attrs.Attribute[Any]) -> str:
    if not (field.metadata["secret"] and value):
        return _plain(value)
    # A database is worth naming; its password is not.
    masked, is_url = re.subn(r"^(\w+://)(?:([^:/@]*)(?::.*)?@)?", r"\1\2:***@", str(value))
    if is_url and value.startswith("sqlite:"):
        return str(value)
    return masked if is_url else "***"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, AclRule):
        given = attrs.asdict(value, filter=lambda _, content: bool(content))
        return "{" + ", ".join(f"{key}: {content}" for key, content in given.items()) + "}"
    return _printable(str(value))


def _printable(text: str) -> str:
    """A mistake is one line, whatever is in the text that it names."""
    return text if text.isprintable() else ascii(text)


def _on_loopback(section: S, host_given: bool) -> S:
    return section if host_given else attrs.evolve(cast(Any, section), host=_LOOPBACK)
