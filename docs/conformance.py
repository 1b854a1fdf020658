"""Writes docs/conformance.rst: each normative statement of MQTT 3.1.1, and the tests that name it.

A test names the statements that it checks in its docstring, as ``[MQTT-x.y.z-n]``. Run this after
such a docstring has changed; tests/unit/test_conformance.py fails until it was done.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
STATEMENTS = ROOT / "docs" / "conformance.txt"
TABLE = ROOT / "docs" / "conformance.rst"

CHAPTERS = {
    "1": "Data representations",
    "2": "Control packet format",
    "3": "Control packets",
    "4": "Operational behaviour",
    "6": "WebSocket",
    "7": "Conformance",
}

_HEAD = """\
Conformance to MQTT 3.1.1
=========================

Made by ``python docs/conformance.py`` from ``docs/conformance.txt`` and the tests; do not edit.

Run a suite against aemos
-------------------------

Suites connect without credentials and use topics of their own. Write ``conformance.yaml``::

    mqtt:
      allow_unauthenticated: true
      max_packet: 268435455                    # as much as MQTT can; the default is 1 MiB
      trusted_networks: ["0.0.0.0/0", "::/0"]  # no bans: suites come back often, with one client id
      acl:
        mode: open
        rules:
          - {deny: subscribe, topic: "test/nosubscribe"}
          - {allow: subscribe, topic: "$SYS/#"}

and start it with that::

    AEMOS_DATA_DIR=/tmp/conformance twistd -n aemos --config conformance.yaml

MQTT listens at port 1883, over WebSocket at 9001, and everything lies in that folder.
``auth_enabled: false`` in place of ``allow_unauthenticated: true`` takes any user name and
password. To test as a device, with a token and in the default ``mode: devices``, take the sensor
that ``make run`` prints, and let it have the suite's topics: a rule ``{allow: both, topic:
"TopicA/#"}`` comes before the built-in ones.


Where the standard leaves the choice
------------------------------------

The settings named are those below ``mqtt``.

=======================================  =========================================================
Case                                     aemos
=======================================  =========================================================
filters of one client that overlap       one copy, with the highest QoS that was granted
QoS 0 for an absent client               is not kept
QoS 1 and 2 for an absent client         are kept up to ``max_queued``, ``max_queued_bytes``
QoS 2 from a client                      is forwarded at PUBLISH (method B), before PUBREC
sending again                            with DUP, when the client comes back; at no other time
JSON with ``token`` or ``accessToken``   is forwarded without that member: it is a secret
a publish that is not allowed            is acknowledged and discarded
a publish to a topic that begins with $  is acknowledged and discarded
a filter that is not allowed             SUBACK 0x80; in 3.1, which has no code, the QoS asked for
a retained message, subscribed to again  is sent again
an empty client id                       gets one from the server; with clean_session=0: CONNACK 2
a client id in use                       the newer connection takes the session over
the same id under another user name      is another session: nobody takes over another's
the will of who is taken over            is published, as after every end without DISCONNECT
a will, and the server is stopped        is not published: its client comes back
control characters, non-characters       close the connection (``strict_text: false`` takes them)
topics of more than 256 levels           close the connection (``max_topic_levels``)
more than 1,000 filters of one client    SUBACK 0x80 (``max_subscriptions``)
protocol levels other than 3 and 4       CONNACK 1, then closed
another protocol name than theirs        closed at once
WebSocket without a subprotocol          status 400; it must be ``mqtt`` or ``mqttv3.1``
=======================================  =========================================================


The statements
--------------

Every normative statement of the OASIS standard of 29 October 2014 by its number, in our words, with
the tests that check it. A dash: it binds clients, or what aemos does not do.
"""

_NAMED = re.compile(r"\[MQTT-(\d+\.\d+\.\d+-\d+)\]")


class Statement(NamedTuple):
    """One normative statement; `binds` is server, client, both, policed or none."""

    id: str
    binds: str
    text: str

    @property
    def needs_test(self) -> bool:
        """Whether it concerns this server."""
        return self.binds in ("server", "both", "policed")


class Named(NamedTuple):
    """A test that names a statement."""

    file: str
    name: str


def statements() -> list[Statement]:
    """@return: all statements, in the order of the standard."""
    lines = STATEMENTS.read_text("utf-8").splitlines()
    return [Statement(*line.split(" | ", 2)) for line in lines if not line.startswith("#")]


def tests() -> dict[str, list[Named]]:
    """@return: the tests that name a statement, by its id."""
    found: defaultdict[str, list[Named]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in _tests_of(path):
            named = Named(path.relative_to(ROOT).as_posix(), function.name)
            for statement in dict.fromkeys(_NAMED.findall(ast.get_docstring(function) or "")):
                found[statement].append(named)
    return dict(found)


def render(all_statements: Sequence[Statement], found: Mapping[str, Sequence[Named]]) -> str:
    """@return: the text of docs/conformance.rst."""
    parts, chapter = [_HEAD], ""
    for statement in all_statements:
        if statement.id[0] != chapter:
            chapter = statement.id[0]
            title = f"{chapter}. {CHAPTERS[chapter]}"
            parts.append(f"\n{title}\n{'~' * len(title)}\n")
            parts.append(".. list-table::\n   :header-rows: 1\n   :widths: 10 40 50\n")
            parts.append("   * - Statement\n     - Says\n     - Tests")
        parts.append(
            f"   * - MQTT-{statement.id}\n     - {statement.text}\n     - {_cell(found, statement)}"
        )
    return "\n".join(parts) + "\n"


def _cell(found: Mapping[str, Sequence[Named]], statement: Statement) -> str:
    lines = [f"| ``{file}``: ``{name}``" for file, name in found.get(statement.id, ())]
    return "\n       ".join(lines) or "\u2014"


def _tests_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield node


if __name__ == "__main__":
    TABLE.write_text(render(statements(), tests()), "utf-8")
