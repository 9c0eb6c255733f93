"""`fastast demo`: a page to try a model on; or, with clips, their labels and a timing in the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .classify import print_results
from .recordings import list_files
from .tables import format_table

if TYPE_CHECKING:
    import numpy as np

R_VALUES = (0, 8, 20)
CLIPS_PER_BATCH = 16
ROUNDS = 7


def add_parser(commands: Any) -> None:
    """Add `demo` to the commands."""
    parser = commands.add_parser(
        "demo",
        help="open a page in the browser to try a model",
        description="Without clips: open a page in the browser to try a model on your own sounds (needs gradio). With "
        "clips: label them with the bundled checkpoint, and time it.",
    )
    parser.add_argument("paths", nargs="*", metavar="FILE|FOLDER", help="sounds to label and time")
    parser.add_argument(
        "--model", metavar="ID", help="checkpoint for the page: folder or Hub id (default: the bundled checkpoint)"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="port of the page (default: the first free one from 7860)"
    )
    parser.set_defaults(run=run)


def open_page(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from ..demo.app import open_demo

    if args.port is not None and not 0 < args.port < 65536:
        raise ValueError(f"--port is {args.port}: give one from 1 to 65535")
    try:
        open_demo(args.model, args.port)
    except OSError as error:
        if "empty port" not in str(error):
            raise
        raise OSError(f"--port is {args.port}, and something else answers there: give another one") from error
    return 0


def run(args: argparse.Namespace) -> int:
    """Label the clips, then time the model at a few values of `tome_r` on the first of them."""
    if not args.paths:
        return open_page(args)
    if args.model is not None or args.port is not None:
        raise ValueError("--model and --port are of the page: leave them out, or the clips")
    from ..audio import AudioError, load_audio
    from ..benchmarking.inference import quick_speedups
    from ..tagging.tagger import Tagger

    files, failed = list_files(args.paths, "demo")
    if not files:
        return 2
    tagger = Tagger(top_k=3)
    results = tagger(files, on_error="return")
    failed = print_results(tagger, files, results, failed, command="demo")

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
    print(f"\nmedians of {ROUNDS} rounds; a speed-up is the median of the ratios within a round")
    return 2 if failed else 0
