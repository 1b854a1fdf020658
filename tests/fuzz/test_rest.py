"""Made-up requests for the running server: each is answered, none by a fault."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fuzz.rest import Target, shower
from tests.mariadb import MariaDB


@pytest.fixture(params=["sqlite", "mysql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    url, done = f"sqlite:///{tmp_path / 'aemos.sqlite'}", lambda: None
    if request.param == "mysql":
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        name = mariadb.new_database()
        url, done = mariadb.url(name), partial(mariadb.drop, name)
    target = Target(tmp_path, url)
    try:
        target.start()
        yield target
    finally:
        target.server.close()
        done()


def test_no_request_brings_the_server_into_trouble(target: Target) -> None:
    shower(target, 200, random=False)
    # They reach what they are meant for.
    assert target.statuses[200] + target.statuses[201] > 15, target.statuses
    assert target.statuses[400] > 15, target.statuses
