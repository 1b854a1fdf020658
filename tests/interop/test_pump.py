"""The pump of the guide for device makers, as it stands there, against a running server."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.pump import Pump
from tests.integration.server import ROOT, Server, until

_GUIDE = ROOT / "docs" / "devices.rst"


@pytest.fixture
def pump(server: Server) -> Pump:
    return Pump.of(server)


@pytest.fixture
def program(server: Server, pump: Pump, tmp_path: Path) -> Path:
    """The program in the guide, for this pump."""
    lines = _GUIDE.read_text().splitlines()
    begin = lines.index("A complete pump in Python (``pip install paho-mqtt``)::") + 1
    code = []
    for line in lines[begin:]:
        if line and not line.startswith("    "):
            break
        code.append(line)
    text = textwrap.dedent("\n".join(code))
    for there, here in (
        ("aaaaaaaa-1111-4111-8111-111111111111", pump.uuid),
        ('"..."', f'"{pump.token}"'),
        ('"farm.example", 1883', f'"127.0.0.1", {server.ports["mqtt"]}'),
    ):
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    path = tmp_path / "pump.py"
    path.write_text(text)
    return path


def test_the_pump_of_the_guide_does_what_it_is_told(pump: Pump, program: Path) -> None:
    waiting = pump.order({"command": "off", "ttl": 60})  # given while it is away
    process = subprocess.Popen([sys.executable, str(program)])
    try:
        steps = pump.reaches(waiting["commandId"], "confirmed")
        # Its two acknowledgements may overtake each other: of the command, and of the PUBLISH.
        assert steps[:2] == ["queued", "sent"]
        answered = pump.order({"command": "on"}, "?wait=15")
        assert answered["status"] == "confirmed"
        refused = pump.order({"command": "dance"}, "?wait=15")
        assert refused["status"] == "failed"
        power = {"stateName": "power", "value": "on"}
        limited = pump.order({"command": power, "maxOn": 1}, "?wait=15")
        assert limited["status"] == "confirmed"
        stop = until(
            lambda: next((c for c in pump.commands() if c["initiatedBy"] == "system"), None),
            "the server stops it",
        )
        pump.reaches(stop["commandId"], "confirmed")
    finally:
        process.terminate()
        process.wait(10)
