"""Time recordings and live sound on the CPU: stock AST on windows, the Tagger's timeline, and live streams.

    python benchmarks/long_sound.py              # about 5 minutes on two cores
    python benchmarks/long_sound.py --whole 3600 # and a whole hour by preset fast: 5 minutes more

Hours of recording per minute of computing, AST-base with random weights: transformers' pipeline on windows one by one,
and `Tagger.timeline` with each preset, at a hop of a whole window and of a quarter. Each way scores a few windows a
round, which stand for a recording of any length: a window more is a hop of recording more. The pipeline takes as long
whatever the hop, and is timed once. Rounds are interleaved, and a speed-up is the median of the ratios to the pipeline
within a round. A whole recording is streamed, scored in the tagger's own batches, and timed once; its speed-up is over
the pipeline's windows of the rounds before.

Live: sound comes in as fast as it sounds, in blocks of 20 ms at 48 kHz, and windows of 1 s are scored every 0.1 s by
AST-base and by the bundled checkpoints. Above a real-time factor of 1, hops are skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from end_to_end import CPU, RATE, pipeline_of
from random_models import random_ast
from writing import write_rows

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.benchmarking.candidates import stock_ast
from fastast_hf.benchmarking.rounds import check_at_least, interleaved_rounds, timed
from fastast_hf.cli.listen import paced
from fastast_hf.cli.tables import format_table
from fastast_hf.loading.bundled import BUNDLED

RESULTS = Path(__file__).parent / "results" / "long-sound"
PRESETS = ("exact", "balanced", "fast")
STOCK = "pipeline, stock AST"
LIVE_RATE, LIVE_WINDOW, LIVE_HOP = 48000, 1.0, 0.1


@dataclass(frozen=True)
class Row:
    """One way through a recording: hours of it per minute of computing, and how many times the pipeline's."""

    way: str
    window: float
    hop: float
    hours_per_minute: float
    speedup: float


@dataclass(frozen=True)
class LiveRow:
    """One model on live sound: seconds of computing per second of sound, latency, and what was skipped."""

    model: str
    preset: str
    window: float
    hop: float
    real_time_factor: float
    latency_ms: float
    latency_p95_ms: float
    results: int
    skipped: int


def noise(seconds: float, rate: int) -> np.ndarray:
    """Noise that comes and goes."""
    time = np.arange(round(seconds * rate)) / rate
    loudness = 0.1 + 0.1 * np.sin(5 * time)
    return (loudness * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


def tagger_of(model: Any, preset: str) -> Tagger:
    """All labels, on the CPU."""
    extractor = FastASTFeatureExtractor(max_length=model.config.max_length) if not isinstance(model, str) else None
    return Tagger(model, preset=preset, top_k=None, device="cpu", feature_extractor=extractor)


def measure(model: FastASTForAudioClassification, window: float, count: int, rounds: int) -> list[Row]:
    """Time `count` windows by all ways."""
    window = min(window, FastASTFeatureExtractor().samples_of(model.config.max_length) / RATE)
    pipe = pipeline_of(stock_ast(model), model.config.max_length)
    parts = np.split(noise(count * window, RATE)[: count * round(window * RATE)], count)
    ways: list[tuple[str, float, Any]] = [
        (STOCK, window, lambda: [pipe({"array": part, "sampling_rate": RATE}) for part in parts])
    ]
    for preset in PRESETS:
        tagger = tagger_of(model, preset)
        for hop in (window, window / 4):
            sound = noise(window + (count - 1) * hop, RATE)
            ways.append((f"timeline, {preset}", hop, partial(all_of, tagger, sound, window, hop)))
    runs = [partial(timed, run, CPU) for _, _, run in ways]
    times = np.array([[seconds for seconds, _ in results] for results in interleaved_rounds(runs, rounds, warm_up=1)])
    ways.insert(1, (STOCK, window / 4, None))
    times = np.insert(times, 1, times[:, 0], axis=1)
    rows = []
    for (way, hop, _), own in zip(ways, times.T, strict=True):
        hours = count * hop / 3600 / (float(np.median(own)) / 60)
        rows.append(Row(way, round(window, 3), round(hop, 4), hours, float(np.median(times[:, 0] / own))))
    return sorted(rows, key=lambda row: -row.hop)


def all_of(tagger: Tagger, sound: np.ndarray, window: float, hop: float) -> list[Any]:
    """The moments of a recording."""
    return list(tagger.timeline((sound, RATE), window, hop))


def measure_whole(model: FastASTForAudioClassification, stock: Row, seconds: int) -> Row:
    """Time preset `fast` on a whole recording, in the windows that the pipeline had."""
    second = noise(1, RATE)
    timeline = tagger_of(model, "fast").timeline(((second for _ in range(seconds)), RATE), stock.window)
    taken, _ = timed(lambda: sum(1 for _ in timeline), CPU)
    hours = seconds / 3600 / (taken / 60)
    way = f"timeline, fast, {seconds} s"
    return Row(way, stock.window, stock.hop, hours, hours / stock.hours_per_minute)


def measure_live(name: str, model: Any, preset: str, seconds: float) -> LiveRow:
    """Listen for some seconds, after a first window that does not count."""
    tagger = tagger_of(model, preset)
    list(tagger.timeline((noise(LIVE_WINDOW, RATE), RATE), LIVE_WINDOW))
    blocks = paced([noise(LIVE_WINDOW + seconds, LIVE_RATE)], LIVE_RATE)
    stream = tagger.listen(blocks, LIVE_RATE, LIVE_WINDOW, LIVE_HOP, skip=True)
    results = sum(1 for _ in stream)
    p50, p95 = (1000 * stream.latency(percent) for percent in (50, 95))
    factor = stream.real_time_factor()
    return LiveRow(name, preset, LIVE_WINDOW, LIVE_HOP, factor, p50, p95, results, stream.skipped)


def table(rows: Sequence[Row]) -> str:
    """A line per way."""
    lines = [
        [row.way, f"{row.window:g}", f"{row.hop:g}", f"{row.hours_per_minute:.3f}", f"{row.speedup:.2f}×"]
        for row in rows
    ]
    return format_table(["recordings", "window, s", "hop, s", "hours per minute", "speed-up"], lines)


def live_table(rows: Sequence[LiveRow]) -> str:
    """A line per model."""
    lines = [
        [
            row.model,
            row.preset,
            f"{row.real_time_factor:.2f}",
            f"{row.latency_ms:.0f}",
            f"{row.latency_p95_ms:.0f}",
            str(row.results),
            str(row.skipped),
        ]
        for row in rows
    ]
    header = ["live", "preset", "real-time factor", "latency, ms", "p95", "results", "skipped"]
    return format_table(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--window", type=float, nargs="+", default=[2.0, 5.0, 10.24], metavar="S", help="(default: 2 5 10.24)"
    )
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="in a round (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="after a warm-up (default: 3)")
    parser.add_argument(
        "--whole", type=int, metavar="S", help="also time preset fast on a recording of so many seconds"
    )
    parser.add_argument("--live-seconds", type=int, default=8, metavar="S", help="of each model (default: 8)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its choice)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    threads = {} if args.threads is None else {"threads": args.threads}
    try:
        counts = {"windows": args.windows, "rounds": args.rounds, "live-seconds": args.live_seconds}
        check_at_least(1, **counts, **({} if args.whole is None else {"whole": args.whole}), **threads)
    except ValueError as error:
        parser.error(str(error))
    if not all(0.025 <= window <= 60 for window in args.window):
        parser.error("window is in seconds: give 0.025 to 60")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    model = random_ast()
    rows = [row for window in args.window for row in measure(model, window, args.windows, args.rounds)]
    if args.whole:
        of_pipeline = [row for row in rows if row.way == STOCK and row.hop > row.window / 2]
        rows += [measure_whole(model, row, args.whole) for row in of_pipeline]
    print(table(rows), end="\n\n", flush=True)
    write_rows(args.output / "recordings.json", rows, windows=args.windows, rounds=args.rounds)
    models = [("ast-base-random", model), *((name, name) for name in BUNDLED)]
    live = [measure_live(name, each, preset, args.live_seconds) for name, each in models for preset in PRESETS]
    print(live_table(live))
    write_rows(args.output / "live.json", live, seconds=args.live_seconds)
    print(args.output)


if __name__ == "__main__":
    main()
