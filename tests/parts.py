"""Programs of the machine that some tests need besides Python."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def need(program: str) -> str:
    """Find a program, or leave the test: skipped on a developer's machine, failed in CI.

    @return: its full path.
    """
    found = shutil.which(program, path=_PATH)
    if found is None:
        missing(f"{program} is not installed")
    return found


def missing(what: str) -> NoReturn:
    """End the test because a part is missing; CI has all parts, there it is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
