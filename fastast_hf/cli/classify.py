"""`fastast classify`: files and folders to labels."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tables import format_table

if TYPE_CHECKING:
    from ..tagging import Tagger


def add_parser(commands: Any) -> None:
    """Add `classify` to the commands."""
    parser = commands.add_parser("classify", help="label audio files, or all audio in folders")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("--model", help="AST or FastAST checkpoint: folder or Hub id (default: the bundled one)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--r", type=int, metavar="N", help="tokens to merge in each layer (default: the checkpoint's)")
    amount.add_argument("--speedup", type=float, metavar="X", help="merge enough for 1/X of the arithmetic")
    parser.add_argument(
        "--schedule", choices=("constant", "decreasing", "increasing"), help="how r spreads over layers"
    )
    parser.add_argument("--top-k", type=int, default=3, metavar="K", help="labels for each file (default: 3)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="clips at once (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU where there is one)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--native-length", action="store_true", help="do not pad short clips: faster, less exact")
    parser.add_argument("--json", action="store_true", help="print a JSON object per file, one on a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Label what was given; 2 if anything in it could not be used, though the rest is still labelled."""
    from ..audio import AudioError
    from ..tagging import Tagger

    files, failed = list_files(args.paths)
    if not files:
        return 2
    tagger = Tagger(
        args.model,
        tome_r=args.r,
        tome_schedule=args.schedule,
        top_k=args.top_k,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        native_length=args.native_length,
    )
    if args.speedup is not None:
        from ..complexity import solve_tome_r

        tagger.model.set_tome_r(solve_tome_r(tagger.model.config, args.speedup))

    results: list[Any] = []
    try:
        for file, result in zip(files, tagger.stream(files, on_error="return"), strict=True):
            results.append(result)
            if args.json and not isinstance(result, AudioError):
                # In ASCII, so that it parses whatever the file's name and the terminal's encoding are.
                print(json.dumps({"file": str(file), "labels": result}), flush=True)
    finally:  # Ctrl-C or a want of memory does not lose what is labelled
        failed = print_errors(results) or failed
        if not args.json:
            print_table(tagger, files[: len(results)], results)
    return 2 if failed else 0


def list_files(paths: list[Path]) -> tuple[list[Path], bool]:
    """The audio files in `paths`, and whether one of the paths was a folder without any, which is then reported."""
    from ..audio import AudioError, find_audio_files

    files: list[Path] = []
    failed = False
    for path in paths:
        try:
            files += find_audio_files([path])
        except AudioError as error:
            print(f"fastast: {error}", file=sys.stderr)
            failed = True
    return files, failed


def print_errors(results: list[Any]) -> bool:
    """Report each recording that could not be used, a line each; whether there was one."""
    errors = [result for result in results if isinstance(result, Exception)]
    for error in errors:
        print(f"fastast: {error}", file=sys.stderr)
    return bool(errors)


def print_table(tagger: Tagger, files: list[Path], results: list[Any]) -> None:
    """A row per file, and a line on the model and how much it merged."""
    rows = [
        [str(file), *(f"{label['label']} {label['score']:.3f}" for label in result)]
        for file, result in zip(files, results, strict=True)
        if isinstance(result, list)
    ]
    if not rows:
        return
    places = ["1st", "2nd", "3rd", *(f"{k}th" for k in range(4, len(rows[0])))]
    print(format_table(["file", *places[: len(rows[0]) - 1]], rows))
    schedule = tagger.model.token_schedule()
    config = tagger.model.config
    count = f"{len(rows)} file" + ("s" if len(rows) > 1 else "")
    of_longest = " (of clips that fill the model's input)" if tagger.native_length else ""
    tokens = f"{schedule[0]} tokens enter the first layer, {schedule[-1]} the last{of_longest}"
    print(f"\n{count}, tome_r={config.tome_r}: {tokens}")
