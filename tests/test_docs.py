"""The pages for readers: their links lead somewhere, their commands are understood, and their Python runs."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_tools import PAGES, broken_links
from running_scripts import ROOT
from transformers import ASTFeatureExtractor

from fastast_hf.cli.main import build_parser
from fastast_hf.cli.train import split_arguments
from fastast_hf.onnx.export import export_onnx
from fastast_hf.training.recipes import RecipeParser, parse_with_recipe

AST = "MIT/ast-finetuned-audioset-10-10-0.4593"
SCRIPTS = {"train": "run_finetune", "distill": "run_kd"}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    """Commands of the package, each as its name or script and its arguments."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for words in (shlex.split(line, comments=True) for line in lines):
        for index, word in enumerate(words):
            if word in ("fastast", "fastast_hf") or re.fullmatch(r"training/run_\w+\.py", word):
                found.append([Path(word).stem, *words[index + 1 :]] if "/" in word else words[index + 1 :])
                break
    return found


def parse(command: str, arguments: list[str]) -> Any:
    """As the program parses them; `SystemExit` or a `ValueError` for what it does not know."""
    if command not in SCRIPTS and not command.startswith("run_"):
        return build_parser().parse_args([command, *arguments])
    script = importlib.import_module(SCRIPTS.get(command, command))
    settings = tuple(value for name, value in vars(script).items() if name.endswith("Arguments"))
    return parse_with_recipe(RecipeParser(settings), split_arguments(arguments)[1])


@every_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](#one) [b](#two) ![c](no.png) [d](page.md#one) [e](https://e.org)\n\n[f]: gone.md\n\n"
        "```bash\n# Three\n```\n# Four\n[g](#three) [h](#four)\n"
    )
    assert broken_links(page) == ["#two", "no.png", "#three", "gone.md"]


@every_page
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "training")
    monkeypatch.chdir(tmp_path)
    for command, *arguments in command_lines(page):
        parse(command, arguments)


@every_page
def test_options_in_running_text_are_known(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = next(action.choices for action in build_parser()._actions if action.dest == "command")
    for command, rest in re.findall(r"`fastast (\w+)([^`]*)`", page.read_text(encoding="utf-8")):
        assert command in commands
        if command not in SCRIPTS:
            known = commands[command]._option_string_actions
            assert [option for option in re.findall(r"--[\w-]+", rest) if option not in known] == []


@every_page
def test_python_runs(
    page: Path, make_ast: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a small AST in place of AudioSet's, which would be downloaded."""
    python = blocks(page, "python")
    if not python:
        return
    make_ast(num_mel_bins=128, max_length=1024, num_hidden_layers=12).save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor().save_pretrained(tmp_path / "ast")
    export_onnx(tmp_path / "ast", tmp_path / "mine.onnx", num_frames=128)
    shutil.copy(ROOT / "tests" / "data" / "speech" / "yes_slt.wav", tmp_path / "dog.wav")
    shutil.copy(ROOT / "tests" / "data" / "formats" / "flac_96k.flac", tmp_path / "rain.flac")
    for name, spoken in (("dog_2.wav", "yes_rms.wav"), ("rain_2.wav", "no_rms.wav")):
        shutil.copy(ROOT / "tests" / "data" / "speech" / spoken, tmp_path / name)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in python:
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
            assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0
        else:
            exec(block.replace(AST, "ast"), names)
