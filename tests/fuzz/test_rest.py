"""Made-up requests for the running server: each is answered, none by a fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import migrated
from tests.fuzz.rest import Target, shower


@pytest.fixture(params=["sqlite", "mysql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    with migrated(request, tmp_path) as url:
        target = Target(tmp_path, url)
        try:
            target.start()
            yield target
        finally:
            target.server.close()


def test_no_request_brings_the_server_into_trouble(target: Target) -> None:
    shower(target, 200, random=False)
    # They reach what they are meant for.
    assert target.statuses[200] + target.statuses[201] > 15, target.statuses
    assert target.statuses[400] > 15, target.statuses
