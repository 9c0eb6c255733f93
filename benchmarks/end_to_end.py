"""Time files to labels on the CPU: transformers' own pipeline with stock AST, and the Tagger's presets.

    python benchmarks/end_to_end.py                      # wav files of 5 s, AST-base with random weights
    python benchmarks/end_to_end.py --compile            # stock AST compiled, too (minutes more; a C++ compiler)

The pipeline is `pipeline("audio-classification")` on stock AST (sdpa, float32), one file after the other, as its users
run it, and in batches; and one file after the other in bfloat16 (`pipeline(..., dtype=torch.bfloat16)`), where the
processor is fast in it, and with eager attention. It gets the samples that soundfile read, because to open a file
itself it starts ffmpeg. Rounds are interleaved, and a speed-up is the median of the ratios to the pipeline with sdpa
in float32, one file at a time, within a round.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from random_models import random_ast
from transformers import ASTFeatureExtractor, AudioClassificationPipeline
from writing import write_rows

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.audio import MIN_SECONDS
from fastast_hf.benchmarking.candidates import stock_ast
from fastast_hf.benchmarking.rounds import check_at_least, interleaved_rounds, timed
from fastast_hf.cli.tables import format_table
from fastast_hf.loading.devices import half_precision
from fastast_hf.model.token_merging import tokens_per_layer

RESULTS = Path(__file__).parent / "results" / "end-to-end"
RATE = 16000
CPU = torch.device("cpu")
STOCK = "pipeline, stock AST"


@dataclass(frozen=True)
class Row:
    """One way from files to labels."""

    way: str
    batch_size: int
    tokens_in: int
    tokens_out: int
    files_per_sec: float
    ms_per_file: float
    speedup: float


def write_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Wav files of noise that comes and goes, each of its own."""
    random = np.random.default_rng(0)
    files = []
    for number in range(count):
        time = np.arange(int(seconds * RATE)) / RATE
        loudness = 0.1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.2, 3) * time)
        files.append(folder / f"{number}.wav")
        soundfile.write(files[-1], loudness * random.standard_normal(len(time)), RATE)
    return files


def pipeline_of(model: Any, max_length: int) -> AudioClassificationPipeline:
    """Transformers' pipeline, all labels out."""
    return AudioClassificationPipeline(
        model=model, feature_extractor=ASTFeatureExtractor(max_length=max_length), device=-1, top_k=None
    )


def compiled_twin(pipe: AudioClassificationPipeline, max_length: int) -> AudioClassificationPipeline:
    """A pipeline whose model shares the other's weights and is compiled for one shape."""
    twin = copy.copy(pipe.model)
    twin.forward = torch.compile(pipe.model.forward, dynamic=False)
    return pipeline_of(twin, max_length)


def by_pipeline(pipe: AudioClassificationPipeline, batch_size: int, files: Sequence[Path]) -> list[Any]:
    """Labels of each file."""
    clips = [{"array": soundfile.read(file, dtype="float32")[0], "sampling_rate": RATE} for file in files]
    if batch_size == 1:
        return [pipe(clip) for clip in clips]
    return pipe(clips, batch_size=batch_size)


def ways(model: FastASTForAudioClassification, batch_size: int, compiled: bool) -> dict[str, tuple[int, Any, Any]]:
    """By name: batch size, files to labels, and the tagger if it is one."""
    length = model.config.max_length
    stock = pipeline_of(stock_ast(model), length)
    one_by_one = {STOCK: stock}
    if half_precision(CPU) == torch.bfloat16:
        one_by_one[f"{STOCK} in bfloat16"] = pipeline_of(stock_ast(copy.deepcopy(model).bfloat16()), length)
    if compiled:
        one_by_one |= {f"{name}, compiled": compiled_twin(pipe, length) for name, pipe in one_by_one.items()}
    one_by_one[f"{STOCK}, eager"] = pipeline_of(stock_ast(model, "eager"), length)
    found: dict[str, tuple[int, Any, Any]] = {
        name: (1, partial(by_pipeline, pipe, 1), None) for name, pipe in one_by_one.items()
    }
    found[f"{STOCK} in batches"] = (batch_size, partial(by_pipeline, stock, batch_size), None)
    extractor = FastASTFeatureExtractor(max_length=length)
    common: dict[str, Any] = {"top_k": None, "device": "cpu", "feature_extractor": extractor}
    for preset in ("exact", "balanced", "fast"):
        tagger = Tagger(model, preset=preset, batch_size=batch_size, **common)
        found[f"Tagger, {preset}"] = (batch_size, partial(tagger, progress=False), tagger)
    half = Tagger(model, preset="fast", dtype="bfloat16", batch_size=batch_size, **common)
    found["Tagger, fast in bfloat16"] = (batch_size, partial(half, progress=False), half)
    alone = Tagger(model, preset="fast", batch_size=1, **common)
    found["Tagger, fast, one at a time"] = (1, lambda files: [alone(file) for file in files], alone)
    return found


def measure(
    model: FastASTForAudioClassification, files: Sequence[Path], batch_size: int, rounds: int, compiled: bool
) -> list[Row]:
    """Time all ways over the same files."""
    candidates = ways(model, batch_size, compiled)
    runs: list[Callable[[], Any]] = [partial(timed, partial(run, files), CPU) for _, run, _ in candidates.values()]
    measured = interleaved_rounds(runs, rounds, warm_up=1)
    times = np.array([[seconds for seconds, _ in results] for results in measured])  # (rounds, ways)
    stock = times[:, list(candidates).index(STOCK)]
    rows = []
    longest = soundfile.info(files[0]).frames
    for index, (name, (batch, _, tagger)) in enumerate(candidates.items()):
        frames = model.config.max_length if tagger is None else tagger.input_frames(longest)
        frequency, time = model.config.patch_grid_of(frames)
        merges = [0] * model.config.num_hidden_layers if tagger is None else tagger.merges(frames)
        tokens = tokens_per_layer(2 + frequency * time, merges)
        rows.append(
            Row(
                way=name,
                batch_size=batch,
                tokens_in=tokens[0],
                tokens_out=tokens[-1],
                files_per_sec=float(len(files) / np.median(times[:, index])),
                ms_per_file=float(1000 * np.median(times[:, index]) / len(files)),
                speedup=float(np.median(stock / times[:, index])),
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """A line per way."""
    header = ["files to labels", "batch", "tokens", "left", "files/s", "ms per file", "speed-up"]
    lines = [
        [
            row.way,
            str(row.batch_size),
            str(row.tokens_in),
            str(row.tokens_out),
            f"{row.files_per_sec:.2f}",
            f"{row.ms_per_file:.0f}",
            f"{row.speedup:.2f}×",
        ]
        for row in rows
    ]
    return format_table(header, lines, align="lrrrrrr")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of a file (default: 5)")
    parser.add_argument("--files", type=int, default=8, metavar="N", help="in a round (default: 8)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="of batches (default: 8)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="after a warm-up (default: 5)")
    parser.add_argument("--compile", action="store_true", help="with stock AST compiled, too")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its choice)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    threads = {} if args.threads is None else {"threads": args.threads}
    try:
        check_at_least(1, **{"files": args.files, "batch-size": args.batch_size, "rounds": args.rounds, **threads})
    except ValueError as error:
        parser.error(str(error))
    if not MIN_SECONDS <= args.seconds < math.inf:
        parser.error(f"seconds is {args.seconds:g}: give {MIN_SECONDS} or more")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    model = random_ast()
    with TemporaryDirectory() as folder:
        files = write_clips(Path(folder), args.files, args.seconds)
        rows = measure(model, files, args.batch_size, args.rounds, args.compile)
    print(table(rows))
    file = args.output / f"files-{args.seconds:g}s-b{args.batch_size}.json"
    write_rows(file, rows, seconds=args.seconds, files=args.files, rounds=args.rounds)
    print(file)


if __name__ == "__main__":
    main()
