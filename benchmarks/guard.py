"""Check in one run that FastAST is still as fast as the benchmarks' page says, beside stock AST on the CPU.

    python benchmarks/guard.py

Only ratios are checked: those of interleaved rounds hold on a busy machine, too, where times do not. A check that
fails is measured once more, with twice the rounds, before it counts as fallen. Exit status: 0 if all hold, 1 if one
has fallen, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from layer_parts import Setting, overhead
from tqdm.auto import tqdm
from transformers.utils import logging
from writing import write_rows

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.benchmark_candidates import candidates_for, for_length, noise_clips, stock_ast
from fastast_hf.benchmarking import interleaved_rounds, timed
from fastast_hf.cli.tables import format_table
from fastast_hf.complexity import complexity
from fastast_hf.devices import half_precision
from fastast_hf.export import export_onnx
from fastast_hf.int8 import int8_works, to_int8
from fastast_hf.loading import load_classifier
from fastast_hf.onnx_model import OnnxModel, needs
from fastast_hf.tagging import BUNDLED_CHECKPOINT
from fastast_hf.token_merging import merges_per_layer

# A floor is 75 to 80 % of what the benchmarks' page has, so that noise is not taken for a fall.
# Merging has to gain what the arithmetic allows (1.10 to 1.16: oneDNN is faster than stock AST's MKL).
LEAST_EFFICIENCY = 0.88
# Of a clip this short a dozen tokens are soon left: reading the weights sets the pace, and merging can't shorten that.
LEAST_SPEEDUP_SHORT = 3.0  # of 3.86
# Half the weights to read.
LEAST_SPEEDUP_SHORT_BFLOAT16 = 4.2  # of 5.42
# A quarter of them.
LEAST_SPEEDUP_SHORT_INT8 = 6.5  # of 8.43
# No Python between operators, and in the last layer only what is read.
LEAST_SPEEDUP_SHORT_ONNX = 4.0  # of 5.24
# What the fast preset computes for a clip of five seconds: here the arithmetic counts again.
LEAST_SPEEDUP_INT8 = 4.3  # of 5.6
# From files to labels, front ends and reading included: half the frames, merging and int8 together.
LEAST_SPEEDUP_FAST = 10.0  # of 13.4
# Who merges nothing must not pay for it: these are stock AST's own operations, and the rest is noise.
LEAST_SPEEDUP_UNMERGED = 0.9
# The most that choosing whom to merge, and merging, may take of a layer: it is time that no merge wins back.
MOST_OVERHEAD = 0.03
# In a model this small the number of operators counts for more than the tokens, and merging adds operators.
LEAST_SPEEDUP_TINY = 0.9
# torchaudio's filter bank computes the same, clip by clip: on a CPU the two are level.
LEAST_SPEEDUP_FRONT_END = 0.85

CPU = torch.device("cpu")
OK, FALLEN = "ok", "FALLEN"


class CannotMeasureError(Exception):
    """This machine lacks what a check needs; the message says what."""


@dataclass(frozen=True)
class Check:
    """A promise.

    Attributes:
        name: What is measured.
        measure: The ratio, from so many rounds. Raises CannotMeasureError.
        bound: What it must not fall below; with `ceiling`, what it must not rise above, and it is a share.
        rounds: How many; a multiple of 4, so that each side stands in each place as often as the other.
        ceiling: Whether less is better.
    """

    name: str
    measure: Callable[[int], float]
    bound: float
    rounds: int
    ceiling: bool = False

    def holds(self, measured: float) -> bool:
        """Whether the promise is kept; not by NaN."""
        return measured <= self.bound if self.ceiling else measured >= self.bound

    def shown(self, ratio: float) -> str:
        """As the table has it."""
        return f"{100 * ratio:.2f} %" if self.ceiling else f"{ratio:.3f}"


@dataclass(frozen=True)
class Row:
    """What came of a check: `attempts` are the ratios measured, of which the last one counts."""

    check: str
    attempts: list[float]
    bound: float
    ceiling: bool
    verdict: str


@cache
def ast_base(frames: int) -> FastASTForAudioClassification:
    """AST-base with random weights, which all lengths share."""
    if frames == FastASTConfig.max_length:
        torch.manual_seed(0)
        return FastASTForAudioClassification(FastASTConfig(num_labels=527)).eval()
    return for_length(ast_base(FastASTConfig.max_length), frames)


@cache
def bundled() -> FastASTForAudioClassification:
    """The checkpoint that comes with the package."""
    return load_classifier(BUNDLED_CHECKPOINT).eval()


@torch.inference_mode()
def median_ratio(stock: Callable[[], Any], fast: Callable[[], Any], rounds: int) -> float:
    """Time of the one over time of the other, within a round."""
    runs = [partial(timed, run, CPU) for run in (stock, fast)]
    return float(
        np.median([stock_time / time for (stock_time, _), (time, _) in interleaved_rounds(runs, rounds, warm_up=1)])
    )


def speedup(
    model: FastASTForAudioClassification, batch_size: int, merges: list[int], rounds: int, dtype: str = "float32"
) -> float:
    """Of a model in a dtype over stock AST (sdpa, float32) with the same weights, on noise of its own length."""
    clips = noise(model, batch_size)
    return median_ratio(partial(stock_ast(model), clips), partial(in_dtype(model, dtype), clips, merges), rounds)


def noise(model: FastASTForAudioClassification, batch_size: int) -> torch.Tensor:
    """Spectrograms (B, frames, mel bins) of the model's own length."""
    shape = (batch_size, model.config.max_length, model.config.num_mel_bins)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def in_dtype(model: FastASTForAudioClassification, dtype: str) -> Callable[[torch.Tensor, list[int]], Any]:
    """A model that computes in a dtype, called with spectrograms in float32 and the merges of each layer."""
    if dtype == "int8":
        if not int8_works():
            raise CannotMeasureError("no int8 on this machine")
        model = to_int8(model)
    elif dtype == "bfloat16":
        if half_precision(CPU) != torch.bfloat16:
            raise CannotMeasureError("this processor is not fast in bfloat16")
        model = copy.deepcopy(model).bfloat16()
    return lambda clips, merges: model(clips.to(model.dtype), tome_r=merges)


def base_speedup(
    rounds: int, *, frames: int, batch_size: int, r: int, schedule: str = "constant", dtype: str = "float32"
) -> float:
    """Of AST-base."""
    model = ast_base(frames)
    merges = merges_per_layer(r, model.config.num_hidden_layers, schedule)
    return speedup(model, batch_size, merges, rounds, dtype)


def onnx_speedup(rounds: int, *, frames: int, r: int) -> float:
    """Of AST-base exported in float32 over stock AST in torch, one clip at a time."""
    try:
        for package in ("onnx", "onnxruntime"):
            needs(package)
    except ImportError as error:
        raise CannotMeasureError(str(error)) from error
    model = ast_base(frames)
    with TemporaryDirectory() as folder:
        export_onnx(model, f"{folder}/model.onnx", tome_r=r, tome_schedule="constant")
        exported, clips = OnnxModel(f"{folder}/model.onnx"), noise(model, 1)
        return median_ratio(partial(stock_ast(model), clips), partial(exported, clips), rounds)


def preset_speedup(rounds: int, *, num_files: int, seconds: float) -> float:
    """Of AST-base by the preset `fast` over transformers' pipeline with stock AST, one file after the other."""
    try:
        from end_to_end import by_pipeline, pipeline_of, write_clips
    except (ImportError, OSError, RuntimeError) as error:
        raise CannotMeasureError("ASTFeatureExtractor can't be imported") from error
    if not int8_works():
        raise CannotMeasureError("no int8 on this machine")
    model = ast_base(FastASTConfig.max_length)
    length = model.config.max_length
    stock = pipeline_of(stock_ast(model), length)
    extractor = FastASTFeatureExtractor(max_length=length)
    fast = Tagger(model, preset="fast", top_k=None, device="cpu", feature_extractor=extractor)
    with TemporaryDirectory() as folder:
        files = write_clips(Path(folder), num_files, seconds)
        return median_ratio(partial(by_pipeline, stock, 1, files), partial(fast, files, progress=False), rounds)


def base_efficiency(rounds: int, *, frames: int, batch_size: int, r: int) -> float:
    """Of AST-base: its speed-up over what the MACs allow."""
    limit = complexity(ast_base(frames).config, r, "constant").speedup
    return base_speedup(rounds, frames=frames, batch_size=batch_size, r=r) / limit


def bundled_speedup(rounds: int) -> float:
    """Of the bundled checkpoint at its own r, one clip at a time."""
    return speedup(bundled(), 1, bundled().config.merges_per_layer(), rounds)


def front_end_speedup(rounds: int, *, batch_size: int, frames: int) -> float:
    """Of FastASTFeatureExtractor over ASTFeatureExtractor."""
    _, stock, fast = candidates_for(bundled(), frames, [0], ["constant"], "sdpa")
    if stock.front_end is None or fast.front_end is None:
        raise CannotMeasureError("ASTFeatureExtractor can't be imported")
    clips = noise_clips(batch_size, frames)
    return median_ratio(partial(stock.front_end, clips), partial(fast.front_end, clips), rounds)


def merging_share(rounds: int, *, tokens: int) -> float:
    """Of a float32 layer's time, for one clip."""
    return overhead(Setting("float32", tokens, batch_size=1), CPU, rounds).share


CHECKS: tuple[Check, ...] = (
    Check(
        "efficiency: float32, 512 frames, batch 2, r = 40",
        partial(base_efficiency, frames=512, batch_size=2, r=40),
        LEAST_EFFICIENCY,
        rounds=4,
    ),
    Check(
        "efficiency: float32, 1024 frames, batch 1, r = 20",
        partial(base_efficiency, frames=1024, batch_size=1, r=20),
        LEAST_EFFICIENCY,
        rounds=4,
    ),
    Check(
        "speed-up: float32, 128 frames, batch 1, r = 40",
        partial(base_speedup, frames=128, batch_size=1, r=40),
        LEAST_SPEEDUP_SHORT,
        rounds=20,
    ),
    Check(
        "speed-up: bfloat16, 128 frames, batch 1, r = 40",
        partial(base_speedup, frames=128, batch_size=1, r=40, dtype="bfloat16"),
        LEAST_SPEEDUP_SHORT_BFLOAT16,
        rounds=20,
    ),
    Check(
        "speed-up: int8, 128 frames, batch 1, r = 40",
        partial(base_speedup, frames=128, batch_size=1, r=40, dtype="int8"),
        LEAST_SPEEDUP_SHORT_INT8,
        rounds=20,
    ),
    Check(
        "speed-up: ONNX float32, 128 frames, batch 1, r = 40",
        partial(onnx_speedup, frames=128, r=40),
        LEAST_SPEEDUP_SHORT_ONNX,
        rounds=20,
    ),
    Check(
        "speed-up: int8, 512 frames, batch 1, r = 40 decreasing",
        partial(base_speedup, frames=512, batch_size=1, r=40, schedule="decreasing", dtype="int8"),
        LEAST_SPEEDUP_INT8,
        rounds=8,
    ),
    Check(
        "files of 5 s to labels: preset fast over the pipeline",
        partial(preset_speedup, num_files=2, seconds=5.0),
        LEAST_SPEEDUP_FAST,
        rounds=4,
    ),
    Check(
        "speed-up: float32, 128 frames, batch 1, r = 0",
        partial(base_speedup, frames=128, batch_size=1, r=0),
        LEAST_SPEEDUP_UNMERGED,
        rounds=20,
    ),
    Check(
        "match and merge in a float32 layer of 602 tokens",
        partial(merging_share, tokens=602),
        MOST_OVERHEAD,
        rounds=40,
        ceiling=True,
    ),
    Check("speed-up: bundled checkpoint, batch 1, its own r", bundled_speedup, LEAST_SPEEDUP_TINY, rounds=60),
    Check(
        "speed-up: front end, 8 clips of 10 s",
        partial(front_end_speedup, batch_size=8, frames=998),
        LEAST_SPEEDUP_FRONT_END,
        rounds=40,
    ),
)


def result_of(check: Check) -> Row:
    """Measure a check, twice if the first time it seems to have fallen."""
    attempts: list[float] = []
    verdict = FALLEN
    try:
        for rounds in (check.rounds, 2 * check.rounds):
            attempts.append(check.measure(rounds))
            if check.holds(attempts[-1]):
                verdict = OK
                break
    except CannotMeasureError as error:
        verdict = f"skipped: {error}"
    return Row(check.name, attempts, check.bound, check.ceiling, verdict)


def table(rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """A line per check."""
    lines = [
        [
            row.check,
            check.shown(row.attempts[-1]) if row.attempts else "-",
            f"{'≤' if check.ceiling else '≥'} {check.shown(check.bound)}",
            row.verdict,
        ]
        for row, check in zip(rows, checks, strict=True)
    ]
    return format_table(["check", "measured", "bound", "verdict"], lines, align="lrrl")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all checks, print the table, and say by the exit status whether one has fallen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    args = parser.parse_args(arguments)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json is {args.json}: there is no folder {args.json.parent}; make it first")
    logging.disable_progress_bar()  # of loading
    rows = [result_of(check) for check in tqdm(CHECKS, unit="check", leave=False, disable=None)]
    print(table(rows, CHECKS))
    if args.json is not None:
        write_rows(args.json, rows)
    return int(any(row.verdict == FALLEN for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
