"""A sweep's table: as csv, json and markdown, and as the picture of score against throughput beside the paper's."""

from __future__ import annotations

import csv
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from .benchmarking import benchmark
from .modeling_fastast import FastASTForAudioClassification
from .paper_table import PAPER_TABLE_1, R_VALUES
from .runs import write_json
from .sweep import SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"Inf": "o", "Train+Inf": "s", "random r": "^"}
COLOURS = {"constant": "tab:blue", "decreasing": "tab:orange", "increasing": "tab:green"}


def with_speed(
    rows: Sequence[SweepRow], model: FastASTForAudioClassification, batch_size: int = 4, rounds: int = 5
) -> list[SweepRow]:
    """Add clips a second, each r and schedule timed in interleaved rounds on one model: weights make no difference."""
    r_values = sorted({row.tome_r for row in rows})
    schedules = list(dict.fromkeys(row.schedule for row in rows))
    timed = benchmark(
        model,
        model.config.max_length,
        batch_size=batch_size,
        tome_r=r_values,
        schedules=schedules,
        rounds=rounds,
        progress=True,
    )
    speeds = {(row.tome_r, row.schedule): row for row in timed.rows if row.tome_r is not None}
    for r in (0, *r_values):
        for schedule in schedules:  # r = 0 was timed once for all schedules
            speeds.setdefault((r, schedule), speeds.get((r, schedules[0])))  # type: ignore[arg-type]
    added = []
    for row in rows:
        speed = speeds.get((row.tome_r, row.schedule))
        if speed is None or speed.front_end_ms is None:
            added.append(row)
            continue
        added.append(
            replace(
                row,
                front_end_samples_per_sec=1000 * batch_size / speed.front_end_ms,
                model_samples_per_sec=speed.samples_per_sec,
                samples_per_sec=speed.end_to_end_samples_per_sec,
            )
        )
    return added


def write_results(rows: Sequence[SweepRow], stem: Path, facts: dict[str, Any], corpus: str) -> None:
    """Write csv, json, markdown and, where matplotlib is installed, the picture; `facts` say what was measured."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(SweepRow)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})
    environment = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    content = facts | environment | {"rows": [asdict(row) for row in rows]}
    write_json(stem.with_suffix(".json"), content)
    what = ", ".join(
        f"{name}: {facts[name]}" for name in ("corpus", "split", "folds", "checkpoints") if facts.get(name)
    )
    stem.with_suffix(".md").write_text(f"{markdown_table(rows)}\n\n{what}\n", encoding="utf-8")
    with suppress(ImportError):
        plot(rows, stem.with_suffix(".png"), corpus, facts.get("classes"))


def cells(row: SweepRow) -> dict[str, str]:
    """A row as the table shows it: scores in percent, and what was not measured empty."""
    metric = "mAP" if row.metric == "mean_average_precision" else row.metric
    shown = {
        "method": row.method,
        "schedule": row.schedule if row.tome_r else "",
        "r": str(row.tome_r),
        "tokens": f"{row.tokens_in} → {row.tokens_out}",
        "GMACs": f"{row.gmacs:.3g}",
        "MAC ratio": f"{row.mac_ratio:.2f}×",
        metric: f"{100 * row.score:.1f}",
        "95 %": f"{100 * row.low:.1f} to {100 * row.high:.1f}",
        "change": in_points(row.change),
        "95 % of it": f"{in_points(row.change_low)} to {in_points(row.change_high)}",
    }
    speeds = {"front end/s": row.front_end_samples_per_sec, "model/s": row.model_samples_per_sec}
    speeds["clips/s"] = row.samples_per_sec
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    return shown | {name: f"{speed:.3g}" if speed < 1000 else f"{speed:.0f}" for name, speed in known.items()}


def in_points(share: float) -> str:
    """A change in percentage points; no less than nothing by nothing."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def markdown_table(rows: Sequence[SweepRow]) -> str:
    """The table in markdown."""
    shown = [cells(row) for row in rows]
    lines = ["| " + " | ".join(shown[0]) + " |", "|" + "---|" * len(shown[0])]
    return "\n".join(lines + ["| " + " | ".join(row.values()) + " |" for row in shown])


def plot(rows: Sequence[SweepRow], path: Path, corpus: str, classes: int | None = None) -> None:
    """Score against throughput, or against the MAC ratio where no time was taken; the paper's points beside it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    paper = PAPER_TABLE_1.get(corpus)
    figure = Figure(figsize=(10.5 if paper else 6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if paper else 1, squeeze=False)[0]
    timed = all(row.samples_per_sec is not None for row in rows)
    for method, schedule in dict.fromkeys((row.method, row.schedule) for row in rows if row.tome_r):
        points = [row for row in rows if row.method == method and (row.schedule == schedule or not row.tome_r)]
        points.sort(key=lambda row: row.tome_r)
        x = [(row.samples_per_sec if timed else row.mac_ratio) or 0.0 for row in points]
        y = [100 * row.score for row in points]
        style = {"color": COLOURS[schedule], "marker": MARKERS.get(method, "o"), "markersize": 5}
        style["linestyle"] = "--" if method == "Inf" else "-" if method == "Train+Inf" else ":"
        panels[0].plot(x, y, label=f"{method}, {schedule}", **style)
        if method == "Inf":
            band = sorted((place, 100 * row.low, 100 * row.high) for place, row in zip(x, points, strict=True))
            panels[0].fill_between(*zip(*band, strict=True), alpha=0.12, linewidth=0)
        for row, left, up in zip(points, x, y, strict=True):
            if row.tome_r in (0, points[-1].tome_r) and method == rows[0].method:
                panels[0].annotate(f"r={row.tome_r}", (left, up), (3, 5), textcoords="offset points", fontsize=8)
    metric = "mAP" if rows[0].metric == "mean_average_precision" else rows[0].metric
    of_classes = "" if classes is None else f", {classes} classes"
    panels[0].set_title(f"measured here: {rows[0].clips} clips of {corpus}{of_classes}", fontsize=10)
    _finish(panels[0], f"{metric}, %", "clips a second, waveform to label" if timed else "MAC ratio to r = 0")
    if paper:
        for name, scores, marker in (
            ("Inf", paper.inference, "o--"),
            ("Train+Inf", paper.training_and_inference, "s-"),
        ):
            panels[1].plot(paper.samples_per_sec, scores, marker, color="0.45", markersize=5, label=f"paper, {name}")
            for r, left, up in zip(R_VALUES, paper.samples_per_sec, scores, strict=True):
                if r in (0, 40):
                    panels[1].annotate(f"r={r}", (left, up), (3, 5), textcoords="offset points", fontsize=8)
        panels[1].set_title(f"FastAST paper, Table 1: AST-base on {paper.name}", fontsize=10)
        _finish(panels[1], "accuracy or mAP, %", "samples a second, as the paper has them")
    figure.savefig(path)


def _finish(axes: Axes, vertical: str, horizontal: str) -> None:
    axes.set_ylabel(vertical)
    axes.set_xlabel(horizontal)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.1, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.85, edgecolor="none")
