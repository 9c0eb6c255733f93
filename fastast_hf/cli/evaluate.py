"""`fastast evaluate`: a corpus' score at each r, with intervals and throughput: the paper's Tables 1 and 2."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import DTYPES, PRESETS, add_corpus_options, corpus_arguments
from .tables import format_table

OWN = ("csv", "audiofolder", "datasets")  # corpora that are whatever --data holds

if TYPE_CHECKING:
    from ..evaluation.sweep import Method


def add_parser(commands: Any) -> None:
    """Add `evaluate` to the commands."""
    parser = commands.add_parser(
        "evaluate",
        help="score checkpoints on a corpus at several r",
        description="Score a checkpoint at several r: accuracy or mAP with 95 % intervals, tokens, MACs and clips per "
        "second (the paper's Table 1). --trained scores checkpoints that were trained at each r. --compare compares "
        "checkpoints, such as with and without a teacher (Table 2). Scores are kept in --output: run the command "
        "again to resume.",
    )
    add_corpus_options(parser)
    parser.add_argument(
        "--model",
        metavar="ID",
        help="a checkpoint, scored at each r; a folder of fold-1 … fold-5; or a file of fastast export",
    )
    parser.add_argument("--trained", metavar="ID", help="checkpoints trained at each r: a name with {r} in it")
    parser.add_argument("--random-r", metavar="ID", help="a checkpoint trained with random r, scored at each r")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="NAME=ID",
        help="checkpoints to compare with the first, such as FastAST=plain 'FastAST + KD=distilled'; "
        "{r} and {schedule} in an ID are filled in",
    )
    parser.add_argument(
        "--r",
        type=int,
        nargs="+",
        metavar="N",
        help="tokens to merge in each layer (default: 0 and the checkpoint's own, or the preset's; with {r} in a "
        "checkpoint, 0 5 … 40)",
    )
    parser.add_argument(
        "--trained-r", type=int, nargs="+", metavar="N", help="the r that --trained has checkpoints for (default: --r)"
    )
    parser.add_argument(
        "--schedule",
        nargs="+",
        default=["constant"],
        choices=("constant", "decreasing", "increasing"),
        help="how to spread r over the layers; several are scored in turn (default: constant)",
    )
    parser.add_argument("--title", metavar="TEXT", help="name of the corpus in tables and pictures (default: its own)")
    parser.add_argument(
        "--split",
        metavar="TEXT",
        help="train, validation, test, or all (default: test; all of a folder that has no splits, unless --model was "
        "trained on it)",
    )
    parser.add_argument(
        "--pool",
        choices=("mean", "max", "top3"),
        help="score of a long recording: mean, max or top3 of its windows' (default: the checkpoint's, or mean)",
    )
    parser.add_argument("--preset", choices=PRESETS, default="exact", help="as of fastast classify (default: exact)")
    parser.add_argument("--dtype", choices=DTYPES, help="instead of the preset's (int8: on a CPU)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="clips at once (default: 16)")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda … (default: a GPU where there is one)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads that read clips (default: one for each core)"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write a page for each row of the table: classes, confusions, calibration, and wrong clips to hear",
    )
    parser.add_argument(
        "--tune-thresholds",
        action="store_true",
        help="where clips have any number of labels: write each label's threshold with the best F1 on the validation "
        "split, or on --split, into the config.json of --model, for classify --threshold auto",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of timing, 0 for none (default: 5)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder for results; run again to resume",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, time, print and write."""
    import torch

    from ..benchmarking.circumstances import processor_name
    from ..evaluation.checks import check_checkpoints, check_classes, check_r_can_be_set, default_r
    from ..evaluation.paper import R_VALUES
    from ..evaluation.results import can_be_timed, with_speed, write_results
    from ..evaluation.rows import comparison_rows, merging_rows
    from ..evaluation.sweep import Sweep
    from ..evaluation.tables import explanation, score_tables, what_was_scored
    from ..loading.checkpoint import load_classifier
    from ..loading.places import check_output, is_here, short_name
    from ..tagging.score_settings import digest_of

    check_numbers(args)
    planned = compared(args) if args.compare else merging_methods(args)
    settings = corpus_arguments(args)
    args.title = args.title or default_title(args)
    folds = settings.folds("all")
    methods: list[tuple[Method, Any]] = [(method, own or list(R_VALUES)) for method, own in planned]
    known = check_checkpoints(methods, args.schedule, folds, args.split or "test")
    check_output(args.output, "folder")
    args.output.mkdir(parents=True, exist_ok=True)
    if args.r is not None or args.compare:
        check_r_can_be_set(known)
    chosen = default_r([method for method, _ in planned], known, args.preset != "exact" and not args.compare)
    methods = [(method, own or chosen[method.name]) for method, own in planned]
    scored, (first_r, *_) = methods[0]
    first = scored.folder(first_r, args.schedule[0], folds[0])
    corpora = {fold: settings.load(fold, scored.folder(first_r, args.schedule[0], fold)) for fold in folds}
    split = choose_split(args, corpora, methods)
    stem = args.output / name_of_results(args, split)
    data_digest = digest_of(str(args.hub_id or Path(args.data).expanduser().resolve()).encode())
    check_same_data(stem.with_suffix(".json"), data_digest)
    sweep = Sweep(
        corpora,
        methods,
        args.output,
        split=split,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        preset=args.preset,
        workers=args.workers,
        pool=args.pool,
    )
    check_classes(known, sweep.label_names)
    cells = sweep.cells(args.schedule)
    rows = comparison_rows(cells) if args.compare else merging_rows(cells, sweep.multi_label)
    device = torch.device(sweep.circumstances["device"])
    timed = args.rounds and can_be_timed(rows, sweep.circumstances)
    if timed:
        rows = with_speed(rows, load_classifier(first).to(device).eval(), args.batch_size, args.rounds)
    checkpoints = {method.name: method.checkpoint for method, _ in methods}
    checkpoints |= {name: short_name(checkpoints[name]) for name, loaded in known if is_here(loaded)}
    facts = {
        "corpus": args.corpus,
        "data_digest": data_digest,
        "title": args.title,
        "classes": len(sweep.label_names),
        "split": split,
        "missing": sum(corpus.missing.get(split, 0) for corpus in sweep.corpora.values()),
        "folds": [fold for fold in folds if fold is not None],
        "checkpoints": checkpoints,
        "processor": processor_name(device),
        "batch_size": args.batch_size,
        "rounds": args.rounds if timed else 0,
        "level": 0.95,  # of the intervals
        **sweep.circumstances,
    }
    if args.tune_thresholds:
        from ..evaluation.reporting import tune_thresholds

        thresholds = tune_thresholds(cells, first, split)
        facts["thresholds_split"] = split
    write_results(rows, stem, facts)
    for table in score_tables(rows):
        print(format_table(list(table[0]), [list(line.values()) for line in table]), end="\n\n")
    print(what_was_scored(rows, facts), explanation(rows), sep="\n")
    if args.report:
        from ..evaluation.reporting import write_reports

        for page in write_reports(cells, corpora, split, stem, facts):
            print(f"report: {page}")
    if args.tune_thresholds:
        print(
            f"thresholds of {len(thresholds)} labels, tuned on these {rows[0].clips} clips of the split {split}, "
            f"are in {first}/config.json"
        )
    print(f"written to {args.output}")
    return 0


def name_of_results(args: argparse.Namespace, split: str) -> str:
    """The files' name: of what was scored, and in what."""
    from ..onnx.runtime import is_onnx_file

    named = re.sub(r"\W+", "-", args.title.lower()).strip("-") or args.corpus
    one_fold = f"-fold-{args.fold}" if args.fold not in (None, "all") else ""
    exported = "-onnx" * is_onnx_file(args.model)
    computed = f"-{args.preset}" * (args.preset != "exact") + f"-{args.dtype}" * (args.dtype not in (None, "float32"))
    return f"{named}-{split}{one_fold}{exported}{computed}{'-compared' if args.compare else ''}"


def default_title(args: argparse.Namespace) -> str:
    """The corpus' name; of one's own data, that of the data, for two tables are two sets."""
    if args.corpus not in OWN:
        return str(args.corpus)
    if args.hub_id:
        return str(args.hub_id)
    place = Path(args.data).expanduser().resolve()
    return place.name if place.is_dir() else f"{place.parent.name} {place.stem}"


def check_same_data(results: Path, data_digest: str) -> None:
    """Raise a ValueError where results of other data lie that would be overwritten."""
    from ..hub.facts import read_json

    if results.is_file() and read_json(results).get("data_digest", data_digest) != data_digest:
        raise ValueError(f"{results} holds the results of other data: give another --output, or a --title")


def choose_split(
    args: argparse.Namespace, corpora: dict[int | None, Any], methods: list[tuple[Method, list[int | None]]]
) -> str:
    """The split to score, of corpora that then have it; what there is to say of it is printed."""
    from ..evaluation.checks import ALL, split_to_score
    from ..evaluation.sweep import planned
    from ..training.results import clips_trained_on

    if args.split == ALL and len(corpora) > 1:
        raise ValueError("--split is all, and the test clips of all folds are all clips already: leave it out")
    wanted = args.split or ("validation" if args.tune_thresholds else None)
    if not args.split and args.tune_thresholds and any("validation" not in corpus for corpus in corpora.values()):
        raise ValueError(
            "--tune-thresholds: there is no validation split to tune on: name another with --split; scores of clips "
            "that thresholds were tuned on come out too good"
        )
    for fold, corpus in corpora.items():
        heard: dict[str, str] = {}
        for place in {method.folder(r, schedule, fold) for method, schedule, r in planned(methods, args.schedule)}:
            heard |= clips_trained_on(place)
        corpora[fold], split, said = split_to_score(corpus, wanted, heard)
        if said:
            print(said if fold is None else f"Fold {fold}: {said}")
    return split


def check_numbers(args: argparse.Namespace) -> None:
    """Raise a ValueError for numbers that nothing can be scored or timed with."""
    least = {"r": (min(args.r or [0]), 0), "batch-size": (args.batch_size, 1), "rounds": (args.rounds, 0)}
    least |= {"workers": (args.workers or 0, 0), "trained-r": (min(args.trained_r or [0]), 0)}
    for name, (given, wanted) in least.items():
        if given < wanted:
            raise ValueError(f"{name} is {given}: give {wanted} or more")
    if args.title is not None and not re.search(r"\w", args.title):
        raise ValueError(f"--title is {args.title!r}: give a name with a letter or digit, for files are called by it")
    if args.tune_thresholds and (args.compare or args.trained or args.random_r or not args.model):
        raise ValueError("--tune-thresholds is for one checkpoint: give it as --model, and no others")
    if args.compare and args.r and 0 not in args.r:
        raise ValueError("--r has no 0: put it in, for --compare tells each score's change from r = 0")


def merging_methods(args: argparse.Namespace) -> list[tuple[Method, list[int] | None]]:
    """Table 1's methods, each with its r; None for the default."""
    from ..evaluation.rows import INFERENCE, RANDOM, TRAINED
    from ..evaluation.sweep import Method

    methods = [
        (Method(name, checkpoint), r_values)
        for name, checkpoint, r_values in (
            (INFERENCE, args.model, args.r),
            (TRAINED, args.trained, args.trained_r or args.r),
            (RANDOM, args.random_r, args.r),
        )
        if checkpoint
    ]
    if not methods:
        raise ValueError("no checkpoint to score: give --model, --trained, --random-r or --compare")
    if args.trained and "{r}" not in args.trained:
        raise ValueError(f"--trained is {args.trained}: write {{r}} where the r of each checkpoint stands")
    if args.trained and len(args.schedule) > 1 and "{schedule}" not in args.trained:
        raise ValueError(
            f"--trained is {args.trained}, with several schedules: write {{schedule}} where each checkpoint's stands"
        )
    return methods


def compared(args: argparse.Namespace) -> list[tuple[Method, list[int] | None]]:
    """Table 2's methods, each at every r; None for the default."""
    from ..evaluation.sweep import Method

    if args.model or args.trained or args.random_r or args.trained_r:
        raise ValueError(
            "--compare takes all checkpoints itself: leave --model, --trained, --trained-r and --random-r out"
        )
    methods: dict[str, str] = {}
    for pair in args.compare:
        name, equals, checkpoint = pair.partition("=")
        if not (name and equals and checkpoint):
            raise ValueError(f"--compare has {pair!r}: write NAME=ID, such as FastAST=my-checkpoint")
        if name in methods:
            raise ValueError(f"--compare names two checkpoints {name!r}: give each its own name")
        methods[name] = checkpoint
    return [(Method(name, checkpoint), args.r) for name, checkpoint in methods.items()]
