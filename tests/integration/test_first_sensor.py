"""The lines of `docs/operating.rst` lead from an empty database to a first reading."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from pathlib import Path

from tests.integration.server import ROOT, Server
from tests.parts import need

EMAIL, PASSWORD = "you@example.org", "a password of some length"


def lines_of_the_guide(port: int) -> str:
    """@return: what is to be pasted into a shell, for a server at this port."""
    guide = (ROOT / "docs" / "operating.rst").read_text()
    section = guide.partition("The first sensor\n")[2]
    literal = re.search(r"::\n\n((?: {4}.*\n|\n)+)", section)
    assert literal is not None
    lines = textwrap.dedent(literal[1])
    assert "127.0.0.1:3000" in lines
    assert EMAIL in lines
    return lines.replace(":3000", f":{port}").replace('"..."', f'"{PASSWORD}"')


def test_the_lines_of_the_guide_make_a_sensor_that_can_publish(tmp_path: Path) -> None:
    need("curl")
    admin = {"admin_email": EMAIL, "admin_password": PASSWORD}
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'a.sqlite'}", auth=admin)
    try:
        server.start()
        shell = ["bash", "-c", f"set -euo pipefail; {lines_of_the_guide(server.ports['http'])}"]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [answer["status"] for answer in answers] == ["success"] * 4, answers
        reading = {"variableName": "temperature", "value": 21.5}
        token = answers[-1]["data"]["token"]
        assert server.post("/api/v1/datastreams/token", reading, token)[0] == 201
    finally:
        server.close()
