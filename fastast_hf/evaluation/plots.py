"""A picture of the score tables: score against the arithmetic saved, beside the paper's own points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..plotting import styled
from .paper import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from .rows import SweepRow
from .tables import SHOWN_METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {"constant": "-", "decreasing": "--", "increasing": ":"}
MARKERS = "os^vDP"
GREYS = (("0.15", "-"), ("0.45", "--"), ("0.65", "-."))  # of the paper's curves: told apart in print, too
DODGE = 0.006  # of the panel's width, from one curve to the next: intervals do not lie over each other


@styled()
def plot_scores(rows: Sequence[SweepRow], path: Path, corpus: str, name: str) -> None:
    """Draw a panel for each metric, with 95 % intervals, and one of the paper's points where it has any.

    The horizontal axis is the MAC ratio: by r it only grows, where a measured speed wanders.

    Args:
        rows: Of one evaluation.
        path: The picture to write.
        corpus: By its key; the paper's columns are of the same corpus.
        name: Of the corpus, for the title.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row.metric for row in rows))
    title, horizontal, vertical, curves = _of_the_paper(corpus, compared=len(metrics) > 1)
    count = len(metrics) + bool(curves)
    figure = Figure(figsize=(max(6, 5 * count), 5), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=False):
        _draw(panel, [row for row in rows if row.metric == metric])
        panel.set_title(f"measured here: {rows[0].clips} clips of {name}", parse_math=False)
        note = "bars: 95 % intervals"
        _finish(panel, f"{SHOWN_METRICS[metric]}, %", "MAC ratio: arithmetic of r = 0 over that of r", note)
    if curves:
        for (label, (x, y)), marker, (colour, line) in zip(curves.items(), MARKERS, GREYS, strict=False):
            panels[-1].plot(x, y, color=colour, linestyle=line, marker=marker, label=label)
        _name_r(panels[-1], dict(zip(next(iter(curves.values()))[0], R_VALUES, strict=True)))
        panels[-1].set_title(title, parse_math=False)
        _finish(panels[-1], vertical, horizontal)
    figure.savefig(path)


def _draw(axes: Axes, rows: Sequence[SweepRow]) -> None:
    """A curve for each method and schedule; r = 0, which is the same in all schedules, has none of its own."""
    merging = [row for row in rows if row.tome_r] or rows
    curves = list(dict.fromkeys((row.method, row.schedule) for row in merging))
    methods = list(dict.fromkeys(row.method for row in rows))
    several = len({schedule for _, schedule in curves}) > 1
    width = max(row.mac_ratio for row in rows) - 1
    for place, (method, schedule) in enumerate(curves):
        points = [row for row in rows if row.method == method and (row.schedule == schedule or not row.tome_r)]
        points.sort(key=lambda row: row.tome_r)
        index = methods.index(method)
        axes.errorbar(
            [row.mac_ratio + (place - (len(curves) - 1) / 2) * DODGE * width for row in points],
            [100 * row.score for row in points],
            [[100 * (row.score - row.low) for row in points], [100 * (row.high - row.score) for row in points]],
            color=f"C{index}",
            marker=MARKERS[index % len(MARKERS)],
            linestyle=LINES.get(schedule, "-."),
            errorevery=max(1, len(points) - 1),  # at the lowest and the highest r
            elinewidth=0.9,
            label=f"{method}, {schedule}" if several else method,
        )
    _name_r(axes, {row.mac_ratio: row.tome_r for row in rows})


def _name_r(axes: Axes, r_values: Mapping[float, int]) -> None:
    """The lowest and the highest r at the foot of the panel, by their places along it."""
    for x, r in r_values.items():
        if r in (min(r_values.values()), max(r_values.values())):
            foot = axes.get_xaxis_transform()
            axes.text(x, 0.015, f"r={r}", transform=foot, ha="center", fontsize=8, color="0.3")


Curves = dict[str, tuple[Sequence[float], Sequence[float]]]


def _of_the_paper(corpus: str, compared: bool) -> tuple[str, str, str, Curves]:
    """Title, labels of the axes, and curves by name: Table 2, or a corpus' columns of Table 1 if there are any."""
    speed = "samples a second, as the paper has them"
    if compared:
        curves: Curves = {one.method: (one.samples_per_sec, one.mean_average_precision) for one in PAPER_TABLE_2}
        return "FastAST paper, Table 2: AST-base on AudioSet balanced", speed, "mAP, %", curves
    columns = PAPER_TABLE_1.get(corpus)
    if columns is None:
        return "", "", "", {}
    scores = {"Inf": columns.inference, "Train+Inf": columns.training_and_inference}
    curves = {name: (columns.samples_per_sec, score) for name, score in scores.items()}
    vertical = "mAP, %" if corpus == "audioset" else "accuracy, %"
    return f"FastAST paper, Table 1: AST-base on {columns.name}", speed, vertical, curves


def _finish(axes: Axes, vertical: str, horizontal: str, note: str | None = None) -> None:
    """Labels, and the legend below the panel, clear of all curves."""
    axes.set_ylabel(vertical)
    axes.set_xlabel(horizontal)
    axes.grid()
    axes.margins(x=0.1, y=0.12)
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, handlelength=3, title=note)
    legend.get_title().set_fontsize(8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold $
