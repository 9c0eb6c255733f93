"""Builds the site of the documentation, `build/docs/site`, without a network: `make docs`.

Pages are gathered from the repository, and the reference is made of docstrings and parsers. Links between pages hold
on GitHub and on the site: those to files that are no page become plain text.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "docs"
# Pages from elsewhere in the repository, by their place on the site.
ELSEWHERE = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "benchmarks/METHOD.md": "project/method.md",
    "README.md": "index.md",  # for links to it: docs/index.md is the page
}
LAUNCHED = {"train": "run_finetune", "distill": "run_kd"}
WIDTH = "90"  # of the help texts, in characters


def pages() -> dict[str, str]:
    """Where each markdown file of the repository stands on the site."""
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    cards = (ROOT / "fastast_hf" / "checkpoints").glob("*/README.md")
    return {
        **ELSEWHERE,
        **{card.relative_to(ROOT).as_posix(): f"project/checkpoints/{card.parent.name}.md" for card in cards},
        **{name: name.removeprefix("docs/") for name in own},
    }


def on_site(text: str, source: str, place: str, places: dict[str, str]) -> str:
    """A page's text with its links as they are on the site.

    Args:
        text: Of the page.
        source: Its path in the repository.
        place: Its path on the site.
        places: Of all pages; see [`pages`].
    """
    folder = os.path.dirname(source)  # noqa: PTH120 - links are no paths of this system

    def target_of(link: str) -> str | None:
        name, mark, anchor = link.partition("#")
        if "://" in link or not name:
            return link
        found = normpath(f"{folder}/{name}".lstrip("/"))
        if found in places:
            return relpath(places[found], os.path.dirname(place) or ".") + mark + anchor  # noqa: PTH120
        return link if found.startswith("docs/") else None  # a picture of docs/, or no part of the site

    def rewritten(match: re.Match[str]) -> str:
        words, link = match.groups()
        target = target_of(link)
        return words if target is None else f"[{words}]({target})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", rewritten, text)


def with_examples(text: str) -> str:
    """A page with the code of each script that a comment names: `<!-- examples/NAME.py -->`."""

    def code(match: re.Match[str]) -> str:
        return f"```python\n{(ROOT / match[1]).read_text(encoding='utf-8')}```"

    return re.sub(r"^<!-- (examples/\w+\.py) -->$", code, text, flags=re.MULTILINE)


def modules(room: str) -> list[str]:
    """Public modules of a room, by their full names."""
    package = importlib.import_module(f"fastast_hf.{room}")
    found = [package.__name__]
    if hasattr(package, "__path__"):
        found += [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [name for name in found if "._" not in name]


def room_page(room: str) -> str:
    """A reference page: each module of a room."""
    return f"# {room}\n\n" + "\n\n".join(f"::: {name}" for name in modules(room)) + "\n"


def python_page() -> str:
    """A reference page: what `fastast_hf` itself gives, with links to where it is described."""
    import fastast_hf

    lines = [
        "# Python",
        "",
        "`import fastast_hf` registers FastAST with transformers' Auto classes and pipelines. It gives these names:",
        "",
        "| name | what it is |",
        "|---|---|",
    ]
    for name in fastast_hf.__all__:
        thing = getattr(fastast_hf, name)
        first = (thing.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
        lines.append(f"| [`{name}`][{thing.__module__}.{thing.__qualname__}] | {plain(first)} |")
    lines += ["", "The pages under *Rooms* have every public class and function of each module.", ""]
    return "\n".join(lines)


def commands_page() -> str:
    """A reference page: the help of each command."""
    from fastast_hf.cli.main import build_parser

    parser = build_parser()
    commands = next(action for action in parser._actions if action.dest == "command")
    summaries = {action.dest: action.help or "" for action in commands._get_subactions()}
    parts = [
        "# Commands",
        "This is what `fastast COMMAND --help` prints. Options may also be written with underscores. A user's mistake "
        "is one line on stderr and exit code 2; `--debug` shows where it came from.",
    ]
    for name, command in commands.choices.items():  # type: ignore[union-attr]
        text = launched_help(name) if name in LAUNCHED else command.format_help()
        parts += [
            f"## {name}",
            f"{summaries[name][:1].upper()}{summaries[name][1:]}.",
            f"```text\n{text.rstrip()}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def launched_help(name: str) -> str:
    """The help of a command that launches a training script."""
    sys.path.insert(0, str(ROOT / "training"))
    os.environ["FASTAST_PROGRAM"] = f"fastast {name}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(LAUNCHED[name]).main(["--help"])
    del os.environ["FASTAST_PROGRAM"]
    return printed.getvalue()


def plain(text: str) -> str:
    """A docstring's references to other names as code: `[`Tagger`]` is how transformers writes them."""
    return re.sub(r"\[(`[^`\]]+`)\](?![\[(])", r"\1", text)


def with_all_pages(settings: str, places: list[str]) -> str:
    """The settings with a line of the navigation for each page that a pattern in it (`folder/*.md`) stands for.

    Pages that are named by themselves are left out.
    """
    named = set(re.findall(r"^ +- (\S+\.md)$", settings, re.MULTILINE))
    unnamed = [Path(place) for place in places if place not in named]

    def lines(match: re.Match[str]) -> str:
        pattern = Path(match[2])
        found = [page for page in unnamed if page.parent == pattern.parent and page.match(pattern.name)]
        return "".join(f"{match[1]}{page.as_posix()}\n" for page in found)

    return re.sub(r"^( +- )(\S+\*\.md).*\n", lines, settings, flags=re.MULTILINE)


def gather(site: Path) -> list[str]:
    """Write all pages and the sources of docstrings into a folder, instead of what is there; returns their places."""
    if site.exists() and any(site.iterdir()) and not (site / "mkdocs.yml").is_file():
        raise SystemExit(f"{site} holds something else than a site of an earlier run: give another --output")
    shutil.rmtree(site, ignore_errors=True)
    kept = shutil.ignore_patterns("__pycache__", "*.py", "*.yml", "*.md")
    shutil.copytree(ROOT / "docs", site / "docs", ignore=kept)
    places, texts = pages(), {"reference/python.md": python_page(), "reference/commands.md": commands_page()}
    for source, place in places.items():
        if source != "README.md":
            text = (ROOT / source).read_text(encoding="utf-8")
            text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
            texts[place] = with_examples(on_site(text, source, place, places))
    rooms = [one.name for one in pkgutil.iter_modules([str(ROOT / "fastast_hf")]) if not one.name.startswith("_")]
    texts |= {f"reference/rooms/{room}.md": room_page(room) for room in rooms if room not in ("scripts", "space")}
    for place, text in texts.items():
        file = site / "docs" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (site / "mkdocs.yml").write_text(with_all_pages((ROOT / "docs" / "mkdocs.yml").read_text(), sorted(texts)))
    for path in (ROOT / "fastast_hf").rglob("*.py"):
        copy = site / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Griffe shows `Examples:` as code, and `Example:` as text.
        copy.write_text(plain(re.sub(r"^( +)Example:$", r"\1Examples:", path.read_text(), flags=re.MULTILINE)))
    return sorted(texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Gather, and build with every warning an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=SITE, help="folder to build in; the pages come into site/")
    site = parser.parse_args(argv).output
    os.environ["COLUMNS"] = WIDTH
    gather(site)
    program = Path(sys.executable).with_name("zensical")
    code = subprocess.run([program, "build", "--strict", "--clean"], cwd=site, check=False).returncode
    if code == 0:
        print(site / "site" / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
