"""`twistd aemos --demo`: what it prints works as printed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server import ROOT, until
from tests.parts import need


class Demo:
    """A server started with --demo in an empty folder, as `make run` does it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / "log"
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PORT": "0",
            "MQTT_PORT": "0",
            "MQTT_WS_PORT": "0",
            "AEMOS_DATA_DIR": str(folder / "farm data"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                ["twistd", "--pidfile=", "-n", "aemos", "--demo"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: "aemos simulate" in self.log or self._ended(), "the banner is there", 30)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def credentials_path(self) -> Path:
        return self.folder / "farm data" / "demo-credentials.json"

    def printed(self, word: str) -> str:
        """@return: the one printed command that starts with `word`."""
        (command,) = re.findall(rf"^  ({word} .*)$", self.log, flags=re.MULTILINE)
        return str(command)

    def shell(self, command: str) -> str:
        """Paste a line into a shell. @return: what it says."""
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail; {command}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def aemos(self, *argv: str) -> Any:
        """Run the administration command. @return: its answer."""
        done = subprocess.run(
            [sys.executable, "-c", "from aemos.cli import main; main()", *argv, "--json"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return done.returncode, json.loads(done.stdout)

    def temperatures(self) -> list[str]:
        """@return: what the printed line for reading back finds."""
        need("curl")
        (command,) = re.findall(r"^  (curl .*telemetry/\d+)$", self.log, flags=re.MULTILINE)
        answer = json.loads(self.shell(command))
        return [row["value"] for row in answer["data"]["dataStreams"]]

    def _ended(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return False


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.start()
    yield demo
    demo.stop()


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("mosquitto_pub", "mosquitto_pub"),
        ("python3", "python3"),
        ("curl", "curl .*datastreams/token"),
    ],
)
def test_a_printed_line_stores_a_reading(demo: Demo, program: str, line: str) -> None:
    need(program)
    before = demo.temperatures()
    (command,) = re.findall(rf"^  ({line}.*)$", demo.log, flags=re.MULTILINE)
    demo.shell(command)
    assert demo.temperatures() == [*before, "21.5"]


def test_what_is_secret_is_only_for_the_owner(demo: Demo) -> None:
    assert stat.S_IMODE(demo.credentials_path.stat().st_mode) == 0o600


def test_simulated_readings_are_stored_and_acknowledged(demo: Demo) -> None:
    before = len(demo.temperatures())
    code, answer = demo.aemos("simulate", "--count", "100", "--rate", "2000")
    assert (code, answer["data"]) == (0, {"sent": 100, "acknowledged": 100})
    # Two sensors take turns, and the first has two variables.
    assert len(demo.temperatures()) == before + 25


def test_a_token_made_beside_the_server_works_at_once(demo: Demo) -> None:
    need("mosquitto_pub")
    sensor = json.loads(demo.credentials_path.read_text())["sensors"][0]
    code, answer = demo.aemos("create-token", "--sensor", sensor["uuid"])
    assert code == 0
    before = demo.temperatures()
    line = demo.printed("mosquitto_pub")
    assert sensor["token"] in line
    demo.shell(line.replace(sensor["token"], answer["data"]["token"]))
    assert demo.temperatures() == [*before, "21.5"]


def test_a_second_server_on_the_same_folder_is_told_so(demo: Demo) -> None:
    done = subprocess.run(
        ["twistd", "--pidfile=", "-n", "aemos", "--demo"],
        cwd=demo.folder,
        env=demo.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode != 0
    said = done.stdout.decode() + done.stderr.decode()
    assert "another server is running" in said
    assert "Traceback" not in said


def test_the_next_start_finds_the_same_farm(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.start()
    first, credentials = demo.printed("mosquitto_sub"), demo.credentials_path.read_bytes()
    demo.stop()
    demo.start()
    second = demo.printed("mosquitto_sub")
    demo.stop()
    assert demo.credentials_path.read_bytes() == credentials
    port = re.compile(r"-p \d+")
    assert port.sub("", first) == port.sub("", second)
