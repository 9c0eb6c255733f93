"""`fastast tune`: the fastest way to run a checkpoint on your sound and machine that still says the same."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import DTYPES
from .tables import format_table

if TYPE_CHECKING:
    from ..tuning.runs import Candidate
    from ..tuning.tune import Tuned


def add_parser(commands: Any) -> None:
    """Add `tune` to the commands."""
    parser = commands.add_parser(
        "tune",
        help="find the fastest settings that keep a checkpoint's labels, on your sound and machine",
        description="Find how many tokens each layer should merge, in which dtype, length and batch size, so that the "
        "scores stay close to the unmerged model's. No labels are needed. It searches on one half of the clips, "
        "reports on the other, and writes a checkpoint. Ctrl-C ends the search and keeps the best so far. Run the "
        "command again to resume.",
    )
    parser.add_argument("paths", nargs="+", metavar="RECORDINGS", help="sounds and folders like those to be labelled")
    parser.add_argument("--model", metavar="ID", help="checkpoint: folder or Hub id (default: the bundled one)")
    wish = parser.add_mutually_exclusive_group(required=True)
    wish.add_argument("--speedup", type=float, metavar="X", help="be X times as fast, and stay as close as possible")
    wish.add_argument(
        "--max-change", type=share, metavar="P%", help="be as fast as possible while P %% of first labels change"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the checkpoint")
    parser.add_argument("--device", help="cpu, cuda … (default: a GPU where there is one)")
    parser.add_argument(
        "--dtype", nargs="+", choices=DTYPES, help="dtypes to try (default: all that the device is fast in)"
    )
    parser.add_argument("--clips", type=int, default=128, metavar="N", help="clips to tune on (default: 128)")
    parser.add_argument("--trials", type=int, default=60, metavar="N", help="lists of merges to try (default: 60)")
    parser.add_argument(
        "--minutes", type=float, default=6, metavar="M", help="search for so many at most (default: 6)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of timing (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of clips and search (default: 0)")
    labels = parser.add_argument_group("labels, to report accuracy or mAP as well")
    kinds = ("esc50", "speech_commands", "audioset", "audiofolder", "csv", "datasets")
    labels.add_argument("--corpus", choices=kinds, help="RECORDINGS is one corpus of this kind")
    labels.add_argument("--split", help="of the corpus (default: test)")
    labels.add_argument("--fold", metavar="N", help="the fold whose test clips to take")
    labels.add_argument("--classes", type=int, choices=(12, 35), help="Speech Commands: how many (default: 35)")
    parser.set_defaults(run=run)


def share(text: str) -> float:
    """A percentage such as 1%, or a share such as 0.01."""
    return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)


share.__name__ = "percentage"  # in argparse's "invalid percentage value"


def run(args: argparse.Namespace) -> int:
    """Search, measure, print and write; 130 after Ctrl-C, as shells have it."""
    from ..errors import left_out_if_missing
    from ..loading.bundled import DEFAULT
    from ..loading.places import check_output
    from ..tuning.picture import plot_frontier
    from ..tuning.records import TRIALS_FILE
    from ..tuning.tune import check_wishes, tune

    check_wishes(args.speedup, args.max_change, args.trials, args.rounds)
    check_output(args.output, "folder")
    there = {file.name for file in args.output.iterdir()} if args.output.is_dir() else set()
    if there and TRIALS_FILE not in there:
        raise ValueError(f"{args.output} holds something else already: give a new folder as --output")
    sources, targets = of_corpus(args) if args.corpus else (of_files(args.paths), None)
    tuned = tune(
        args.model or DEFAULT,
        sources,
        speedup=args.speedup,
        max_change=args.max_change,
        targets=targets,
        device=args.device,
        dtypes=args.dtype,
        most_clips=args.clips,
        trials=args.trials,
        minutes=args.minutes,
        rounds=args.rounds,
        seed=args.seed,
        folder=args.output,
    )
    tuned.save(args.output)
    print(report(tuned, args.speedup, args.max_change))
    with left_out_if_missing("the picture"):
        facts = tuned.facts
        title = f"{facts['model']}, {facts['clips'] - facts['searched_on']} clips, {facts['processor']}"
        plot_frontier(tuned.candidates, tuned.chosen, args.output / "tuning.png", title)
    print(f"written to {args.output}. To use it:\n\n{command(tuned, args.output)}")
    return 130 if tuned.interrupted else 0


def of_files(paths: list[str]) -> list[Any]:
    """The audio files; what can't be listed or is left out is told on stderr."""
    from .recordings import list_files

    return list(list_files(paths, "tune")[0])


def of_corpus(args: argparse.Namespace) -> tuple[list[Any], Any]:
    """Clips of a corpus with their labels, in the model's order."""
    from ..audio import AudioError, load_row
    from ..corpora import targets_of, with_label_order
    from ..loading.bundled import DEFAULT, bundled
    from ..loading.checkpoint import labels_in_order
    from ..model.configuration_fastast import FastASTConfig
    from ..training.finetuning import CorpusArguments

    if len(args.paths) > 1:
        raise ValueError(f"{len(args.paths)} RECORDINGS and a --corpus are given: give the one folder of the corpus")
    model = str(bundled(args.model or DEFAULT))
    settings = CorpusArguments(corpus=args.corpus, data=args.paths[0], fold=args.fold, classes=args.classes)
    folds = settings.folds()
    if len(folds) > 1:
        raise ValueError(f"fold is {args.fold!r}: give the one whose test clips the checkpoint has not seen")
    corpus = settings.load(folds[0], model)
    split = args.split or "test"
    if split not in corpus:
        raise ValueError(f"there is no split {split!r} in this corpus: give --split, one of {', '.join(corpus)}")
    config = FastASTConfig.from_pretrained(model)
    rows: Any = with_label_order(corpus, labels_in_order(config))[split]
    rows = rows.select(random.Random(args.seed).sample(range(len(rows)), min(len(rows), args.clips)))
    sources, read = [], []
    for index, row in enumerate(rows):
        try:
            sources.append((load_row(row, 16000), 16000))
            read.append(index)
        except AudioError as error:
            print(f"fastast tune: left out: {error}", file=sys.stderr)
    return sources, targets_of(rows)[read]


def report(tuned: Tuned, speedup: float | None, max_change: float | None) -> str:
    """The table of candidates, the choice, and what can be said of it."""
    facts, chosen = tuned.facts, tuned.chosen
    held_out = facts["clips"] - facts["searched_on"]
    scored = chosen.held_out.score is not None
    name = "mAP" if facts["activation"] == "sigmoid" else "accuracy"
    headers = ["", "merges", "dtype", "length", "MACs", "speed-up", "labels kept", "KL, nats", "moved most"]
    rows = [line(each, each is chosen) for each in tuned.candidates]
    told = [
        format_table(headers + [name] * scored, rows, align="llllrrrrr" + "r" * scored),
        "",
        f"{held_out} clips that no search has seen; {facts['searched_on']} others were searched on. In brackets: 95 % "
        "intervals, and of speed-ups the lowest and highest round.",
        "Speed-up: over the unmerged model in float32 with padded clips. * is chosen, by the clips searched on:",
        f"r = {','.join(map(str, chosen.merges))}; {chosen.dtype}; "
        f"{'native length' if chosen.native_length else 'padded'}; batches of {tuned.batch_size}.",
    ]
    if facts["unreadable"]:
        told.append(f"{facts['unreadable']} recordings could not be read, and are left out.")
    if speedup is not None and chosen.speedup < speedup:
        told.append(f"It is {chosen.speedup:.2f} times as fast, not {speedup:g}: nothing measured was faster.")
    if max_change is not None and 1 - chosen.held_out.kept > max_change:
        told.append(
            f"On the held-out clips {100 * (1 - chosen.held_out.kept):.1f} % of first labels change, more than the "
            f"{100 * max_change:g} % asked for: tune on more clips."
        )
    return "\n".join(told)


def line(each: Candidate, is_chosen: bool) -> list[str]:
    """A row of the table."""
    cost = each.held_out
    cells = [
        "*" if is_chosen else "",
        {"search": "searched", "unmerged": "none"}.get(each.found_by, each.found_by),
        each.dtype,
        "native" if each.native_length else "padded",
        f"{each.mac_ratio:.2f}×",
        f"{each.speedup:.2f}× ({each.speedup_range[0]:.2f} to {each.speedup_range[1]:.2f})",
        percent(cost.kept, cost.kept_interval),
        f"{cost.kl:.2g} ({cost.kl_interval[0]:.2g} to {cost.kl_interval[1]:.2g})",
        f"{cost.moved:.2f} ({cost.moved_interval[0]:.2f} to {cost.moved_interval[1]:.2f})",
    ]
    if cost.score is not None and cost.score_interval is not None:
        cells.append(percent(cost.score, cost.score_interval))
    return cells


def percent(value: float, interval: tuple[float, float]) -> str:
    """In percent with its interval."""
    return f"{100 * value:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def command(tuned: Tuned, output: Path) -> str:
    """How to run the choice."""
    native = " --native-length" * tuned.chosen.native_length
    return (
        f"fastast classify RECORDINGS --model {output} --dtype {tuned.chosen.dtype}{native} --batch-size "
        f"{tuned.batch_size}"
    )
