"""The `aemos` command on real databases: what it does, says and returns."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import bcrypt
import pytest
from twisted.internet import reactor

from aemos import __version__, json
from aemos.cli import CONFIGURATION, DONE, FAILED, STORAGE, USAGE, Options, execute, main
from aemos.services.control import ControlSocket
from aemos.services.events import Events, IdentityChanged, UserChanged
from aemos.storage.database import Database

PASSWORD = "correct horse"


@attrs.define
class Shell:
    """Runs commands on one database with one data folder."""

    folder: Path
    url: str

    async def run(self, *argv: str, stdin: str = "") -> tuple[int, str]:
        config = self.folder / "aemos.yaml"
        config.write_text("auth: {bcrypt_cost: 4}\n")
        options = Options()
        name, *rest = argv
        options.parseOptions([name, "--config", str(config), *rest])
        environ = {"DATABASE_URL": self.url, "AEMOS_DATA_DIR": str(self.folder)}
        return await execute(options.subOptions, reactor, environ, io.StringIO(stdin))

    async def answer(self, *argv: str, stdin: str = "") -> tuple[int, Any]:
        name, *rest = argv
        code, text = await self.run(name, "--json", *rest, stdin=stdin)
        return code, json.decode(text)


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


async def new_sensor(database: Database, uuid: str) -> int:
    return await database.transact(
        lambda tx: tx.insert("Sensor", {"name": "s", "uuid": uuid, "status": "active"})
    )


async def test_migrate_prepares_an_empty_database_once(
    tmp_path: Path, empty_database_url: str
) -> None:
    shell = Shell(tmp_path, empty_database_url)
    code, answer = await shell.answer("migrate")
    assert code == DONE
    assert answer["status"] == "success"
    assert answer["data"]["applied"]
    assert await shell.run("migrate") == (DONE, "the schema is up to date")


async def test_create_admin_makes_a_system_admin_who_can_sign_in(
    database: Database, shell: Shell
) -> None:
    code, answer = await shell.answer(
        "create-admin", "--email", "root@farm.example", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert code == DONE
    assert answer["data"]["created"] is True
    user = await database.read(
        lambda tx: tx.one("SELECT * FROM User WHERE id = %s", (answer["data"]["id"],))
    )
    assert user is not None
    assert bcrypt.checkpw(PASSWORD.encode(), user["password"].encode())
    role = await database.read(
        lambda tx: tx.value(
            "SELECT r.name FROM OrganizationUser m JOIN Role r ON r.id = m.role"
            " WHERE m.userId = %s",
            (user["id"],),
        )
    )
    assert role == "System Admin"


async def test_create_admin_leaves_the_password_of_a_user_that_exists(shell: Shell) -> None:
    arguments = ("create-admin", "--email", "root@farm.example", "--password")
    assert (await shell.run(*arguments, PASSWORD))[0] == DONE
    code, text = await shell.run(*arguments, "another password")
    assert code == DONE
    assert "existed, with the password it has" in text


async def test_a_short_password_is_refused_without_showing_it(shell: Shell) -> None:
    code, text = await shell.run("create-admin", "-e", "root@farm.example", "-p", "secret")
    assert code == FAILED
    assert text == "aemos: the password needs at least 8 characters"


async def test_create_token_makes_a_token_of_the_sensor(database: Database, shell: Shell) -> None:
    sensor_id = await new_sensor(database, "u-1")
    code, token = await shell.run("create-token", "--sensor", "u-1")
    assert code == DONE
    row = await database.read(
        lambda tx: tx.one("SELECT * FROM DeviceToken WHERE token = %s", (token,))
    )
    assert row is not None
    assert (row["sensorId"], row["status"], row["expiresAt"]) == (sensor_id, "active", None)


async def test_create_token_makes_a_token_of_a_device(database: Database, shell: Shell) -> None:
    device_id = await database.transact(lambda tx: tx.insert("Device", {"uuid": "d-1"}))
    code, answer = await shell.answer("create-token", "--device", "d-1")
    assert code == DONE
    assert (answer["data"]["deviceId"], answer["data"]["deviceUuid"]) == (device_id, "d-1")
    assert len(answer["data"]["token"]) == 64


async def test_what_a_command_changes_is_in_the_audit_log(database: Database, shell: Shell) -> None:
    sensor_id = await new_sensor(database, "u-1")
    await shell.run("create-token", "--sensor", "u-1")
    (entry,) = await database.read(lambda tx: tx.all("SELECT * FROM audit_log"))
    assert (entry["actor_kind"], entry["actor_name"]) == ("cli", f"uid {os.getuid()}")
    assert (entry["action"], entry["resource"]) == ("create", "DeviceToken")
    assert entry["changes"]["sensorId"] == [None, sensor_id]


async def test_create_token_takes_an_end(database: Database, shell: Shell) -> None:
    await new_sensor(database, "u-1")
    code, answer = await shell.answer("create-token", "--sensor", "u-1", "--expires", "2100-01-01")
    assert code == DONE
    assert answer["data"]["expiresAt"] == "2100-01-01T00:00:00.000Z"
    code, answer = await shell.answer("create-token", "--sensor", "u-1", "--expires", "never")
    assert (code, answer["code"]) == (FAILED, "bad_request")


async def test_a_token_for_an_unknown_sensor_fails(shell: Shell) -> None:
    code, answer = await shell.answer("create-token", "--sensor", "nobody")
    assert code == FAILED
    assert answer == {"status": "error", "code": "not_found", "message": "Sensor not found"}


async def test_a_running_server_hears_what_was_changed(database: Database, shell: Shell) -> None:
    await new_sensor(database, "u-1")
    heard: list[object] = []
    events = Events()
    events.subscribe(IdentityChanged, heard.append)
    events.subscribe(UserChanged, heard.append)
    control = ControlSocket(reactor, str(shell.folder / "control.sock"), events)
    control.start()
    try:
        await shell.run("create-token", "--sensor", "u-1")
        _, answer = await shell.answer("create-admin", "-e", "a@farm.example", "-p", PASSWORD)
    finally:
        await control.stop()
    token, user = heard
    assert isinstance(token, IdentityChanged)
    assert token.uuid == "u-1"
    assert isinstance(user, UserChanged)
    assert user.user_id == answer["data"]["id"]


def test_a_password_that_is_typed_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with open(ours, "r+b", buffering=0) as terminal, open(theirs, "r+b", buffering=0) as other:
        command = [sys.executable, "-c", "from aemos.cli import main; main()", "create-admin"]
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command, "--email", "a@b.example", "--password-stdin"],
            stdin=other,
            stdout=other,
            stderr=other,
            env={**os.environ, "AEMOS_DATA_DIR": str(tmp_path), "DATABASE_URL": ""},
        )
        shown = b""
        while b"Password: " not in shown:
            shown += terminal.read(1000)
        terminal.write(f"{PASSWORD}\n".encode())
        while b"System Admin" not in shown:
            shown += terminal.read(1000)
        assert process.wait() == DONE
    assert PASSWORD.encode() not in shown


def test_wrong_usage_names_the_command_whose_help_to_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for argv, command in (["create-token"], "create-token "), (["create-tokn"], ""):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == USAGE
        assert capsys.readouterr().err.endswith(f"Try: aemos {command}--help\n")


async def test_check_config_shows_the_configuration_and_what_has_no_effect(tmp_path: Path) -> None:
    options = Options()
    options.parseOptions(["check-config"])
    environ = {"PORT": "8080", "DATABASE_URL": "mysql://u:hidden@h/n", "REDIS_HOST": "r"}
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert code == DONE
    assert "http.port: 8080\n" in text
    assert "without effect in this version: REDIS_HOST" in text
    assert "hidden" not in text
    options.parseOptions(["check-config", "--json"])
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert json.decode(text)["data"]["settings"]["http.port"] == "8080"


async def test_a_wrong_configuration_has_an_exit_code_of_its_own() -> None:
    options = Options()
    options.parseOptions(["migrate"])
    environ = {"PORT": "x", "MQTT_PORT": "y"}
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert code == CONFIGURATION
    assert text.splitlines() == [
        "aemos: PORT: 'x' is not a whole number",
        "aemos: MQTT_PORT: 'y' is not a whole number",
    ]


async def test_check_config_looks_at_the_files_of_tls(tmp_path: Path) -> None:
    options = Options()
    options.parseOptions(["check-config"])
    cert = str(tmp_path / "cert.pem")
    environ = {"HTTP_TLS_PORT": "8443", "HTTP_TLS_CERT": cert, "HTTP_TLS_KEY": cert}
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert code == CONFIGURATION
    assert text == f"aemos: http: {cert} cannot be used for TLS: No such file or directory"


async def test_a_database_that_is_away_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    options = Options()
    options.parseOptions(["migrate", "--json"])
    environ = {
        "DATABASE_URL": "mysql://root:hidden@127.0.0.1:1/n",
        "AEMOS_DATA_DIR": str(tmp_path),
    }
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert code == STORAGE
    assert json.decode(text)["status"] == "error"
    assert "hidden" not in text


async def test_simulating_without_a_demo_farm_says_how_to_get_one(tmp_path: Path) -> None:
    options = Options()
    options.parseOptions(["simulate"])
    environ = {"AEMOS_DATA_DIR": str(tmp_path)}
    code, text = await execute(options.subOptions, reactor, environ, io.StringIO())
    assert code == FAILED
    assert "--demo" in text


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["create-admin"],
        ["create-admin", "--email", "a@b.example"],
        ["create-admin", "--email", "a@b.example", "--password", "x", "--password-stdin"],
        ["create-token"],
        ["create-token", "--sensor", "u-1", "--device", "d-1"],
        ["simulate", "--rate", "0"],
        ["simulate", "--rate", "nan"],
        ["simulate", "--count", "0"],
        ["simulate", "--count", "many"],
        ["migrate", "--fast"],
    ],
)
def test_wrong_usage_is_told_on_standard_error(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == USAGE
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("aemos: ")


@pytest.mark.parametrize("argv", [["--version"], ["migrate", "--version"]])
def test_the_version_is_ours(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == DONE
    assert capsys.readouterr().out == f"aemos {__version__}\n"
