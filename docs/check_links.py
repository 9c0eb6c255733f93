"""Checks that links between pages and to pictures lead to files and headings: a line for each that does not.

Addresses of the web are left alone: a check needs no network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
GENERATED = ROOT / "docs" / "reference"  # pages there may be made when the site is built, which checks links to them


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)]
    return [link for link in links if "://" not in link and not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether there is such a file, with such a heading."""
    name, _, anchor = link.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.exists():
        return file.suffix == ".md" and GENERATED in file.parents
    return not anchor or anchor in anchors(file)


def main() -> int:
    """Check all pages."""
    found = [f"{page.relative_to(ROOT)}: {link}" for page in PAGES for link in broken_links(page)]
    print("\n".join(found) if found else f"{len(PAGES)} pages, no broken link")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
