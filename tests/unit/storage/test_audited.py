"""Nothing changes a table whose changes are recorded past the place that records them."""

from __future__ import annotations

import re
from pathlib import Path

import aemos
from aemos.storage.audit import AUDITED

_STATEMENT = re.compile(r"(?:UPDATE|DELETE FROM|INSERT INTO|REPLACE INTO) (\w+)")

PAST_THE_LOG = {
    ("users.py", "User"): "counts sign-ins that failed",
    ("rollups.py", "DataStream"): "rolls old readings up, by itself",
    ("rules.py", "RuleChainNode"): "unties nodes that are deleted next",
    ("rules.py", "RuleChain"): "counts runs",
    ("status.py", "Sensor"): "takes down what sensors report",
    ("status.py", "Device"): "takes down what devices report",
}


def test_every_change_of_an_audited_table_goes_through_the_transaction() -> None:
    root = Path(aemos.__file__).parent
    found = {
        (path.name, table)
        for path in root.rglob("*.py")
        for table in _STATEMENT.findall(path.read_text())
        if table in AUDITED
    }
    assert found == PAST_THE_LOG.keys()
