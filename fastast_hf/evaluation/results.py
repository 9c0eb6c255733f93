"""The paper's tables for one's own checkpoints: with throughput, and as csv, json, markdown and a picture."""

from __future__ import annotations

import csv
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers

from ..benchmarking.inference import benchmark
from ..merging.complexity import complexity
from ..model.modeling_fastast import FastASTForAudioClassification
from ..training.runs import write_json
from .plots import plot_comparison, plot_merging
from .rows import ComparisonRow, SweepRow
from .tables import explanation, lines, markdown_table, what_was_scored

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
        columns = [column.name for column in fields(rows[0]) if column.name != "weights"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
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
    notes = f"{what_was_scored(rows, facts)} Scores are in percent, {explanation(rows)}."
    stem.with_suffix(".md").write_text(f"{markdown_table(lines(rows))}\n\n{notes}\n", encoding="utf-8")
    with suppress(ImportError):
        title = facts.get("title", corpus)
        name = title if facts.get("classes") is None else f"{title}, {facts['classes']} classes"
        compared = [row for row in rows if isinstance(row, ComparisonRow)]
        if compared:
            plot_comparison(compared, stem.with_suffix(".png"), name)
        else:
            plot_merging(rows, stem.with_suffix(".png"), corpus, name)
