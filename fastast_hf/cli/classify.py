"""`fastast classify`: files and folders to labels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ..tagging.parquet import Row, label_rows, labels_schema
from ..tagging.processes import Processes
from ..tagging.results_file import json_line
from . import events
from .cluster import add_engine_options, place, run_on_ray, uses_cluster
from .options import DTYPES, PRESETS, add_merging_options
from .recordings import count, describe_merging, list_files, make_tagger, print_errors, sources_of
from .tables import format_table
from .to_file import Results, run_to_file

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
    parser.add_argument("--top-k", type=int, metavar="N", help="labels for each file (default: 3)")
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
        type=place,
        metavar="FILE",
        help="write results to a .csv, .jsonl or .parquet file; events also to .txt (Audacity), .selections.txt "
        "(Raven), .rttm or .vtt, or to a folder; with --engine ray, to a folder or address",
    )
    parser.add_argument(
        "--all-scores", action="store_true", help="with --output: a column for the score of each class instead"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the file of --output: label what it lacks")
    events.add_event_options(parser)
    add_engine_options(parser)
    parser.set_defaults(run=run)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read, by which model, and how it computes."""
    parser.add_argument("paths", nargs="+", metavar="FILE|FOLDER", help="sounds, folders, or - for a sound on stdin")
    add_tagger_options(parser)
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="clips at once (default: 8)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads that read files (default: one per core, up to 8)"
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
        help="give labels with this score or more alone, perhaps none; auto: the checkpoint's own threshold per label "
        "(default: no threshold for labels, 0.5 for events)",
    )


def number_or_auto(text: str) -> float | str:
    """What `--threshold` takes."""
    return text if text == "auto" else float(text)


number_or_auto.__name__ = "score"  # in argparse's "invalid score value"


def run(args: argparse.Namespace) -> int:
    """Label what was given; 2 if anything in it could not be used, though the rest is still labelled."""
    on_cluster = uses_cluster(args)
    of_events = events.are_asked_for(args)
    if of_events and (args.top_k or args.pool or args.all_scores):
        raise ValueError(
            "--top-k, --pool and --all-scores are of labels; events are chosen by --threshold: leave them out"
        )
    if args.all_scores and (args.output is None or args.top_k is not None or args.threshold is not None):
        raise ValueError("--all-scores writes every score to --output: give that, and no --top-k or --threshold")
    args.top_k = 3 if args.top_k is None else args.top_k
    if args.top_k < 1:
        raise ValueError(f"--top-k is {args.top_k}: give 1 or more")
    wanted = events.Events(args) if of_events else Labels(args)
    if on_cluster:
        return run_on_ray(wanted)
    if args.output is not None:
        return run_to_file(wanted)
    if args.resume:
        raise ValueError("--resume goes on with a file of results: give it with -o")
    if Processes().count > 1:
        raise ValueError("several processes write their results to a file: give one with -o")
    files, failed = list_files(args.paths)
    wanted.check(files)
    if not files:
        return 2
    tagger = make_tagger(args)
    wanted.start(tagger)
    results: list[Any] = []
    try:
        for file, result in zip(files, wanted.of(files), strict=True):
            if args.json:
                print(json_line(str(file), result), flush=True)
            results.append([] if args.json and isinstance(result, list) else result)
    finally:  # Ctrl-C or a want of memory does not lose what is labelled
        failed = print_results(tagger, files, results, failed, table=not args.json)
    return 2 if failed else 0


class Labels(Results):
    """The best labels of each recording, or the scores of all classes."""

    def start(self, tagger: Tagger) -> None:
        """Take the tagger.

        Raises:
            ValueError: Two columns would have one name.
        """
        super().start(tagger)
        self.columns = min(self.args.top_k, tagger.model.config.num_labels)
        if self.args.all_scores:
            from ..loading.checkpoint import labels_in_order

            self.settings = {"all_scores": True}
            self.columns, tagger.top_k = labels_in_order(tagger.model.config), None
            names = ["file", "error", *self.columns]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two columns would be called {twice[0]!r}: leave out --all-scores")

    def of(self, files: Sequence[Any], progress: bool | None = None) -> Iterator[Any]:
        """Of each file, as an [`Appender`] takes it."""
        settings: dict[str, Any] = {"progress": progress, "workers": self.args.workers}
        for result in self.tagger.stream(sources_of(files), on_error="return", **settings):
            if self.args.all_scores and isinstance(result, list):
                yield {"scores": {label["label"]: label["score"] for label in result}}
            else:
                yield result

    def schema(self) -> Any:
        """Of a csv's columns."""
        return labels_schema(self.columns)

    def rows(self, line: Row) -> Iterator[Row]:
        """One for each file."""
        return label_rows(line)


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
    counts = count(len(results) - errors, failed, without=results.count([]) if table else 0)
    if table:
        found = [result for result in results if isinstance(result, dict)]
        shown = events.event_table(files, results) if found else label_table(files, results)
        if shown:
            print(shown + "\n")
        heard = f"{counted(sum(len(result['events']) for result in found), 'event')}, " if found else ""
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
