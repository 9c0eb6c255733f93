from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs_tools import build_site
from running_scripts import ROOT

from fastast_hf.cli.main import COMMANDS


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's pages and settings, not built."""
    folder = tmp_path_factory.mktemp("docs")
    build_site.gather(folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning an error."""
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("docs")
    assert build_site.main(["--output", str(folder)]) == 0
    return folder


def test_every_page_is_in_the_navigation_once(gathered: Path) -> None:
    pages = [path.relative_to(gathered / "docs").as_posix() for path in (gathered / "docs").rglob("*.md")]
    named = re.findall(r"^ +- (\S+\.md)$", (gathered / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(pages) == sorted(named)


def test_every_command_has_its_options(gathered: Path) -> None:
    page = (gathered / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    assert [name for name in names if f"\n## {name}\n" not in page] == []
    assert "--teacher" in page and "--speedup" in page  # of a launched script and of a command


def public_names() -> Iterator[str]:
    """Full names of the public classes and functions of the package's public modules."""
    for path in (ROOT / "fastast_hf").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "._" in module or path.parent.name in ("scripts", "space"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{module}.{node.name}"


@pytest.mark.slow
def test_every_public_name_has_an_entry(site: Path) -> None:
    inventory = (site / "site" / "objects.inv").read_bytes()
    described = zlib.decompress(inventory.split(b"\n", 4)[4]).decode()
    entries = {line.split()[0] for line in described.splitlines()}
    names = list(public_names())
    assert len(names) > 300
    assert [name for name in names if name not in entries] == []


@pytest.mark.slow
def test_docstrings_are_shown_as_examples_and_without_brackets(site: Path) -> None:
    page = (site / "site" / "reference" / "rooms" / "tagging.html").read_text(encoding="utf-8")
    assert "Examples:" in page
    assert not re.search(r"\[<code>\w+</code>\]", page)


@pytest.mark.slow
def test_pages_need_no_network(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|link|source|iframe)\b[^>]*\b(?:src|href)="(https?:)?//[^"]*"')
    for page in (site / "site").rglob("*.html"):
        found = [match[0] for match in fetched.finditer(page.read_text(encoding="utf-8"))]
        assert [tag for tag in found if 'rel="canonical"' not in tag] == [], page


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen_and_every_picture_is_there(site: Path, browser: Any, width: int) -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    faults = """
        const wide = document.documentElement.scrollWidth > window.innerWidth ? ["too wide"] : [];
        const missing = [...document.images].filter(image => image.complete && !image.naturalWidth).map(i => i.src);
        return [...wide, ...missing];
    """
    pages = [page for page in (site / "site").rglob("*.html") if page.name != "404.html"]  # links from the root
    assert len(pages) > 40
    for page in pages:
        browser.get(page.as_uri())
        assert browser.execute_script(faults) == [], page
