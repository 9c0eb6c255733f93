"""Pictures of `scale.py`'s curves, with the speed-up that the arithmetic allows drawn in, and of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scale_rows import FRAMES_PER_SECOND, ScaleRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS_LABELS = {
    "length": "seconds of a clip",
    "batch": "clips at once",
    "r": "r, tokens merged in every layer (on average)",
    "size": "model and its parameters",
}
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
WIDTH, HEIGHT = 9, 4.4  # inches: on a page 900 pixels wide, letters of 9 points are 12 pixels


def plot_curve(curve: str, rows: Sequence[ScaleRow], path: Path) -> None:
    """Clips a second and speed-up over stock AST, side by side; of the curve over r, the speed-up alone.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure()
    one = rows[0]
    if curve == "r":
        _plot_speedup(figure.subplots(), curve, rows)
    else:
        throughput, speedup = figure.subplots(1, 2)
        _plot_throughput(throughput, curve, rows)
        _plot_speedup(speedup, curve, rows)
    figure.suptitle(f"{_what(curve, rows)}\n{_measured_on(one.processor, one.threads, one.torch)}", fontsize=10)
    _legend(figure)
    figure.savefig(path)


def plot_folder(result: dict[str, Any], path: Path) -> None:
    """Memory over files, and files a second for each number of workers.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure()
    memory, speed = figure.subplots(1, 2)
    for run, colour in zip(result["runs"], COLOURS, strict=False):
        files, megabytes = zip(*((sample["files"], sample["mb"]) for sample in run["samples"]), strict=True)
        workers = _counted(run["workers"], "worker")
        memory.plot(files, megabytes, "o-", color=colour, linewidth=1.5, markersize=3, label=workers)
    memory.set_xlabel("files done")
    memory.xaxis.set_major_formatter("{x:,.0f}")
    memory.locator_params(axis="x", nbins=5)
    memory.set_ylabel("resident memory, MB")

    names = [str(run["workers"]) for run in result["runs"]]
    bars = speed.bar(
        names, [run["files_per_sec"] for run in result["runs"]], color=COLOURS[: len(names)], width=0.6, alpha=0.85
    )
    speed.bar_label(bars, fmt="{:,.0f}", fontsize=9, padding=2)
    # As a line, reading alone would push the bars down: it is above them by far.
    for key, label, line in (
        ("computing_alone_files_per_sec", "computing alone", "--"),
        ("in_turns_files_per_sec", "reading and computing in turns", ":"),
    ):
        speed.axhline(result[key], color="0.3", linewidth=1.2, linestyle=line, label=label)
    speed.set_title(f"reading alone: {result['reading_alone_files_per_sec']:,.0f} files a second", fontsize=9)
    speed.set_xlabel("workers")
    speed.set_ylabel("files a second")
    for axes in (memory, speed):
        _tidy(axes)
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    figure.suptitle(
        f"{result['files']:,} flac files of 1 s, {result['model']}, memory of the whole process\n"
        f"{_measured_on(result['processor'], result['threads'], result['torch'])}",
        fontsize=10,
    )
    _legend(figure)
    figure.savefig(path)


def _figure() -> Figure:
    # Without pyplot there is no window system to choose and no global state: PNG is drawn by Agg.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(WIDTH, HEIGHT), dpi=150, layout=ConstrainedLayoutEngine(wspace=0.06))


def _plot_throughput(axes: Axes, curve: str, rows: Sequence[ScaleRow]) -> None:
    """Clips a second of each dtype and of stock AST."""
    from matplotlib.ticker import LogLocator, NullLocator

    stock = {_place(curve, row, rows): 1000 * row.batch_size / row.stock_ms for row in rows}
    axes.plot(list(stock), list(stock.values()), "s-", color="0.5", markersize=4, label="stock AST (sdpa, float32)")
    for (label, points), colour in zip(_curves(rows), COLOURS, strict=False):
        x = [_place(curve, row, rows) for row in points]
        axes.plot(x, [row.samples_per_sec for row in points], "o-", color=colour, markersize=5, label=label)
    _finish(axes, curve, rows)
    axes.set_ylabel("clips a second")
    if curve in ("length", "size"):  # over which it changes by orders of magnitude
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)


def _plot_speedup(axes: Axes, curve: str, rows: Sequence[ScaleRow]) -> None:
    """Speed-up in each dtype or schedule, and the MAC ratio of each schedule."""
    axes.axhline(1, color="0.5", linewidth=1)
    curves = _curves(rows)
    by_schedule = len({row.dtype for row in rows}) < len(curves)
    for index, ((label, points), colour) in enumerate(zip(curves, COLOURS, strict=False)):
        x = [_place(curve, row, rows) for row in points]
        style: dict[str, Any] = {"markersize": 3 if len(points) > 20 else 5, "color": colour}
        axes.plot(x, [row.speedup for row in points], "o-", label=label, **style)
        if by_schedule or index == 0:  # the dtype does not matter to it
            which = f", {points[-1].schedule}" if by_schedule else ""
            line: dict[str, Any] = {"color": colour if by_schedule else "0.2", "linewidth": 1.4, "zorder": 1.5}
            axes.plot(x, [row.mac_ratio for row in points], "--", label=f"MAC ratio{which}", **line)
    _finish(axes, curve, rows)
    axes.set_ylabel("speed-up over stock AST (sdpa)")
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.set_ylim(bottom=0)


def _curves(rows: Sequence[ScaleRow]) -> list[tuple[str, list[ScaleRow]]]:
    """Rows of each dtype and schedule under the curve's name, from the first r to the last."""
    merging = [row for row in rows if row.tome_r] or list(rows)
    keys = list(dict.fromkeys((row.dtype, row.schedule) for row in merging))
    several = len({schedule for _, schedule in keys}) > 1
    curves = []
    for dtype, schedule in keys:
        # r = 0 is the same in every schedule and was measured once.
        points = [row for row in rows if row.dtype == dtype and (row.schedule == schedule or not row.tome_r)]
        curves.append((f"FastAST, {schedule if several else dtype}", points))
    return curves


def _place(curve: str, row: ScaleRow, rows: Sequence[ScaleRow]) -> float:
    """Where a row stands along the axis."""
    if curve == "size":
        return list(dict.fromkeys(row.model for row in rows)).index(row.model)
    return {"length": row.frames / FRAMES_PER_SECOND, "batch": row.batch_size, "r": row.tome_r or 0}[curve]


def _finish(axes: Axes, curve: str, rows: Sequence[ScaleRow]) -> None:
    """The horizontal axis, with a tick at each point but for those of r."""
    if curve in ("length", "batch"):
        axes.set_xscale("log", base=2)
    if curve != "r":
        ticks = {_place(curve, row, rows): _tick(curve, row) for row in rows}
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
    axes.set_xlabel(AXIS_LABELS[curve])
    axes.margins(x=0.08 if curve != "r" else 0.02)
    _tidy(axes)


def _tick(curve: str, row: ScaleRow) -> str:
    if curve == "size":
        return f"{row.model.split('-')[1]}\n{row.params_m:.3g} M"
    return f"{row.frames / FRAMES_PER_SECOND:g}" if curve == "length" else str(row.batch_size)


def _what(curve: str, rows: Sequence[ScaleRow]) -> str:
    """What stays the same along a curve."""
    one = rows[0]
    clips = "one clip at a time" if one.batch_size == 1 else f"{one.batch_size} clips at a time"
    return {
        "length": f"{one.model}, {clips}, four patches of five merged, decreasing",
        "batch": f"{one.model}, {one.frames} frames, r = {one.tome_r} {one.schedule}",
        "r": f"{one.model}, {one.frames} frames, {clips}, {one.dtype}",
        "size": f"{one.frames} frames, {clips}, four patches of five merged, decreasing",
    }[curve]


def _measured_on(processor: str, threads: int, version: str) -> str:
    return f"{processor}, {_counted(threads, 'thread')}, torch {version}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tidy(axes: Axes) -> None:
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure) -> None:
    """One legend below all panels, each name once."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower center",
        ncols=min(len(named), 4),
        frameon=False,
        fontsize=9,
    )
