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
            parts.append(f"\n{title}\n{'-' * len(title)}\n")
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
