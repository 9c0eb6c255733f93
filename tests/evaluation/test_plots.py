"""The picture of the score tables: legends clear of the curves, intervals within the panel, curves that only go on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure
from sweep_rows import TABLE_1, TABLE_2, row

from fastast_hf.evaluation.plots import plot_scores

BOTH = pytest.mark.parametrize("rows", [TABLE_1, TABLE_2], ids=["Table 1", "Table 2"])


def drawn(monkeypatch: pytest.MonkeyPatch, path: Path, rows: Any, corpus: str = "esc50") -> Figure:
    """The figure that is saved."""
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args: (kept.append(figure), save(figure, *args)))
    plot_scores(rows, path, corpus, corpus)
    assert path.read_bytes().startswith(b"\x89PNG")
    return kept[0]


@BOTH
def test_legends_are_below_the_panels_and_within_the_picture(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", rows)
    for panel in figure.axes:
        legend = panel.get_legend().get_window_extent()
        assert legend.y1 < panel.xaxis.label.get_window_extent().y0 and legend.y0 >= 0
    for one, other in itertools.combinations(figure.axes, 2):
        assert not one.get_legend().get_window_extent().overlaps(other.get_legend().get_window_extent())


@BOTH
def test_intervals_are_inside_the_panel_and_do_not_lie_over_each_other(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", rows)
    for panel in figure.axes[:-1]:
        bars = [bar for (_, _, (lines,)) in panel.containers for bar in lines.get_segments()]
        bars = [panel.transData.transform(bar) for bar in bars]
        for (x, low), (_, high) in bars:
            assert panel.bbox.x0 < x < panel.bbox.x1 and panel.bbox.y0 < low < high < panel.bbox.y1
        left = sorted(bar[0][0] for bar in bars)
        assert len(bars) >= 4 and all(after - before > 1 for before, after in itertools.pairwise(left))


def test_a_curve_never_doubles_back_however_noisy_the_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [row("Inf", r, samples_per_sec=speed) for r, speed in ((20, 90.0), (0, 100.0), (40, 80.0))]
    figure = drawn(monkeypatch, tmp_path / "plot.png", rows)
    ((line, _, _),) = figure.axes[0].containers
    assert list(line.get_xdata()) == [1.0, 1.5, 2.0]


@BOTH
def test_the_papers_curves_differ_in_grey_line_and_marker(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paper = drawn(monkeypatch, tmp_path / "plot.png", rows).axes[-1].lines
    assert len(paper) == (2 if rows is TABLE_1 else 3)
    for told in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, told)() for line in paper}) == len(paper)


@BOTH
def test_the_ends_of_r_are_named_once(rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for panel in drawn(monkeypatch, tmp_path / "plot.png", rows).axes:
        assert [text.get_text() for text in panel.texts] == ["r=0", "r=40"]


def test_r_0_alone_is_drawn_and_a_corpus_the_paper_has_not_has_one_panel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (panel,) = drawn(monkeypatch, tmp_path / "plot.png", [row("Inf", 0)], "audiofolder").axes
    assert [part.get_label() for part in panel.containers] == ["Inf"]
