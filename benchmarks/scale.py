"""How FastAST's speed goes with length, batch, r and model size on the CPU, and how it goes through a large folder.

    python benchmarks/scale.py length|batch|r|size|folder

    length   clips of 1 to 60 s at their native length, one at a time, four patches of five merged
    batch    1 to 64 clips of 128 frames at once, r = 20 decreasing
    r        512 frames, one clip at a time, r = 0, 5, 10, … up to where more of it changes nothing
    size     tiny, small and base, 512 frames, four clips at a time, four patches of five merged
    folder   10,000 flac files (44.1 kHz, stereo) through `Tagger.stream`: memory and files a second for 0, 1, 2 and 4
             workers

FastAST in float32, and in int8 where the processor has it, beside stock AST (sdpa, float32) with the same random
weights, which take as long as trained ones. Rounds are interleaved, and a speed-up is the median of the ratios within
a round. The MAC ratio is what merging alone allows: int8 comes on top of it. Writes `DIR/CURVE.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from random_models import SIZES, random_ast
from scale_folder import measure_folder
from scale_rows import FRAMES_PER_SECOND, ScaleRow, Setting, measure, table

from fastast_hf import FastASTConfig
from fastast_hf.benchmarking.results import to_json
from fastast_hf.benchmarking.rounds import check_at_least
from fastast_hf.merging.complexity import complexity
from fastast_hf.model.token_merging import merges_per_layer, tokens_per_layer
from fastast_hf.tagging.int8 import int8_works
from fastast_hf.tagging.presets import PRESETS, merges_of_share

RESULTS = Path(__file__).parent / "results" / "scale"

LENGTHS = (1, 2, 5, 10, 20, 30, 60)  # seconds
BATCHES, BATCH_FRAMES, BATCH_R = (1, 2, 4, 8, 16, 32, 64), 128, 20
FRAMES = 512  # of the curves over r and size
SCHEDULES, R_STEP = ("constant", "decreasing"), 5
SIZE_BATCH = 4

# Of FastAST's settings in one round: of more, the last would be timed long after stock AST.
MOST_SETTINGS = 12


def length(rounds: int | None) -> Iterator[list[ScaleRow]]:
    """Clips of each length, one at a time."""
    base = random_ast("base")
    for seconds in LENGTHS:
        frames = FRAMES_PER_SECOND * seconds
        yield measure("ast-base-random", base, frames, 1, in_both_dtypes(fast_r(base.config, frames)), rounds)


def batch(rounds: int | None) -> Iterator[list[ScaleRow]]:
    """Batches of each size."""
    base = random_ast("base")
    for batch_size in BATCHES:
        yield measure("ast-base-random", base, BATCH_FRAMES, batch_size, in_both_dtypes(BATCH_R), rounds)


def r(rounds: int | None) -> Iterator[list[ScaleRow]]:
    """Each r in each schedule, in groups of like r."""
    base = random_ast("base")
    settings = {Setting(0, SCHEDULES[0], "float32")}  # which is the same in every schedule
    for schedule in SCHEDULES:
        settings |= {Setting(value, schedule, "float32") for value in r_values(base.config, schedule) if value}
    in_order = sorted(settings)
    for start in range(0, len(in_order), MOST_SETTINGS):
        yield measure("ast-base-random", base, FRAMES, 1, in_order[start : start + MOST_SETTINGS], rounds)


def size(rounds: int | None) -> Iterator[list[ScaleRow]]:
    """Models of each size."""
    for name in SIZES:
        model = random_ast(name)
        yield measure(
            f"ast-{name}-random", model, FRAMES, SIZE_BATCH, in_both_dtypes(fast_r(model.config, FRAMES)), rounds
        )


CURVES: dict[str, Callable[[int | None], Iterator[list[ScaleRow]]]] = {
    "length": length,
    "batch": batch,
    "r": r,
    "size": size,
}


def fast_r(config: FastASTConfig, frames: int) -> int:
    """The r of the preset `fast` for clips of so many frames."""
    merges = merges_of_share(config, PRESETS["fast"].merged, frames)
    return round(sum(merges) / len(merges))


def in_both_dtypes(tome_r: int) -> list[Setting]:
    """Decreasing, in float32 and in int8 where it can be had."""
    return [Setting(tome_r, "decreasing", dtype) for dtype in ("float32", "int8") if dtype != "int8" or int8_works()]


def r_values(config: FastASTConfig, schedule: str) -> list[int]:
    """0, `R_STEP`, … up to the first from which on the 50 % cap leaves the same tokens in every layer."""
    stock_tokens = complexity(config, 0, num_frames=FRAMES).tokens_out

    def tokens(r: int) -> list[int]:
        return tokens_per_layer(stock_tokens, merges_per_layer(r, config.num_hidden_layers, schedule))

    most = tokens(stock_tokens * config.num_hidden_layers)
    values = [0]
    while tokens(values[-1]) != most:
        values.append(values[-1] + R_STEP)
    return values


def main() -> None:
    """Measure a curve, print it, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", choices=(*CURVES, "folder"))
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 20 to 2 by the work there is; folder: 1")
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="of the folder (default: 10000)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: torch's choice)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    given = {name: getattr(args, name) for name in ("rounds", "threads", "files") if getattr(args, name) is not None}
    try:
        check_at_least(1, **given)
    except ValueError as error:
        parser.error(str(error))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / f"{args.curve}.json"
    if args.curve == "folder":
        file.write_text(json.dumps(measure_folder(args.files, args.rounds or 1), indent=2) + "\n", encoding="utf-8")
    else:
        write_curve(args.curve, file, args.rounds)
    print(file)


def write_curve(curve: str, file: Path, rounds: int | None = None) -> None:
    """Measure one of `CURVES`, and print and write it."""
    rows: list[ScaleRow] = []
    for point in CURVES[curve](rounds):
        print(table(point), end="\n\n", flush=True)
        rows += point
    file.write_text(to_json(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
