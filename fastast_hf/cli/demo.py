"""`fastast demo`: label a folder of clips with the bundled checkpoint, and time it beside stock AST."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import classify
from .tables import format_table

if TYPE_CHECKING:
    import numpy as np

R_VALUES = (0, 8, 20)
CLIPS_PER_BATCH = 16
ROUNDS = 7


def add_parser(commands: Any) -> None:
    """Add `demo` to the commands."""
    parser = commands.add_parser("demo", help="label clips with the bundled checkpoint, and time it beside stock AST")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER", help="clips, best of about a second")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Label the clips, then time the model at a few values of `tome_r` on the first of them."""
    from ..audio import AudioError, load_audio
    from ..benchmarking import quick_speedups
    from ..tagging import Tagger

    files, failed = classify.list_files(args.paths)
    if not files:
        return 2
    tagger = Tagger(top_k=3)
    results = tagger(files, on_error="return")
    failed = classify.print_errors(results) or failed
    classify.print_table(tagger, files, results)

    clips: list[np.ndarray] = []
    for file, result in zip(files, results, strict=True):
        if not isinstance(result, AudioError) and len(clips) < CLIPS_PER_BATCH:
            clips.append(load_audio(file, tagger.feature_extractor.sampling_rate))
    if not clips:
        return 2
    lines = quick_speedups(tagger.model, tagger.features(clips).input_values, R_VALUES, rounds=ROUNDS)
    rows = [
        [
            "stock AST" if line.tome_r is None else f"FastAST, tome_r={line.tome_r}",
            str(line.tokens_left),
            f"{line.ms_per_clip:.1f}",
            f"{line.speedup:.2f}×",
        ]
        for line in lines
    ]
    count = f"{len(clips)} clip" + ("s" if len(clips) > 1 else "")
    print(f"\nThe model alone, {count} at once, measured now on {tagger.device.type}:\n")
    print(format_table(["model", "tokens left", "ms per clip", "speed-up"], rows, align="lrrr"))
    return 2 if failed else 0
