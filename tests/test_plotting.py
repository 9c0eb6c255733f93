"""One look for all pictures."""

from __future__ import annotations

import ast
import re

import pytest
from running_scripts import ROOT

from fastast_hf.plotting import BLUE, styled

matplotlib = pytest.importorskip("matplotlib")
DRAWN = [*(ROOT / "fastast_hf").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]


def unstyled(text: str) -> list[str]:
    """Functions of a module that make a figure, and neither they nor all that call them there are in the style."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    styled_ones = {one.name for one in functions if "styled()" in map(ast.unparse, one.decorator_list)}
    calls = {one.name: {called(node) for node in ast.walk(one) if isinstance(node, ast.Call)} for one in functions}

    def in_style(name: str) -> bool:
        callers = [other for other in calls if name in calls[other]]
        return name in styled_ones or (bool(callers) and all(in_style(caller) for caller in callers))

    return [name for name in calls if "Figure" in calls[name] and not in_style(name)]


def called(node: ast.Call) -> str:
    """`Figure` of `Figure(…)` and of `figure.Figure(…)`."""
    return ast.unparse(node.func).rpartition(".")[2]


def test_a_function_that_draws_without_the_style_is_found() -> None:
    drawn = "@styled()\ndef one(): two()\ndef two(): Figure()\ndef three(): four()\ndef four(): Figure(figsize=(1, 1))"
    assert unstyled(drawn) == ["four"]


def test_every_figure_is_made_in_the_style_and_without_colours_of_matplotlibs_own() -> None:
    drawing = [path for path in DRAWN if "Figure(figsize" in path.read_text(encoding="utf-8")]
    assert len(drawing) >= 7
    for path in drawing:
        text = path.read_text(encoding="utf-8")
        assert unstyled(text) == [], path
        assert not re.search(r"tab:\w+|dpi=\d", text), path


def test_a_users_own_settings_are_left_as_they_are() -> None:
    before = dict(matplotlib.rcParams)

    @styled()
    def colours() -> list[str]:
        return list(matplotlib.rcParams["axes.prop_cycle"].by_key()["color"])

    assert colours()[0] == BLUE == colours()[0]  # a decorated function may be called again
    assert dict(matplotlib.rcParams) == before
