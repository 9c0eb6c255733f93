"""What a benchmark measured: its rows, as csv, as json, and as the picture drawn from them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plotting import BLUE, GREEN, ORANGE, styled
from .candidates import COMPILED
from .rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, GREEN)  # of the three schedules


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """Write a line for each of some dataclasses: floats to five digits, nothing for None, and lists left out."""
    lines = [{name: value for name, value in asdict(row).items() if not isinstance(value, tuple)} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in line.items()})


def to_json(rows: Sequence[Row]) -> str:
    """A JSON list of one object per row; its class makes of `**item` such a row again."""
    return json.dumps([asdict(row) for row in rows], indent=2)


@styled()
def plot_speedups(rows: Sequence[Row], path: Path, of: str = "") -> None:
    """Draw measured speed-up against r, a panel per clip length, with the MAC ratio as the line to reach.

    Args:
        rows: Of one measurement.
        path: The picture to write; its ending says in which format.
        of: What was timed, for the axis; the model if empty.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no row of FastAST.
    """
    # Without pyplot there is no window system to choose and no global state: PNG is drawn by Agg.
    from matplotlib.figure import Figure

    panels = sorted({row.frames for row in rows if row.tome_r is not None})
    if not panels:
        raise ValueError("there is nothing to draw: no FastAST was measured")
    one = rows[0]
    figure = Figure(figsize=(1.6 + 3.1 * len(panels), 4.2), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, frames in zip(all_axes, panels, strict=True):
        here = [row for row in rows if row.frames == frames]
        _plot_panel(axes, here)
        axes.set_title(f"{frames} frames, {here[0].tokens_in} tokens")
        axes.set_xlabel("tokens merged in every layer, r")
    all_axes[0].set_ylabel(f"{of} speed-up over stock AST (sdpa)".strip())
    figure.suptitle(f"{one.model}, {one.dtype}, batch {one.batch_size}\n{one.processor}", fontsize="medium")
    handles, labels = all_axes[0].get_legend_handles_labels()
    columns = min(len(panels) + 1, 4)  # what the width holds
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    figure.savefig(path)


def _plot_panel(axes: Axes, rows: Sequence[Row]) -> None:
    """Measured and possible speed-up for each schedule, and stock AST's two levels."""
    fast = [row for row in rows if row.tome_r is not None and not row.attn.endswith(COMPILED)]
    for row in rows:
        if row.tome_r is None:
            style = {"eager": ":", "sdpa": "-"}.get(row.attn, "-.")
            axes.axhline(row.speedup, color="0.6", linewidth=1, linestyle=style, label=f"stock AST, {row.attn}")
    schedules = list(dict.fromkeys(row.schedule for row in fast if row.tome_r)) or [fast[0].schedule]
    for schedule, colour in zip(schedules, COLOURS, strict=False):
        # r = 0 is the same in every schedule and was measured once.
        points = sorted(
            (row for row in fast if row.schedule == schedule or not row.tome_r), key=lambda row: row.tome_r or 0
        )
        r, which = [row.tome_r or 0 for row in points], f" ({schedule})" if len(schedules) > 1 else ""
        axes.plot(r, [row.mac_ratio for row in points], "--", color=colour, linewidth=1.2, label=f"MAC ratio{which}")
        measured = [row.speedup for row in points]
        axes.plot(r, measured, "o-", color=colour, label=f"FastAST, measured{which}")
    axes.set_xticks(sorted({row.tome_r for row in fast}))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.margins(x=0.08)
    axes.grid(axis="y")
