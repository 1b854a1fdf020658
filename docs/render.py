"""Renders the guides as the pages below /docs: `python docs/render.py aemos/web/guides`."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from string import Template

from docutils import nodes
from docutils.core import publish_doctree, publish_from_doctree
from docutils.writers.html5_polyglot import Writer

DOCS = Path(__file__).parent
START = DOCS.parent / "README.rst"
ORDER = (
    "console",
    "devices",
    "history",
    "realtime",
    "rules",
    "alarms",
    "access",
    "operating",
    "architecture",
)
"""Guides in the order in which they are read; those that are not named follow."""

_SETTINGS = {
    "file_insertion_enabled": False,
    "halt_level": 2,  # a warning ends the build
    "initial_header_level": 2,
    "raw_enabled": False,
    "section_self_link": True,
    "syntax_highlight": "none",
}
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · AEMOS</title>
<link rel="icon" href="/web/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/web/styles/base.css">
<link rel="stylesheet" href="/web/styles/guide.css">
<script src="/web/scripts/theme.js"></script>
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header class="bar"><a class="brand" href="/">AEMOS</a><span class="muted">Guides</span></header>
<div class="guide">
<nav aria-label="Guides"><ul>
$links
<li class="more"><a href="/api/v1/docs">API reference</a></li>
</ul></nav>
<main id="main" tabindex="-1"><h1>$title</h1>
$body</main>
</div>
</body>
</html>
""")


def guides() -> dict[str, Path]:
    """@return: path below /docs -> file, in the order in which they are read."""
    files = {file.stem: file for file in sorted(DOCS.glob("*.rst"))}
    ordered = {name: files[name] for name in ORDER if name in files}
    return {"": START, **ordered, **files}


def render(folder: Path) -> None:
    """Write a page for each guide. @raise SystemMessage: one of them is not valid."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in (DOCS / "images").glob("*.png"):
        shutil.copy(image, folder)
    rendered = {name: _guide(file) for name, file in guides().items()}
    for name, (title, body) in rendered.items():
        links = "\n".join(_link(other, other == name, rendered[other][0]) for other in rendered)
        page = _PAGE.substitute(title=title, links=links, body=body)
        (folder / f"{name or 'index'}.html").write_text(page, encoding="utf-8")


def _link(name: str, here: bool, title: str) -> str:
    path = f"/docs/{name}".rstrip("/")
    current = ' aria-current="page"' if here else ""
    return f'<li><a href="{path}"{current}>{title}</a></li>'


def _guide(file: Path) -> tuple[str, str]:
    """@return: title and HTML of a guide."""
    tree = publish_doctree(
        file.read_text("utf-8"), source_path=str(file), settings_overrides=_SETTINGS
    )
    title = str(tree["title"])
    for reference in tree.findall(nodes.reference):
        target = str(reference.get("refuri", ""))
        if match := re.fullmatch(r"(?:docs/)?([a-z]+)\.rst(#.*)?", target):
            reference["refuri"] = f"/docs/{match[1]}{match[2] or ''}"
            reference.children = [nodes.Text(match[1])]
        elif target and not re.match(r"https?:|#", target):  # a file of the repository
            reference.replace_self(nodes.literal("", reference.astext()))
    for table in tree.findall(nodes.table):  # widths come as styles within, which pages refuse
        table["classes"] = ["colwidths-auto"]
    for image in tree.findall(nodes.image):
        image["uri"] = f"/web/guides/{Path(image['uri']).name}"
    html = publish_from_doctree(tree, writer=_Body(), settings_overrides=_SETTINGS)
    # What scrolls sideways must be within reach of the keyboard.
    return title, re.sub(r"<(pre|table)\b", r'<\1 tabindex="0"', html.decode())


class _Body(Writer):
    """Writes what stands between the title and the end, and nothing around it."""

    def apply_template(self) -> str:
        return "".join(self.body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Renders the guides as pages.")
    parser.add_argument("folder", type=Path, help="where to put them")
    render(parser.parse_args().folder)
