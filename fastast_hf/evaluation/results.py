"""The paper's tables for one's own checkpoints: with throughput, and as csv, json, markdown and a picture."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from ..benchmarking.inference import benchmark
from ..benchmarking.results import write_csv
from ..errors import left_out_if_missing
from ..merging.complexity import complexity
from ..model.modeling_fastast import FastASTForAudioClassification
from ..training.results import write_json
from .plots import plot_scores
from .rows import SweepRow
from .tables import explanation, markdown_table, score_tables, what_was_scored


def can_be_timed(rows: Sequence[SweepRow], circumstances: Mapping[str, Any]) -> bool:
    """Whether [`with_speed`] times what was scored: float32 checkpoints, with one r for all layers."""
    plain = circumstances["dtype"] == "float32" and circumstances["preset"] == "exact"
    return plain and all(row.schedule != "per layer" for row in rows)


def with_speed(
    rows: Sequence[SweepRow], model: FastASTForAudioClassification, batch_size: int = 4, rounds: int = 5
) -> list[SweepRow]:
    """Add clips a second, each r and schedule timed in interleaved rounds on one model: weights make no difference.

    Rows of a model of another size are left without.
    """
    timed = benchmark(
        model,
        model.config.max_length,
        batch_size=batch_size,
        tome_r=sorted({row.tome_r for row in rows}),
        schedules=list(dict.fromkeys(row.schedule for row in rows)),
        rounds=rounds,
        progress=True,
    )
    # r = 0 is timed once for all schedules.
    speeds = {(row.tome_r, row.schedule if row.tome_r else ""): row.end_to_end_samples_per_sec for row in timed.rows}
    added = []
    for row in rows:
        same = row.gmacs == complexity(model.config, row.tome_r, row.schedule).macs / 1e9
        speed = speeds.get((row.tome_r, row.schedule if row.tome_r else "")) if same else None
        added.append(replace(row, samples_per_sec=speed))
    return added


def write_results(rows: Sequence[SweepRow], stem: Path, facts: dict[str, Any]) -> None:
    """Write csv, json, markdown and, where matplotlib is installed, the picture; `facts` say what was measured."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_csv(rows, stem.with_suffix(".csv"))
    environment = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    write_json(stem.with_suffix(".json"), facts | environment | {"rows": [asdict(row) for row in rows]})
    tables = [markdown_table(table) for table in score_tables(rows)]
    text = "\n\n".join([*tables, f"{what_was_scored(rows, facts)} {explanation(rows)}"])
    stem.with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")
    with left_out_if_missing("the picture"):
        plot_scores(rows, stem.with_suffix(".png"), facts["corpus"], f"{facts['title']}, {facts['classes']} classes")
