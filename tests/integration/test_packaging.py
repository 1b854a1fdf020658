"""A built wheel, installed into an environment of its own, makes `twistd aemos` known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import attrs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aemos import __version__

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command far from the source tree. @return: what it says."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves files in its source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("aemos", "twisted"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "dropin.cache")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.py", "setup.cfg", "MANIFEST.in", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@attrs.frozen
class Environment:
    """A virtual environment with the wheel in it, and a folder that is not the source tree."""

    binaries: Path
    elsewhere: Path

    def run(self, program: str, *argv: str) -> str:
        return run(self.binaries / program, *argv, cwd=self.elsewhere)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel installed without its dependencies; those of the tests' environment are visible."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    binaries = folder / "bin"
    python = binaries / "python"
    target = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    site = Path(target.strip())
    # Dependencies only: a path file that the tests' environment has for this source tree stays out.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--force-reinstall", wheel, cwd=folder)
    twistd = binaries / "twistd"
    twistd.write_text(
        f"#!{python}\nfrom twisted.scripts.twistd import run\nraise SystemExit(run())\n"
    )
    twistd.chmod(0o755)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Environment(binaries, elsewhere)


def test_the_wheel_holds_the_plugin_the_migrations_the_pages_and_the_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted/plugins/aemos_plugin.py" in names
    assert "aemos/py.typed" in names
    for migration in (ROOT / "aemos" / "storage" / "migrations").rglob("*.sql"):
        assert str(migration.relative_to(ROOT)) in names
    web = ROOT / "aemos" / "web"
    for page in (*web.glob("*.html"), *web.glob("scripts/*.js"), *web.glob("styles/*.css")):
        assert str(page.relative_to(ROOT)) in names
    for module in (ROOT / "aemos").rglob("*.py"):
        assert str(module.relative_to(ROOT)) in names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    others = [name for name in names if not name.startswith(("aemos/", "aemos-"))]
    assert others == ["twisted/plugins/aemos_plugin.py"]
    assert not [name for name in names if "node_modules" in name or "tests/" in name]


def test_twistd_lists_and_runs_the_plugin_of_an_installed_wheel(environment: Environment) -> None:
    assert re.search(r"^ +aemos +IoT backend", environment.run("twistd", "--help"), re.MULTILINE)
    assert environment.run("twistd", "aemos", "--version") == f"aemos {__version__}\n"
    where = environment.run("python", "-c", "import aemos; print(aemos.__file__)")
    assert not where.startswith(str(ROOT))


def test_the_aemos_command_of_an_installed_wheel_finds_its_migrations(
    environment: Environment,
) -> None:
    assert environment.run("aemos", "--version") == f"aemos {__version__}\n"
    assert "applied: 0001" in environment.run("aemos", "migrate")
    assert (environment.elsewhere / "aemos-data" / "aemos.sqlite").exists()


def test_the_constraints_are_exact_and_satisfy_every_requirement(wheel: Path) -> None:
    """What `make` installs is what the metadata allows."""
    lines = (ROOT / "etc" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    assert {text[:2] for text in versions.values()} == {"=="}
    for text in metadata_of(wheel).get_all("Requires-Dist", ()):
        requirement = Requirement(text)
        version = versions[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version), text


def test_the_description_says_what_pip_must_know(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["Description-Content-Type"] == "text/x-rst"


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        return message_from_bytes(archive.read(name))


def test_an_image_is_built_from_all_that_its_pages_are_made_of(tmp_path: Path) -> None:
    for line in (ROOT / "etc" / "Dockerfile.dockerignore").read_text().splitlines():
        source, copy = ROOT / line.removeprefix("!"), tmp_path / line.removeprefix("!")
        if line.startswith("!"):
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(source)
    run("make", "--dry-run", "--always-make", "web", cwd=tmp_path)
