"""Pictures of the tables: score against throughput, beside the paper's own points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .paper_table import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from .sweep_rows import INFERENCE, MEAN_AVERAGE_PRECISION, ComparisonRow, SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"Inf": "o", "Train+Inf": "s", "random r": "^"}
COLOURS = {"constant": "tab:blue", "decreasing": "tab:orange", "increasing": "tab:green"}
LINES = {"constant": "-", "decreasing": "--", "increasing": ":"}


def plot_merging(rows: Sequence[SweepRow], path: Path, corpus: str, name: str) -> None:
    """Table 1: score against throughput, or against the MAC ratio where no time was taken, beside the paper's points.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    paper = PAPER_TABLE_1.get(corpus)
    figure = Figure(figsize=(10.5 if paper else 6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if paper else 1, squeeze=False)[0]
    timed = all(row.samples_per_sec is not None for row in rows)
    for method, schedule in dict.fromkeys((row.method, row.schedule) for row in rows if row.tome_r):
        points = _points(rows, method, schedule)
        x = [_place(row, timed) for row in points]
        y = [100 * row.score for row in points]
        style = {"color": COLOURS[schedule], "marker": MARKERS.get(method, "o"), "markersize": 5}
        style["linestyle"] = "--" if method == INFERENCE else "-" if method == "Train+Inf" else ":"
        panels[0].plot(x, y, label=f"{method}, {schedule}", **style)
        if method == INFERENCE:
            _band(panels[0], points, x)
        if method == rows[0].method:
            _mark_ends(panels[0], [row.tome_r for row in points], x, y)
    metric = "mAP" if rows[0].metric == MEAN_AVERAGE_PRECISION else rows[0].metric
    panels[0].set_title(f"measured here: {rows[0].clips} clips of {name}", fontsize=10)
    _finish(panels[0], f"{metric}, %", _horizontal(timed))
    if paper:
        for way, scores, marker in (
            ("Inf", paper.inference, "o--"),
            ("Train+Inf", paper.training_and_inference, "s-"),
        ):
            panels[1].plot(paper.samples_per_sec, scores, marker, color="0.45", markersize=5, label=f"paper, {way}")
            _mark_ends(panels[1], R_VALUES, paper.samples_per_sec, scores)
        panels[1].set_title(f"FastAST paper, Table 1: AST-base on {paper.name}", fontsize=10)
        _finish(panels[1], "accuracy or mAP, %", "samples a second, as the paper has them")
    figure.savefig(path)


def plot_comparison(rows: Sequence[ComparisonRow], path: Path, name: str) -> None:
    """Table 2: accuracy and mAP of each method against throughput, or the MAC ratio, beside the paper's mAP.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 3)
    timed = all(row.samples_per_sec is not None for row in rows)
    methods = list(dict.fromkeys(row.method for row in rows))
    for panel, metric in zip(panels, dict.fromkeys(row.metric for row in rows), strict=False):
        of_metric = [row for row in rows if row.metric == metric]
        for method, schedule in dict.fromkeys((row.method, row.schedule) for row in of_metric):
            points = _points(of_metric, method, schedule)
            index = methods.index(method)
            style = {"color": f"C{index}", "marker": "os^vDP"[index % 6], "linestyle": LINES[schedule]}
            x, y = [_place(row, timed) for row in points], [100 * row.score for row in points]
            panel.plot(x, y, label=f"{method}, {schedule}", markersize=5, **style)
            _band(panel, points, x, color=f"C{index}")
            _mark_ends(panel, [row.tome_r for row in points], x, y)
        panel.set_title(f"measured here: {rows[0].clips} clips of {name}", fontsize=10)
        _finish(panel, "mAP, %" if metric == MEAN_AVERAGE_PRECISION else f"{metric}, %", _horizontal(timed))
    for columns, marker in zip(PAPER_TABLE_2, ("o-", "s-", "^-"), strict=True):
        scores, speeds = columns.mean_average_precision, columns.samples_per_sec
        panels[2].plot(speeds, scores, marker, color="0.45", markersize=5, label=f"paper, {columns.method}")
        _mark_ends(panels[2], R_VALUES, speeds, scores)
    panels[2].set_title("FastAST paper, Table 2: AST-base on AudioSet balanced", fontsize=10)
    _finish(panels[2], "mAP, %", "samples a second, as the paper has them")
    figure.savefig(path)


def _points(rows: Sequence[SweepRow], method: str, schedule: str) -> list[SweepRow]:
    """A method's rows of one schedule, r = 0 among them, which is the same in all."""
    own = [row for row in rows if row.method == method and (row.schedule == schedule or not row.tome_r)]
    return sorted(own, key=lambda row: row.tome_r)


def _place(row: SweepRow, timed: bool) -> float:
    return (row.samples_per_sec if timed else row.mac_ratio) or 0.0


def _band(axes: Axes, points: Sequence[SweepRow], x: Sequence[float], color: str | None = None) -> None:
    order = sorted(range(len(x)), key=lambda index: x[index])
    low, high = ([100 * getattr(points[index], end) for index in order] for end in ("low", "high"))
    axes.fill_between([x[index] for index in order], low, high, alpha=0.12, linewidth=0, color=color)


def _mark_ends(axes: Axes, r_values: Sequence[int], x: Sequence[float], y: Sequence[float]) -> None:
    for r, left, up in zip(r_values, x, y, strict=True):
        if r in (r_values[0], r_values[-1]):
            axes.annotate(f"r={r}", (left, up), (3, 5), textcoords="offset points", fontsize=8)


def _horizontal(timed: bool) -> str:
    return "clips a second, waveform to label" if timed else "MAC ratio to r = 0"


def _finish(axes: Axes, vertical: str, horizontal: str) -> None:
    axes.set_ylabel(vertical)
    axes.set_xlabel(horizontal)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.1, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.85, edgecolor="none")
