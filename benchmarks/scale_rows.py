"""One point of `scale.py`'s curves: FastAST beside stock AST, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastast_hf import FastASTForAudioClassification
from fastast_hf.benchmarking.candidates import for_length, stock_ast
from fastast_hf.benchmarking.circumstances import shared_columns
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS, interleaved_rounds, timed
from fastast_hf.benchmarking.rows import Row
from fastast_hf.cli.tables import format_table
from fastast_hf.merging.complexity import complexity
from fastast_hf.model.token_merging import merges_per_layer
from fastast_hf.tagging.int8 import to_int8

FRAMES_PER_SECOND = 100
# Rounds are as many as this allows: 20 for clips of 1 s, one at a time, and 2 for those of 60 s.
GMACS, FEWEST_ROUNDS, MOST_ROUNDS = 3000, 2, 20


class Setting(NamedTuple):
    """How a FastAST merges, and whether in `"float32"` or `"int8"`."""

    tome_r: int
    schedule: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ScaleRow(Row):
    """FastAST at one point of a curve.

    Attributes:
        ms: For a batch; median over rounds.
        stock_ms: Stock AST's, in the same rounds.
    """

    ms: float
    stock_ms: float


def measure(
    name: str,
    model: FastASTForAudioClassification,
    frames: int,
    batch_size: int,
    settings: Sequence[Setting],
    rounds: int | None = None,
) -> list[ScaleRow]:
    """Time FastAST in each setting beside stock AST (sdpa, float32), on noise.

    Args:
        name: Of the model.
        model: Whose weights all share, but for int8's own.
        frames: Length of the clips; positions are interpolated to it.
        batch_size: Clips in a batch.
        settings: One candidate each.
        rounds: None for as many as the arithmetic of a round leaves time for.

    Returns:
        A row for each setting.
    """
    fast = for_length(model, frames)
    fast.set_attn_implementation("sdpa")
    in_dtypes: dict[str, Any] = {"float32": fast}
    if any(setting.dtype == "int8" for setting in settings):
        in_dtypes["int8"] = to_int8(fast)
    costs = [complexity(fast.config, setting.tome_r, setting.schedule, frames) for setting in settings]
    if rounds is None:
        gmacs = batch_size * (costs[0].stock_macs + sum(cost.macs for cost in costs)) / 1e9
        rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, round(GMACS / gmacs)))
    clips = torch.randn(batch_size, frames, fast.config.num_mel_bins, generator=torch.Generator().manual_seed(0))
    forwards: list[Callable[..., Any]] = [stock_ast(fast)]
    for setting in settings:
        merges = merges_per_layer(setting.tome_r, fast.config.num_hidden_layers, setting.schedule)
        forwards.append(partial(in_dtypes[setting.dtype], tome_r=merges))
    runs = [partial(_milliseconds, forward, clips) for forward in forwards]
    times = np.array(list(interleaved_rounds(runs, rounds, min(WARM_UP_ROUNDS, (rounds + 1) // 2))))

    shared = shared_columns(model, name, frames, batch_size)
    rows = []
    for setting, cost, own in zip(settings, costs, times.T[1:], strict=True):
        ms, speedup = float(np.median(own)), float(np.median(times[:, 0] / own))
        columns = {
            **shared,
            **setting._asdict(),
            "implementation": "FastAST",
            "attn": "sdpa",
            "tokens_out": cost.tokens_out,
            "gmacs": cost.macs / 1e9,
            "mac_ratio": cost.speedup,
            "samples_per_sec": 1000 * batch_size / ms,
            "speedup": speedup,
            "efficiency": speedup / cost.speedup,
            "rounds": rounds,
        }
        rows.append(ScaleRow(**columns, ms=ms, stock_ms=float(np.median(times[:, 0]))))
    return rows


@torch.inference_mode()
def _milliseconds(forward: Callable[[Tensor], Any], clips: Tensor) -> float:
    return 1000 * timed(partial(forward, clips), clips.device)[0]


def table(rows: Sequence[ScaleRow]) -> str:
    """A line per row."""
    header = [
        "model",
        "frames",
        "batch",
        "r",
        "schedule",
        "dtype",
        "ms",
        "stock ms",
        "speed-up",
        "MAC ratio",
        "rounds",
    ]
    lines = [
        [
            row.model,
            str(row.frames),
            str(row.batch_size),
            str(row.tome_r),
            str(row.schedule),
            row.dtype,
            f"{row.ms:.1f}",
            f"{row.stock_ms:.1f}",
            f"{row.speedup:.2f}×",
            f"{row.mac_ratio:.2f}×",
            str(row.rounds),
        ]
        for row in rows
    ]
    return format_table(header, lines, align="lrrrllrrrrr")
