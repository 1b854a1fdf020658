"""Imports point one way: doors -> messages -> services -> storage -> config and below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = [
    {
        "tap",
        "cli",
        "server",
        "listeners",
        "proxy",
        "assembly",
        "figures",
        "reactor",
        "open_files",
        "simulator",
    },
    {"mqtt", "http", "realtime", "mail", "webhooks"},
    {"messages"},
    {"services"},
    {"storage"},
    {"config", "observability"},
    {"redaction", "tls", "websockets"},
    {"topics"},
    {"json"},
    {"model"},
    {"errors"},
]
"""A room imports from itself and from rooms further down (`docs/architecture.rst`)."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

NEIGHBOURS = {("observability", "config")}
"""Rooms of one layer do not import each other, except that logs are set up by the configuration."""

WITHOUT_TWISTED = (
    "topics.py",
    "mqtt/wire.py",
    "mqtt/packets/*.py",
    "mqtt/subscriptions.py",
    "realtime/engineio.py",
    "realtime/socketio.py",
    "model.py",
    "errors.py",
)

PUBLIC = {"__version__"}


def modules() -> list[Path]:
    """Every module below the package itself."""
    return sorted(set((ROOT / "aemos").rglob("*.py")) - {ROOT / "aemos" / "__init__.py"})


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file names in an import statement, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module
            if node.module != "aemos":
                yield node.lineno, node.module
            else:
                for alias in node.names:
                    if alias.name not in PUBLIC:
                        yield node.lineno, f"aemos.{alias.name}"


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "aemos").parts[0].removesuffix(".py")


def wrong_imports(room: str, path: Path) -> list[str]:
    """What a file of `room` imports and may not."""
    wrong = []
    for line, name in imports(path):
        if not name.startswith("aemos."):
            continue
        other = name.split(".")[1]
        allowed = (
            other == room
            or LEVEL[other] > LEVEL[room]
            or LEVEL[other] == LEVEL[room] == 0
            or (room, other) in NEIGHBOURS
        )
        if not allowed:
            wrong.append(f"line {line}: {room} imports {name}")
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_points_against_the_arrow(path: Path) -> None:
    assert wrong_imports(room_of(path), path) == []


def test_an_import_against_the_arrow_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from aemos.mqtt import broker\nfrom aemos import tap\nimport aemos.storage.writer\n"
    )
    assert wrong_imports("services", path) == [
        "line 1: services imports aemos.mqtt",
        "line 2: services imports aemos.tap",
    ]
    assert wrong_imports("http", path) == [
        "line 1: http imports aemos.mqtt",
        "line 2: http imports aemos.tap",
    ]


@pytest.mark.parametrize("pattern", WITHOUT_TWISTED)
def test_pure_modules_know_no_twisted(pattern: str) -> None:
    paths = list((ROOT / "aemos").glob(pattern))
    assert paths, f"no module matches {pattern}"
    for path in paths:
        assert not [name for _, name in imports(path) if name.split(".")[0] == "twisted"], path


def test_twisted_keeps_its_own_package() -> None:
    """An `__init__.py` beside our plugin would hide Twisted's, or make twistd miss the plugin."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= 600, f"{path} is too long"
