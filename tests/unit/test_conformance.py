"""The list of normative statements is complete, each has its tests, and the table says so."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.task import Clock

from aemos.config.load import load
from aemos.mqtt.counters import Counters
from aemos.mqtt.guard import Guard
from tests.integration.server import ROOT


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    """The script docs/conformance.py."""
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "docs" / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tested(conformance: ModuleType) -> Any:
    """The tests of each statement, as they name it."""
    return conformance.tests()


def test_every_statement_of_the_standard_is_listed_once(conformance: ModuleType) -> None:
    ids = [statement.id for statement in conformance.statements()]
    assert len(ids) == len(set(ids)) == 141  # of its appendix B


def test_every_statement_that_concerns_a_server_has_a_test(
    conformance: ModuleType, tested: Any
) -> None:
    needed = {statement.id for statement in conformance.statements() if statement.needs_test}
    assert needed - set(tested) == set()


def test_no_test_names_a_statement_that_does_not_exist(
    conformance: ModuleType, tested: Any
) -> None:
    assert set(tested) - {each.id for each in conformance.statements()} == set()


def test_the_table_is_up_to_date(conformance: ModuleType, tested: Any) -> None:
    table = conformance.render(conformance.statements(), tested)
    assert conformance.TABLE.read_text("utf-8") == table, "run `python docs/conformance.py`"


def test_the_configuration_that_the_page_gives_is_a_valid_one(
    conformance: ModuleType, tmp_path: Path
) -> None:
    page = conformance.render([], {})
    [block] = re.findall(r"``conformance.yaml``::\n\n((?:    .*\n)+)", page)
    file = tmp_path / "conformance.yaml"
    file.write_text(textwrap.dedent(block), "utf-8")
    settings = load(str(file), {"AEMOS_DATA_DIR": str(tmp_path)})
    assert settings.mqtt.acl.mode == "open"
    assert Guard(settings.mqtt, Clock(), Counters()).objection("2001:db8::1") == ""
