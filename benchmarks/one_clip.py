"""Time one clip at a time on the CPU: stock AST (sdpa), and FastAST in torch and exported to ONNX Runtime.

    python benchmarks/one_clip.py --frames 128 512 --r 0 20 40

AST-base with random weights, which is as fast as with trained ones, and the bundled checkpoint at its own length.
Rounds are interleaved, and a speed-up is the median of the ratios within a round. With `--compile`, stock AST stands
there compiled, too (which needs a C++ compiler). Needs the extra `onnx`.

Part of what the files gain is no merging: in the last layer they compute CLS and distillation alone, which is all that
is read.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import torch
from writing import write_rows

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmark_candidates import for_length, stock_ast
from fastast_hf.benchmarking import interleaved_rounds
from fastast_hf.cli.tables import format_table
from fastast_hf.devices import half_precision
from fastast_hf.export import export_onnx
from fastast_hf.int8 import int8_works, to_int8
from fastast_hf.loading import load_classifier
from fastast_hf.onnx_model import OnnxModel
from fastast_hf.tagging import BUNDLED_CHECKPOINT

RESULTS = Path(__file__).parent / "results" / "one-clip"
BUNDLED_R = (0, 12, 20)


@dataclass(frozen=True)
class Row:
    """One candidate at one r: milliseconds for a batch, and how many times as fast as stock AST in the same rounds."""

    model: str
    frames: int
    batch_size: int
    tome_r: int
    schedule: str
    candidate: str
    median_ms: float
    p95_ms: float
    speedup: float
    logits_off_by: float


def measure(
    model: FastASTForAudioClassification,
    name: str,
    frames: int,
    r: int,
    schedule: str,
    batch_size: int,
    rounds: int,
    compiled: bool,
) -> list[Row]:
    """Time all at one length and r, on noise."""
    fast = for_length(model, frames)
    fast.set_tome_r(r, schedule)
    clips = torch.randn(batch_size, frames, fast.config.num_mel_bins, generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as folder:
        runtime = {}
        for kind in ("float32", "int8"):
            file = Path(folder) / f"{kind}.onnx"
            export_onnx(fast, file, int8=kind == "int8")
            runtime[kind] = OnnxModel(file)
    candidates: dict[str, Callable[..., Any]] = {
        "AST, torch sdpa": stock_ast(fast),
        "FastAST, torch": fast,
        **in_fewer_bits(fast),
        "FastAST, ONNX Runtime float32": runtime["float32"],
        "FastAST, ONNX Runtime int8": runtime["int8"],
    }
    if compiled:
        candidates["AST, torch sdpa, compiled"] = torch.compile(stock_ast(fast), dynamic=False)
    with torch.inference_mode():
        logits = [candidate(clips).logits for candidate in candidates.values()]
        runs = [partial(_milliseconds, candidate, clips) for candidate in candidates.values()]
        times = np.array(list(interleaved_rounds(runs, rounds)))  # (rounds, candidates)
    rows = []
    for index, candidate in enumerate(candidates):
        is_stock = candidate.startswith("AST")
        own, reference = times[:, index], logits[0 if is_stock else 1]  # what fewer bits and files are held to
        rows.append(
            Row(
                model=name,
                frames=frames,
                batch_size=batch_size,
                tome_r=0 if is_stock else r,
                schedule=schedule,
                candidate=candidate,
                median_ms=float(np.median(own)),
                p95_ms=float(np.percentile(own, 95)),
                speedup=float(np.median(times[:, 0] / own)),
                logits_off_by=float((logits[index] - reference).abs().max()),
            )
        )
    return rows


def in_fewer_bits(model: FastASTForAudioClassification) -> dict[str, Callable[..., Any]]:
    """The model in bfloat16 and int8, where this processor is fast in them."""
    found: dict[str, Callable[..., Any]] = {}
    if half_precision(model.device) == torch.bfloat16:
        half = copy.deepcopy(model).bfloat16()
        found["FastAST, torch bfloat16"] = lambda clips: half(clips.bfloat16())
    if int8_works():
        found["FastAST, torch int8"] = to_int8(model)
    return found


def _milliseconds(candidate: Callable[..., Any], clips: torch.Tensor) -> float:
    start = perf_counter()
    candidate(clips)
    return 1000 * (perf_counter() - start)


def table(rows: list[Row]) -> str:
    """A line per candidate."""
    header = ["model", "frames", "r", "candidate", "ms", "p95 ms", "speed-up", "logits off by"]
    lines = [
        [
            row.model,
            str(row.frames),
            str(row.tome_r),
            row.candidate,
            f"{row.median_ms:.1f}",
            f"{row.p95_ms:.1f}",
            f"{row.speedup:.2f}×",
            f"{row.logits_off_by:.0e}",
        ]
        for row in rows
    ]
    return format_table(header, lines, align="lrrlrrrr")


def main() -> None:
    """Measure, print tables, and write them all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[128, 512], metavar="T", help="of AST-base")
    parser.add_argument("--r", type=int, nargs="+", default=[0, 20, 40], metavar="N", help="of AST-base")
    parser.add_argument("--schedule", default="constant", choices=("constant", "decreasing", "increasing"))
    parser.add_argument("--compile", action="store_true", help="with stock AST compiled")
    parser.add_argument("--batch-size", type=int, default=1, metavar="B")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch and ONNX Runtime (default: torch's choice)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    base = FastASTForAudioClassification(FastASTConfig(num_labels=527)).eval()
    bundled = load_classifier(BUNDLED_CHECKPOINT).eval()
    settings = [(base, "ast-base-random", frames, r) for frames in args.frames for r in args.r]
    settings += [(bundled, BUNDLED_CHECKPOINT.name, bundled.config.max_length, r) for r in BUNDLED_R]
    rows: list[Row] = []
    for model, name, frames, r in settings:
        own = measure(model, name, frames, r, args.schedule, args.batch_size, args.rounds, args.compile)
        print(table(own), end="\n\n", flush=True)
        rows += own
    file = args.output / f"cpu-b{args.batch_size}-{args.schedule}-{torch.get_num_threads()}-threads.json"
    write_rows(file, rows, onnxruntime=onnxruntime.__version__, rounds=args.rounds)
    print(file)


if __name__ == "__main__":
    main()
