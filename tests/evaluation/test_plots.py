"""Pictures of the score tables: legends clear of the curves, intervals within the panel, curves that differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure
from sweep_rows import TABLE_1, TABLE_2, merging, without_speed

from fastast_hf.evaluation.plots import plot_comparison, plot_merging


def drawn(monkeypatch: pytest.MonkeyPatch, path: Path, rows: Any, corpus: str = "esc50") -> Figure:
    """The figure that is saved."""
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args: (kept.append(figure), save(figure, *args)))
    if hasattr(rows[0], "gain"):
        plot_comparison(rows, path, corpus)
    else:
        plot_merging(rows, path, corpus, corpus)
    assert path.read_bytes().startswith(b"\x89PNG")
    return kept[0]


def curves(panel: Any) -> Iterator[Any]:
    return (line for line in panel.lines if not line.get_label().startswith("_"))


@pytest.mark.parametrize("rows", [TABLE_1, TABLE_2, without_speed(TABLE_1)], ids=["Table 1", "Table 2", "no time"])
def test_legends_are_below_the_panels_and_within_the_picture(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", rows)
    for panel in figure.axes:
        legend = panel.get_legend().get_window_extent()
        assert legend.y1 < panel.xaxis.label.get_window_extent().y0 and legend.y0 >= 0
    for one, other in itertools.combinations(figure.axes, 2):
        assert not one.get_legend().get_window_extent().overlaps(other.get_legend().get_window_extent())


@pytest.mark.parametrize("rows", [TABLE_1, TABLE_2], ids=["Table 1", "Table 2"])
def test_intervals_are_bars_inside_the_panel_that_do_not_lie_over_each_other(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", rows)
    for panel in figure.axes[:-1]:
        bars = [line for line in panel.lines if line.get_marker() == "_"]
        assert bars and not panel.collections
        places = [line.get_transform().transform(line.get_xydata()) for line in bars]
        for (x, low), (_, high) in places:
            assert panel.bbox.x0 < x < panel.bbox.x1 and panel.bbox.y0 < low < high < panel.bbox.y1
        left = sorted(place[0][0] for place in places)
        assert all(after - before > 1 for before, after in itertools.pairwise(left))


@pytest.mark.parametrize("rows", [TABLE_1, TABLE_2], ids=["Table 1", "Table 2"])
def test_the_papers_curves_differ_in_grey_line_and_marker(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paper = list(curves(drawn(monkeypatch, tmp_path / "plot.png", rows).axes[-1]))
    assert len(paper) == (2 if rows is TABLE_1 else 3)
    for told in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, told)() for line in paper}) == len(paper)


def test_the_ends_of_r_are_named_once_below_all_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", TABLE_2)
    for panel in figure.axes:
        assert [text.get_text() for text in panel.texts] == ["r=0", "r=40"]
        top = max(text.get_window_extent().y1 for text in panel.texts)
        assert all(panel.transData.transform(line.get_xydata())[:, 1].min() > top for line in panel.lines)


def test_r_0_alone_is_drawn_and_a_corpus_the_paper_has_not_has_one_panel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = drawn(monkeypatch, tmp_path / "plot.png", [merging("Inf", 0)], "audiofolder")
    (panel,) = figure.axes
    assert [line.get_label() for line in curves(panel)] == ["Inf, constant"]
