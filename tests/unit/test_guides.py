"""The guides as pages: all are valid, lead to each other, and need nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

IMAGE = re.compile(r'<img alt="([^"]*)" src="([^"]+)"')
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rendering() -> ModuleType:
    """The script docs/render.py."""
    spec = importlib.util.spec_from_file_location("render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(rendering: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> HTML of every guide."""
    folder = tmp_path_factory.mktemp("guides")
    rendering.render(folder)
    return {file.stem: file.read_text("utf-8") for file in folder.glob("*.html")}


def test_every_guide_is_a_page(pages: dict[str, str]) -> None:
    assert set(pages) == {"index"} | {file.stem for file in (ROOT / "docs").glob("*.rst")}
    for name, page in pages.items():
        assert len(re.findall("<h1>", page)) == 1, name
        assert 'aria-current="page"' in page, name


def test_links_lead_to_what_is_served(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        for target in re.findall(r'href="([^"]+)"', page):
            path, _, fragment = target.partition("#")
            guide = re.fullmatch(r"/docs(?:/(\w+))?", path)
            if guide:
                assert (guide[1] or "index") in pages, (name, target)
            elif path == "":
                assert f'id="{fragment}"' in page, (name, target)
            else:
                assert re.match(r"/$|/web/|/api/v1/|https?://", path), (name, target)


def test_pictures_are_there_small_and_described(rendering: ModuleType, tmp_path: Path) -> None:
    rendering.render(tmp_path)
    shown = [image for file in tmp_path.glob("*.html") for image in IMAGE.findall(file.read_text())]
    assert shown
    for alt, source in shown:
        picture = tmp_path / source.removeprefix("/web/guides/")
        assert picture.stat().st_size < 150_000, source
        assert len(alt) > 20, source


def test_a_page_holds_no_style_and_no_script(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        assert not re.search(r"<style| style=|<script(?! src=)| on\w+=\"", page), name
