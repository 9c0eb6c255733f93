"""The paper's tables for one's own checkpoints: with throughput, and as csv, json, markdown and a picture."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers

from .benchmarking import benchmark
from .complexity import complexity
from .modeling_fastast import FastASTForAudioClassification
from .runs import write_json
from .sweep_plots import plot_comparison, plot_merging
from .sweep_rows import MEAN_AVERAGE_PRECISION, ComparisonRow, SweepRow

Row = TypeVar("Row", bound=SweepRow)


def with_speed(
    rows: Sequence[Row], model: FastASTForAudioClassification, batch_size: int = 4, rounds: int = 5
) -> list[Row]:
    """Add clips a second, each r and schedule timed in interleaved rounds on one model: weights make no difference.

    Rows of a model of another size are left without.
    """
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
        same = row.gmacs == complexity(model.config, row.tome_r, row.schedule).macs / 1e9
        if not same or speed is None or speed.front_end_ms is None:
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
        writer = csv.DictWriter(file, [column.name for column in fields(rows[0])], lineterminator="\n")
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
    stem.with_suffix(".md").write_text(f"{markdown_table(lines(rows))}\n\n{what}\n", encoding="utf-8")
    with suppress(ImportError):
        name = corpus if facts.get("classes") is None else f"{corpus}, {facts['classes']} classes"
        compared = [row for row in rows if isinstance(row, ComparisonRow)]
        if compared:
            plot_comparison(compared, stem.with_suffix(".png"), name)
        else:
            plot_merging(rows, stem.with_suffix(".png"), corpus, name)


def lines(rows: Sequence[SweepRow]) -> list[dict[str, str]]:
    """The table as it is shown: cells by column, scores in percent, and what was not measured left out."""
    compared = [row for row in rows if isinstance(row, ComparisonRow)]
    if not compared:
        return [_merging_line(row) for row in rows]
    return [_comparison_line(*pair) for pair in zip(compared[::2], compared[1::2], strict=True)]


def _merging_line(row: SweepRow) -> dict[str, str]:
    metric = "mAP" if row.metric == MEAN_AVERAGE_PRECISION else row.metric
    return {
        "method": row.method,
        "schedule": row.schedule if row.tome_r else "",
        "r": str(row.tome_r),
        "tokens": f"{row.tokens_in} → {row.tokens_out}",
        "GMACs": f"{row.gmacs:.3g}",
        "MAC ratio": f"{row.mac_ratio:.2f}×",
        metric: f"{100 * row.score:.1f}",
        "95 %": f"{100 * row.low:.1f} to {100 * row.high:.1f}",
        "change": in_points(row.change),
        "95 % of it": interval(row.change_low, row.change_high),
        **_speeds(row),
    }


def _comparison_line(*metrics: ComparisonRow) -> dict[str, str]:
    row = metrics[0]
    shown = {
        "method": row.method,
        "schedule": row.schedule if row.tome_r else "",
        "r": str(row.tome_r),
        "tokens": f"{row.tokens_in} → {row.tokens_out}",
        "MAC ratio": f"{row.mac_ratio:.2f}×",
    }
    for part in metrics:
        name = "mAP" if part.metric == MEAN_AVERAGE_PRECISION else "acc"
        shown |= {
            name: f"{100 * part.score:.1f}",
            f"{name} 95 %": f"{100 * part.low:.1f} to {100 * part.high:.1f}",
            f"{name} change": in_points(part.change),
            f"{name} change 95 %": interval(part.change_low, part.change_high) if row.tome_r else "",
            f"{name} gain": "" if part.gain is None else in_points(part.gain),
            f"{name} gain 95 %": interval(part.gain_low, part.gain_high),
        }
    speed = _speeds(row).get("clips/s")
    return shown if speed is None else shown | {"clips/s": speed}


def _speeds(row: SweepRow) -> dict[str, str]:
    speeds = {"front end/s": row.front_end_samples_per_sec, "model/s": row.model_samples_per_sec}
    speeds["clips/s"] = row.samples_per_sec
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    return {name: f"{speed:.3g}" if speed < 1000 else f"{speed:.0f}" for name, speed in known.items()}


def interval(low: float | None, high: float | None) -> str:
    """An interval of a change, in percentage points; empty where it can't be told."""
    if low is None or high is None or math.isnan(low):
        return ""
    return f"{in_points(low)} to {in_points(high)}"


def in_points(share: float) -> str:
    """A change in percentage points; no less than nothing by nothing."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def markdown_table(shown: Sequence[dict[str, str]]) -> str:
    """Cells by column, in markdown."""
    head = ["| " + " | ".join(shown[0]) + " |", "|" + "---|" * len(shown[0])]
    return "\n".join(head + ["| " + " | ".join(row.values()) + " |" for row in shown])
