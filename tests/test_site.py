from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_tools import build_site
from running_scripts import ROOT

from fastast_hf.cli.main import COMMANDS

pytest.importorskip("zensical")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning an error."""
    folder = tmp_path_factory.mktemp("docs")
    assert build_site.main(["--output", str(folder)]) == 0
    return folder


def public_names() -> Iterator[str]:
    """Full names of the public classes and functions of the package's public modules."""
    for path in (ROOT / "fastast_hf").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "._" in module or path.parent.name in ("scripts", "space"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{module}.{node.name}"


def test_every_public_name_has_an_entry(site: Path) -> None:
    inventory = (site / "site" / "objects.inv").read_bytes()
    described = zlib.decompress(inventory.split(b"\n", 4)[4]).decode()
    entries = {line.split()[0] for line in described.splitlines()}
    names = list(public_names())
    assert len(names) > 300
    assert [name for name in names if name not in entries] == []


def test_every_command_has_its_options(site: Path) -> None:
    page = (site / "site" / "reference" / "commands.html").read_text(encoding="utf-8")
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    assert [name for name in names if f'<h2 id="{name}"' not in page] == []
    assert "--teacher" in page and "--speedup" in page  # of a launched script and of a command


def test_every_page_is_in_the_navigation(site: Path) -> None:
    pages = {path.relative_to(site / "docs").as_posix() for path in (site / "docs").rglob("*.md")}
    assert pages == set(re.findall(r"^ +- (\S+\.md)$", (site / "mkdocs.yml").read_text(), re.MULTILINE))


def test_docstrings_are_shown_as_examples_and_without_brackets(site: Path) -> None:
    page = (site / "site" / "reference" / "rooms" / "tagging.html").read_text(encoding="utf-8")
    assert "Examples:" in page
    assert not re.search(r"\[<code>\w+</code>\]", page)


def test_pages_need_no_network(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|link|source|iframe)\b[^>]*\b(?:src|href)="(https?:)?//[^"]*"')
    for page in (site / "site").rglob("*.html"):
        found = [match[0] for match in fetched.finditer(page.read_text(encoding="utf-8"))]
        assert [tag for tag in found if 'rel="canonical"' not in tag] == [], page
