"""What a benchmark measured: its rows, as csv, as json, and as the picture drawn from them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .training_benchmark import TrainingRow

COLOURS = ("tab:blue", "tab:orange", "tab:green")  # of the three schedules


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """One model as it was measured on one clip length. Times are for a batch; medians over rounds unless p95.

    Attributes:
        model: Whose weights.
        implementation: `"AST"` (transformers' own) or `"FastAST"`.
        params_m: Parameters in millions.
        frames: Frames of a clip, one each 10 ms.
        batch_size: Clips in a batch.
        device: `"cpu"`, `"cuda"`, …
        dtype: Of weights and activations.
        attn: Attention implementation.
        tome_r: Tokens merged in every layer; None for stock AST.
        schedule: How they are spread over the layers; None for stock AST.
        tokens_in: Tokens entering the first layer.
        tokens_out: Tokens left after the last.
        gmacs: 10^9 multiply-accumulates for a clip, matching not counted.
        macts: 10^6 numbers that matrix products and the convolution write for a clip, as timm counts activations.
        mac_ratio: Stock AST's MACs over this model's: the limit of what merging can gain.
        front_end: The feature extractor; None where it cannot be imported.
        front_end_ms: From waveforms in host memory to the model's input on its device.
        model_ms: From there to logits.
        model_p95_ms: 95th percentile.
        end_to_end_ms: From waveforms to logits.
        end_to_end_p95_ms: 95th percentile.
        samples_per_sec: Clips a second through the model.
        end_to_end_samples_per_sec: Clips a second from waveforms to logits.
        speedup: Of the model: median over rounds of stock AST sdpa's time over this one's in the same round.
        speedup_end_to_end: The same from waveforms to logits, each with its own front end.
        efficiency: `speedup / mac_ratio`: the share of the limit that is reached.
        peak_mem_mb: Most device memory in use, weights included, in 10^6 bytes; None where torch does not count it.
        rounds: Measured, after the warm-up.
        torch: Its version.
        transformers: Its version.
        threads: Of torch on the CPU.
        processor: Name of the CPU or GPU.
        date: Of the measurement.
    """

    model: str
    implementation: str
    params_m: float
    frames: int
    batch_size: int
    device: str
    dtype: str
    attn: str
    tome_r: int | None
    schedule: str | None
    tokens_in: int
    tokens_out: int
    gmacs: float
    macts: float
    mac_ratio: float
    front_end: str | None
    front_end_ms: float | None = None
    model_ms: float
    model_p95_ms: float
    end_to_end_ms: float | None = None
    end_to_end_p95_ms: float | None = None
    samples_per_sec: float
    end_to_end_samples_per_sec: float | None = None
    speedup: float
    speedup_end_to_end: float | None = None
    efficiency: float
    peak_mem_mb: float | None = None
    rounds: int
    torch: str
    transformers: str
    threads: int
    processor: str
    date: str


def write_csv(rows: Sequence[BenchmarkRow | TrainingRow], path: Path) -> None:
    """Write one line per row, of which there is one at least; floats to five digits, nothing where a value is None."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def to_json(rows: Sequence[BenchmarkRow | TrainingRow]) -> str:
    """A JSON list of one object per row; `BenchmarkRow(**item)` makes such a row again."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def plot_speedups(rows: Sequence[BenchmarkRow | TrainingRow], path: Path, of: str = "") -> None:
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
    figure = Figure(figsize=(1.6 + 3.1 * len(panels), 4.2), dpi=150, layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, frames in zip(all_axes, panels, strict=True):
        here = [row for row in rows if row.frames == frames]
        _plot_panel(axes, here)
        axes.set_title(f"{frames} frames, {here[0].tokens_in} tokens", fontsize=10)
        axes.set_xlabel("tokens merged in every layer, r")
    all_axes[0].set_ylabel(f"{of} speed-up over stock AST (sdpa)".strip())
    figure.suptitle(f"{one.model}, {one.dtype}, batch {one.batch_size}\n{one.processor}", fontsize=10)
    handles, labels = all_axes[0].get_legend_handles_labels()
    columns = min(len(panels) + 1, 4)  # what the width holds
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.savefig(path)


def _plot_panel(axes: Axes, rows: Sequence[BenchmarkRow | TrainingRow]) -> None:
    """Measured and possible speed-up for each schedule, and stock AST's two levels."""
    fast = [row for row in rows if row.tome_r is not None]
    for row in rows:
        if row.tome_r is None:
            style = {"eager": ":", "sdpa": "-"}[row.attn]
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
        axes.plot(r, measured, "o-", color=colour, linewidth=1.8, markersize=5, label=f"FastAST, measured{which}")
    axes.set_xticks(sorted({row.tome_r for row in fast}))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.margins(x=0.08)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
