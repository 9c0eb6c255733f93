"""`fastast classify`: files and folders to labels."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tagging.parquet import SUFFIX, check_parquet, journal_of, label_rows, labels_schema, write_parquet
from ..tagging.processes import Processes
from ..tagging.results_file import Appender, Output, json_line
from ..tagging.score_settings import check_same, score_settings
from . import events
from .options import DTYPES, PRESETS, add_merging_options, one_or_list
from .tables import format_table

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger

ACTIVATIONS = ("auto", "softmax", "sigmoid")  # of fastast_hf.tagging.activation
POOLS = ("mean", "max", "top3")  # of fastast_hf.tagging.pooling


def add_parser(commands: Any) -> None:
    """Add `classify` to the commands."""
    parser = commands.add_parser(
        "classify",
        help="label audio files, or all audio in folders",
        description="Label audio files, and all audio in folders: wav, flac, mp3, ogg and whatever else libsndfile "
        "reads.",
    )
    add_model_options(parser)
    parser.add_argument("--top-k", type=int, metavar="K", help="labels for each file (default: 3)")
    parser.add_argument(
        "--pool",
        choices=POOLS,
        help="a long recording's scores: the mean over its windows (default, unless the checkpoint says otherwise), a "
        "label's highest, or the mean of its three highest",
    )
    add_score_options(parser)
    result = parser.add_mutually_exclusive_group()
    result.add_argument("--json", action="store_true", help="print one JSON object per file")
    result.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write results to a .csv, .jsonl or .parquet file; events also to .txt (Audacity), .selections.txt "
        "(Raven), .rttm or .vtt, or to a folder",
    )
    parser.add_argument(
        "--all-scores", action="store_true", help="with --output: a column for the score of each class instead"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the file of --output: label what it lacks")
    events.add_event_options(parser)
    parser.set_defaults(run=run)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read, by which model, and how it computes."""
    parser.add_argument("paths", nargs="+", metavar="FILE|FOLDER", help="sounds, folders, or - for a sound on stdin")
    add_tagger_options(parser)
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="clips at once (default: 8)")
    parser.add_argument(
        "--workers", type=int, metavar="W", help="threads that read files (default: one per core, up to 8)"
    )


def add_tagger_options(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, how much it merges, and where and how it computes."""
    parser.add_argument(
        "--model",
        metavar="ID",
        help="checkpoint (folder or Hub id) or file of fastast export (default: the bundled checkpoint)",
    )
    amount = parser.add_mutually_exclusive_group()
    add_merging_options(parser, amount)
    amount.add_argument(
        "--speedup", type=float, metavar="X", help="merge as many tokens as 1/X of the arithmetic needs"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU where there is one)")
    parser.add_argument(
        "--preset",
        default="exact",
        choices=PRESETS,
        help="exact (default): float32; balanced: half precision and half of the tokens merged; fast: int8, four of "
        "five tokens merged, and short clips not padded. A checkpoint that merges keeps its own r",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="instead of the preset's (int8: on a CPU)")
    parser.add_argument(
        "--native-length",
        action=argparse.BooleanOptionalAction,
        help="do not pad short clips: faster, less exact (default: the preset's)",
    )


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Add what makes scores of logits, and which count."""
    parser.add_argument(
        "--activation",
        default="auto",
        choices=ACTIVATIONS,
        help="what makes scores of logits (default: by the checkpoint's problem_type; sigmoid for AudioSet's labels)",
    )
    parser.add_argument(
        "--threshold",
        type=number_or_auto,
        metavar="S",
        help="give labels with this score or more alone, perhaps none; auto: the checkpoint's own threshold per label",
    )


def number_or_auto(text: str) -> float | str:
    """What `--threshold` takes."""
    return text if text == "auto" else float(text)


number_or_auto.__name__ = "score"  # in argparse's "invalid score value"


def run(args: argparse.Namespace) -> int:
    """Label what was given; 2 if anything in it could not be used, though the rest is still labelled."""
    args.events = events.are_asked_for(args)
    if args.events and (args.top_k or args.pool or args.all_scores):
        raise ValueError(
            "--top-k, --pool and --all-scores are of labels; events are chosen by --threshold: leave them out"
        )
    if args.all_scores and (args.output is None or args.top_k is not None or args.threshold is not None):
        raise ValueError("--all-scores writes every score to --output: give that, and no --top-k or --threshold")
    args.top_k = 3 if args.top_k is None else args.top_k
    if args.top_k < 1:
        raise ValueError(f"--top-k is {args.top_k}: give 1 or more")
    if args.output is not None:
        return run_to_file(args, LabelFile)
    if args.resume:
        raise ValueError("--resume goes on with a file of results: give it with -o")
    if Processes().count > 1:
        raise ValueError("several processes write their results to a file: give one with -o")
    files, failed = list_files(args.paths)
    if args.events:
        events.plan_files(args, files)
    if not files:
        return 2
    tagger = make_tagger(args)
    results: list[Any] = []
    try:
        for file, result in zip(files, stream(tagger, files, args), strict=True):
            if args.json:
                print(json_line(str(file), result), flush=True)
            results.append([] if args.json and isinstance(result, list) else result)
    finally:  # Ctrl-C or a want of memory does not lose what is labelled
        failed = print_results(tagger, files, results, failed, table=not args.json)
    return 2 if failed else 0


class LabelFile:
    """What `run_to_file` writes: labels, or the scores of all classes.

    Attributes:
        settings: What the rows depend on, besides the tagger's scores.
        columns: As of [`Appender`].
        rows: A line of JSON to the rows of a parquet file.

    Raises:
        ValueError: Two columns would have one name.
    """

    done, rows = "labelled", staticmethod(label_rows)

    def __init__(self, args: argparse.Namespace, tagger: Tagger) -> None:
        self.args, self.tagger = args, tagger
        self.settings = {"all_scores": True} if args.all_scores else {}
        self.columns: int | list[str] = min(args.top_k, tagger.model.config.num_labels)
        if args.all_scores:
            from ..loading.checkpoint import labels_in_order

            self.columns, tagger.top_k = labels_in_order(tagger.model.config), None
            names = ["file", "error", *self.columns]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two columns would be called {twice[0]!r}: leave out --all-scores")

    def results(self, files: list[Path], progress: bool | None) -> Iterator[Any]:
        """Of each file, as an [`Appender`] takes it."""
        for result in stream(self.tagger, files, self.args, progress):
            if self.args.all_scores and isinstance(result, list):
                yield {"scores": {label["label"]: label["score"] for label in result}}
            else:
                yield result

    def schema(self) -> Any:
        """Of a parquet file."""
        return labels_schema(self.columns)


def run_to_file(args: argparse.Namespace, kind: Any) -> int:
    """Work on what was given and is not in the output file yet, in all processes that there are.

    Args:
        args: Of the command.
        kind: What is written: a class such as [`LabelFile`].
    """
    journal = events.journal_of(args.output) if args.events else journal_of(args.output)
    with Processes() as processes, Output(journal) as output:
        files, failed = processes.of_first(partial(plan, args, output))
        if not files:
            return 2
        if args.device in (None, "cuda") and not runs_on_cpu(args):
            args.device = processes.device() or args.device
        tagger = make_tagger(args)
        written = kind(args, tagger)
        settings = score_settings(tagger, args.model) | (events.settings_of(args) if args.events else written.settings)
        check_same(processes.gather(settings))
        todo = processes.of_first(partial(begin, args, output, settings, files))
        # Every process takes the next file in turn, so that recordings of all lengths are spread evenly.
        own = todo[processes.rank :: processes.count]
        errors: list[Any] = []
        try:
            if todo:
                path = output.path if processes.count == 1 else output.part(processes.rank)
                with Appender(path, output.path.suffix, written.columns) as appender:
                    shown = None if processes.rank == 0 else False
                    for file, result in zip(own, written.results(own, shown), strict=True):
                        appender.add(str(file), result)
                        if error_of(result):
                            errors.append(result)
        finally:
            print_errors(errors, args.command)
            if args.events and processes.count == 1 and output.path.exists():
                events.write_files(args)
        added = sum(processes.gather(len(own) - len(errors)))
        if processes.rank == 0:
            made, failed_files = output.merge(list(map(str, files)))
            failed += failed_files
            if args.events:
                events.write_files(args)  # in the order of the files
            elif args.output.suffix == SUFFIX:
                write_parquet(args.output, written.schema(), written.rows)
            counts = count(made, failed, made - added, kind.done)
            print(f"{args.output}: {counts}{describe_merging(tagger, made)}")
        # A launcher ends all processes once one has ended with 2, and the file is not whole before.
        failed = processes.gather(failed)[0]
    return 2 if failed else 0


def plan(args: argparse.Namespace, output: Output) -> tuple[list[Path], int]:
    """All files once, and how much of what was given can't be listed; before a model is loaded for nothing."""
    found, failed = list_files(args.paths, args.command)
    if args.events:
        events.plan_files(args, found)
    else:
        check_parquet(args.output, args.resume)
    if found:
        output.open(args.resume)
    return list(dict.fromkeys(found)), failed


def begin(args: argparse.Namespace, output: Output, settings: dict[str, Any], files: list[Path]) -> list[Path]:
    """The files that have no labels yet."""
    here = args.model is not None and Path(args.model).exists()
    model = str(Path(args.model).resolve()) if here else args.model
    done = output.begin({"model": model, **settings}, args.resume)
    return [file for file in files if str(file) not in done]


def runs_on_cpu(args: argparse.Namespace) -> bool:
    """Whether what is asked for runs on the CPU alone."""
    from ..onnx.runtime import is_onnx_file

    return is_onnx_file(args.model) or args.dtype == "int8"


def make_tagger(args: argparse.Namespace) -> Tagger:
    """With the model and merging that the arguments ask for."""
    from ..tagging.tagger import Tagger

    tagger = Tagger(
        args.model,
        tome_r=one_or_list(args.r) if args.speedup is None else 0,
        tome_schedule=args.schedule,
        top_k=args.top_k,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        native_length=args.native_length,
        preset=args.preset,
        activation=args.activation,
        threshold=args.threshold,
        pool=args.pool,
    )
    if args.events:
        events.check(args, tagger)
    if args.speedup is not None:
        from ..merging.complexity import solve_tome_r

        frames = tagger.feature_extractor.max_length
        tagger.model.set_tome_r(solve_tome_r(tagger.model.config, args.speedup, num_frames=frames))
    return tagger


def stream(tagger: Tagger, files: list[Path], args: argparse.Namespace, progress: bool | None = None) -> Iterator[Any]:
    """Labels, or events, or the error of each file."""
    if args.events:
        return events.events_of(tagger, sources_of(files), args)
    return tagger.stream(sources_of(files), on_error="return", progress=progress, workers=args.workers)


def sources_of(files: list[Path]) -> list[Any]:
    """What a tagger takes; `-` is a sound on stdin."""
    return [{"bytes": sys.stdin.buffer, "path": "-"} if str(file) in ("-", "/dev/stdin") else file for file in files]


def list_files(paths: list[str], command: str = "classify") -> tuple[list[Path], int]:
    """The audio files in `paths`, and how many folders can't be listed; these and what is left out are reported."""
    from ..audio import find_audio

    found = find_audio([file for path in paths for file in matching(path)])
    for line in (*found.errors, found.describe_left_out()):
        if line:
            print(f"fastast {command}: {line}", file=sys.stderr)
    return found.files, len(found.errors)


def matching(path: str) -> list[str]:
    """The files of a pattern that the shell has left as it was; the path itself where it is one."""
    return [path] if os.path.lexists(path) else sorted(glob(path, recursive=True)) or [path]  # noqa: PTH207 - Path has none of absolute ones


def print_errors(results: list[Any], command: str = "classify") -> int:
    """Report each recording that could not be used, a line each; how many there were."""
    errors = [error for error in map(error_of, results) if error]
    for error in errors:
        print(f"fastast {command}: {error}", file=sys.stderr)
    return len(errors)


def error_of(result: Any) -> str:
    """Why a recording could not be used, or not to its end; empty if it could."""
    if isinstance(result, Exception):
        return str(result)
    return str(result.get("error", "")) if isinstance(result, dict) else ""


def print_results(
    tagger: Tagger,
    files: list[Path],
    results: list[Any],
    failed: int = 0,
    table: bool = True,
    command: str = "classify",
) -> int:
    """Print a row per file, and how many were labelled and failed; `failed` before, how many in all is returned."""
    errors = print_errors(results, command)
    failed += errors
    if not results:
        return failed
    counts = count(len(results) - errors, failed)
    if table:
        found = [result for result in results if isinstance(result, dict)]
        shown = events.event_table(files, results) if found else label_table(files, results)
        if shown:
            print(shown + "\n")
        heard = f"{sum(len(result['events']) for result in found)} events, " if found else ""
        print(f"{heard}{counts}{describe_merging(tagger, len(results) - errors)}")
    elif failed:
        print(f"fastast {command}: {counts}", file=sys.stderr)
    return failed


def label_table(files: list[Path], results: list[Any]) -> str:
    """A row for each labelled file; empty where there are none."""
    rows = [
        [str(file), *(f"{label['label']} {label['score']:.3f}" for label in result)]
        for file, result in zip(files, results, strict=False)
        if isinstance(result, list)
    ]
    if not rows:
        return ""
    most = max(map(len, rows))  # with a threshold, not all have as many
    places = ["1st", "2nd", "3rd", *(f"{k}th" for k in range(4, most))]
    return format_table(["file", *places[: most - 1]], [row + [""] * (most - len(row)) for row in rows])


def count(labelled: int, failed: int, before: int = 0, done: str = "labelled") -> str:
    """How many files were labelled (or what `done` says), now or by an earlier run, and how many could not be.

    Example:
        >>> count(3, 2)
        '3 labelled, 2 failed'
    """
    return (
        f"{labelled} {done}"
        + (f", {before} of them before" if before else "")
        + (f", {failed} failed" if failed else "")
    )


def describe_merging(tagger: Tagger, labelled: int) -> str:
    """How much the model merged; nothing where nothing was labelled."""
    if not labelled:
        return ""
    merges, config = tagger.merges(), tagger.model.config
    tokens = tagger.model.token_schedule(tagger.feature_extractor.max_length, merges)
    of_longest = " (of clips that fill the model's input)" if tagger.native_length else ""
    by_preset = merges != config.merges_per_layer()
    r = f"tome_r={merges} by the preset" if by_preset else f"tome_r={config.tome_r}"
    dtype = "" if tagger.dtype_name == "float32" else f", in {tagger.dtype_name}"
    return f"; {r}: {tokens[0]} tokens enter the first layer, {tokens[-1]} the last{of_longest}{dtype}"
