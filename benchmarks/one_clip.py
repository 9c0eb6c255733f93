"""Time one clip at a time on the CPU: stock AST, and FastAST in torch and exported to ONNX Runtime.

    python benchmarks/one_clip.py --frames 128 512 --r 0 20 40

AST-base with random weights, which is as fast as with trained ones, and the bundled checkpoint at its own length.
Stock AST is there with sdpa, which speed-ups are over, with sdpa in bfloat16 where the processor is fast in it, and
with eager attention; with `--compile`, those with sdpa are there compiled, too (which needs a C++ compiler). Rounds
are interleaved, and a speed-up is the median of the ratios within a round. Needs the extra `onnx`.

Part of what the files gain is no merging: in the last layer they compute CLS and distillation alone, which is all that
is read.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from random_models import random_ast
from writing import write_rows

from fastast_hf import FastASTForAudioClassification
from fastast_hf.benchmarking.candidates import for_length, stock_ast
from fastast_hf.benchmarking.rounds import check_at_least, interleaved_rounds
from fastast_hf.cli.tables import format_table
from fastast_hf.errors import one_line
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.loading.devices import half_precision
from fastast_hf.onnx.export import export_onnx
from fastast_hf.onnx.runtime import OnnxModel, needs
from fastast_hf.tagging.int8 import int8_works, to_int8

RESULTS = Path(__file__).parent / "results" / "one-clip"
BUNDLED_R = (0, 12, 20)
CPU = torch.device("cpu")
STOCK, FAST = "AST, torch sdpa", "FastAST, torch"  # in float32: what the others of their kind are held to


@dataclass(frozen=True)
class Row:
    """One candidate at one r: milliseconds for a batch, and how many times as fast as stock AST in the same rounds.

    That is stock AST with sdpa in float32; logits are off by so much from its, or from FastAST's in float32.
    """

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
    candidates = {
        **stock_in_each_way(fast, compiled),
        FAST: fast,
        **in_fewer_bits(fast),
        "FastAST, ONNX Runtime float32": runtime["float32"],
        "FastAST, ONNX Runtime int8": runtime["int8"],
    }
    with torch.inference_mode():
        logits = {name: candidate(clips).logits for name, candidate in candidates.items()}
        runs = [partial(_milliseconds, candidate, clips) for candidate in candidates.values()]
        times = np.array(list(interleaved_rounds(runs, rounds)))  # (rounds, candidates)
    stock = times[:, list(candidates).index(STOCK)]
    rows = []
    for own, candidate in zip(times.T, candidates, strict=True):
        is_stock = candidate.startswith("AST")
        off_by = logits[candidate] - logits[STOCK if is_stock else FAST]
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
                speedup=float(np.median(stock / own)),
                logits_off_by=float(off_by.abs().max()),
            )
        )
    return rows


def stock_in_each_way(model: FastASTForAudioClassification, compiled: bool) -> dict[str, Callable[..., Any]]:
    """Stock AST with the model's weights, those with sdpa also compiled for one shape if that is asked for."""
    found: dict[str, Callable[..., Any]] = {STOCK: stock_ast(model)}
    if half_precision(CPU) == torch.bfloat16:
        half = stock_ast(copy.deepcopy(model).bfloat16())
        found[f"{STOCK} bfloat16"] = lambda clips: half(clips.bfloat16())
    if compiled:
        torch.compiler.reset()  # there is a limit to how often the same forward pass is compiled anew
        found |= {f"{name}, compiled": torch.compile(ast, dynamic=False) for name, ast in found.items()}
    return {**found, "AST, torch eager": stock_ast(model, "eager")}


def in_fewer_bits(model: FastASTForAudioClassification) -> dict[str, Callable[..., Any]]:
    """The model in bfloat16 and int8, where this processor is fast in them."""
    found: dict[str, Callable[..., Any]] = {}
    if half_precision(CPU) == torch.bfloat16:
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write them all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[128, 512], metavar="T", help="of AST-base")
    parser.add_argument("--r", type=int, nargs="+", default=[0, 20, 40], metavar="N", help="of AST-base")
    parser.add_argument("--schedule", default="constant", choices=("constant", "decreasing", "increasing"))
    parser.add_argument("--compile", action="store_true", help="with stock AST compiled, too")
    parser.add_argument("--batch-size", type=int, default=1, metavar="B")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch and ONNX Runtime (default: torch's choice)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    base = random_ast()
    try:
        threads = {} if args.threads is None else {"threads": args.threads}
        check_at_least(1, **{"batch-size": args.batch_size, "rounds": args.rounds, **threads})
        check_at_least(base.config.patch_size, frames=min(args.frames))
        check_at_least(0, r=min(args.r))
        needs("onnx")
        runtime = needs("onnxruntime")
    except (ValueError, ImportError) as error:
        parser.error(one_line(error))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    bundled = load_classifier(SPEECH_COMMANDS).eval()
    settings = [(base, "ast-base-random", frames, r) for frames in args.frames for r in args.r]
    settings += [(bundled, SPEECH_COMMANDS.name, bundled.config.max_length, r) for r in BUNDLED_R]
    rows: list[Row] = []
    for model, name, frames, r in settings:
        own = measure(model, name, frames, r, args.schedule, args.batch_size, args.rounds, args.compile)
        print(table(own), end="\n\n", flush=True)
        rows += own
    file = args.output / f"cpu-b{args.batch_size}-{args.schedule}-{torch.get_num_threads()}-threads.json"
    write_rows(file, rows, onnxruntime=runtime.__version__, rounds=args.rounds)
    print(file)


if __name__ == "__main__":
    main()
