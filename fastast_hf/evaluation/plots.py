"""Pictures of the tables: score against throughput, beside the paper's own points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .paper import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from .rows import INFERENCE, MEAN_AVERAGE_PRECISION, ComparisonRow, SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"Inf": "o", "Train+Inf": "s", "random r": "^"}
COLOURS = {"constant": "tab:blue", "decreasing": "tab:orange", "increasing": "tab:green"}
LINES = {"constant": "-", "decreasing": "--", "increasing": ":"}
PAPER_STYLES = (("0.15", "-"), ("0.45", "--"), ("0.65", "-."))  # greys that can be told apart in print, too
BARS_APART = 4  # points between the bars of two curves, which would lie over each other


def plot_merging(rows: Sequence[SweepRow], path: Path, corpus: str, name: str) -> None:
    """Table 1: score against throughput, or against the MAC ratio where no time was taken, beside the paper's points.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    paper = PAPER_TABLE_1.get(corpus)
    figure = Figure(figsize=(10.5 if paper else 6, 5), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if paper else 1, squeeze=False)[0]
    timed = all(row.samples_per_sec is not None for row in rows)
    curves = _curves(rows)
    barred = [curve for curve in curves if curve[0] == INFERENCE] or curves[:1]
    ends: dict[float, int] = {}
    for method, schedule in curves:
        points = _points(rows, method, schedule)
        x = [_place(row, timed) for row in points]
        y = [100 * row.score for row in points]
        style = {"color": COLOURS[schedule], "marker": MARKERS.get(method, "o"), "markersize": 5, "alpha": 0.85}
        style["linestyle"] = "--" if method == INFERENCE else "-" if method == "Train+Inf" else ":"
        panels[0].plot(x, y, label=f"{method}, {schedule}", **style)
        if (method, schedule) in barred:
            place = barred.index((method, schedule)) - (len(barred) - 1) / 2
            _bars(panels[0], points, x, COLOURS[schedule], place)
        if method == curves[0][0]:
            ends |= _ends([row.tome_r for row in points], x)
    metric = "mAP" if rows[0].metric == MEAN_AVERAGE_PRECISION else rows[0].metric
    panels[0].set_title(f"measured here: {rows[0].clips} clips of {name}", fontsize=10)
    _finish(panels[0], f"{metric}, %", _horizontal(timed), ends, f"bars: 95 % intervals of {_named(barred)}")
    if paper:
        for way, scores, marker, (colour, line) in zip(
            ("Inf", "Train+Inf"),
            (paper.inference, paper.training_and_inference),
            "os",
            PAPER_STYLES[1::-1],
            strict=True,
        ):
            style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}
            panels[1].plot(paper.samples_per_sec, scores, label=way, **style)
        panels[1].set_title(f"FastAST paper, Table 1: AST-base on {paper.name}", fontsize=10)
        ends = _ends(R_VALUES, paper.samples_per_sec)
        _finish(panels[1], "accuracy or mAP, %", "samples a second, as the paper has them", ends)
    figure.savefig(path)


def plot_comparison(rows: Sequence[ComparisonRow], path: Path, name: str) -> None:
    """Table 2: accuracy and mAP of each method against throughput, or the MAC ratio, beside the paper's mAP.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), dpi=150, layout="constrained")
    panels = figure.subplots(1, 3)
    timed = all(row.samples_per_sec is not None for row in rows)
    methods = list(dict.fromkeys(row.method for row in rows))
    for panel, metric in zip(panels, dict.fromkeys(row.metric for row in rows), strict=False):
        of_metric = [row for row in rows if row.metric == metric]
        curves = _curves(of_metric)
        ends: dict[float, int] = {}
        for place, (method, schedule) in enumerate(curves):
            points = _points(of_metric, method, schedule)
            index = methods.index(method)
            style = {"color": f"C{index}", "marker": "os^vDP"[index % 6], "linestyle": LINES[schedule]}
            x, y = [_place(row, timed) for row in points], [100 * row.score for row in points]
            panel.plot(x, y, label=f"{method}, {schedule}", markersize=5, **style)
            _bars(panel, points, x, f"C{index}", place - (len(curves) - 1) / 2)
            if method == methods[0]:
                ends |= _ends([row.tome_r for row in points], x)
        panel.set_title(f"measured here: {rows[0].clips} clips of {name}", fontsize=10)
        score = "mAP, %" if metric == MEAN_AVERAGE_PRECISION else f"{metric}, %"
        _finish(panel, score, _horizontal(timed), ends, "bars: 95 % intervals")
    for columns, marker, (colour, line) in zip(PAPER_TABLE_2, "os^", PAPER_STYLES, strict=True):
        style = {"color": colour, "marker": marker, "linestyle": line, "label": columns.method}
        panels[2].plot(columns.samples_per_sec, columns.mean_average_precision, markersize=5, **style)
    panels[2].set_title("FastAST paper, Table 2: AST-base on AudioSet balanced", fontsize=10)
    ends = _ends(R_VALUES, PAPER_TABLE_2[0].samples_per_sec)
    _finish(panels[2], "mAP, %", "samples a second, as the paper has them", ends)
    figure.savefig(path)


def _curves(rows: Sequence[SweepRow]) -> list[tuple[str, str]]:
    """Methods with their schedules; at r = 0, which belongs to all schedules, no curve of its own unless alone."""
    merging = [row for row in rows if row.tome_r] or rows
    return list(dict.fromkeys((row.method, row.schedule) for row in merging))


def _points(rows: Sequence[SweepRow], method: str, schedule: str) -> list[SweepRow]:
    """A method's rows of one schedule, r = 0 among them, which is the same in all."""
    own = [row for row in rows if row.method == method and (row.schedule == schedule or not row.tome_r)]
    return sorted(own, key=lambda row: row.tome_r)


def _place(row: SweepRow, timed: bool) -> float:
    return (row.samples_per_sec if timed else row.mac_ratio) or 0.0


def _bars(axes: Axes, points: Sequence[SweepRow], x: Sequence[float], colour: str, place: float) -> None:
    """Thin bars from low to high at the lowest, the middle and the highest r, moved aside by `place`."""
    from matplotlib.transforms import ScaledTranslation

    aside = ScaledTranslation(place * BARS_APART / 72, 0, axes.figure.dpi_scale_trans)
    for index in sorted({0, len(points) // 2, len(points) - 1}):
        low, high = 100 * points[index].low, 100 * points[index].high
        axes.update_datalim([(x[index], low), (x[index], high)])  # what is moved aside does not count by itself
        axes.plot(
            [x[index]] * 2,
            [low, high],
            color=colour,
            linewidth=0.9,
            alpha=0.7,
            marker="_",
            markersize=6,
            transform=axes.transData + aside,
        )


def _ends(r_values: Sequence[int], x: Sequence[float]) -> dict[float, int]:
    """The lowest and the highest r by their place."""
    return {x[0]: r_values[0], x[-1]: r_values[-1]}


def _named(curves: Sequence[tuple[str, str]]) -> str:
    return ", ".join(dict.fromkeys(method for method, _ in curves))


def _horizontal(timed: bool) -> str:
    return "clips a second, waveform to label" if timed else "MAC ratio to r = 0"


def _finish(axes: Axes, vertical: str, horizontal: str, ends: dict[float, int], note: str | None = None) -> None:
    """Labels, the lowest and highest r along the foot of the panel, and the legend below it, clear of all curves."""
    axes.set_ylabel(vertical)
    axes.set_xlabel(horizontal)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.1, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    for x, r in ends.items():
        axes.annotate(f"r={r}", (x, 0.015), xycoords=axes.get_xaxis_transform(), ha="center", fontsize=8, color="0.3")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=2,
            handlelength=3,
            fontsize=8,
            edgecolor="none",
            title=note,
            title_fontsize=8,
        )
