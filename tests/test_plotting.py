"""One look for all pictures."""

from __future__ import annotations

import re

import pytest
from running_scripts import ROOT

from fastast_hf.plotting import BLUE, styled

matplotlib = pytest.importorskip("matplotlib")
DRAWN = [*(ROOT / "fastast_hf").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]


def test_every_figure_is_made_in_the_style_and_without_colours_of_matplotlibs_own() -> None:
    drawing = [path for path in DRAWN if "Figure(figsize" in path.read_text(encoding="utf-8")]
    assert len(drawing) >= 7
    for path in drawing:
        text = path.read_text(encoding="utf-8")
        assert "@styled()" in text, path
        assert not re.search(r"tab:\w+|dpi=\d", text), path


def test_a_users_own_settings_are_left_as_they_are() -> None:
    before = dict(matplotlib.rcParams)

    @styled()
    def colours() -> list[str]:
        return list(matplotlib.rcParams["axes.prop_cycle"].by_key()["color"])

    assert colours()[0] == BLUE == colours()[0]  # a decorated function may be called again
    assert dict(matplotlib.rcParams) == before
