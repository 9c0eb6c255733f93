"""`fastast stats`: a corpus' mean and standard deviation, for the front end's configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import counted
from .options import add_corpus_options, corpus_arguments

CHECKPOINTS = ("config.json", "preprocessor_config.json")


def add_parser(commands: Any) -> None:
    """Add `stats` to the commands."""
    parser = commands.add_parser(
        "stats",
        help="measure a corpus' mean and standard deviation",
        description="Measure mean and standard deviation of a corpus' log-mel values, which the front end needs.",
    )
    add_corpus_options(parser)
    parser.add_argument("--split", default="train", metavar="TEXT", help="train, validation or test (default: train)")
    parser.add_argument("--frames", type=int, metavar="N", help="measure only the first N frames of each clip")
    parser.add_argument(
        "--output",
        "--write",
        type=Path,
        metavar="FOLDER",
        help="write them into preprocessor_config.json of this checkpoint",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write where asked to."""
    from ..corpora.statistics import corpus_statistics
    from ..model.feature_extraction_fastast import FastASTFeatureExtractor

    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output is {args.output}: give the folder that preprocessor_config.json is in")
    if args.output is not None and not any((args.output / name).is_file() for name in CHECKPOINTS):
        raise ValueError(
            f"{args.output} holds no checkpoint ({' or '.join(CHECKPOINTS)}): give the folder of one, or leave out "
            "--output and give the numbers to fastast train as --mean and --std"
        )
    settings = corpus_arguments(args)
    # Statistics are of the training clips, whatever the fold: ESC-50's are measured on all of them.
    fold = int(args.fold) if args.fold and args.fold != "all" else None
    known = args.output is not None and (args.output / "config.json").is_file()
    corpus = settings.load(fold, str(args.output) if known else None)
    if args.split not in corpus:
        raise ValueError(f"there is no split {args.split!r} in this corpus: give one of {', '.join(corpus)}")
    extractor = FastASTFeatureExtractor()
    if args.output is not None and (args.output / "preprocessor_config.json").is_file():
        extractor = FastASTFeatureExtractor.from_pretrained(args.output)
    measured = corpus_statistics(corpus[args.split], extractor.sampling_rate, extractor.num_mel_bins, args.frames)
    left_out = f", {measured.unreadable} unreadable left out" if measured.unreadable else ""
    missing = f", {corpus.missing[args.split]} missing" if corpus.missing.get(args.split) else ""
    print(f"mean {measured.mean:.6f}, std {measured.std:.6f} ({counted(measured.clips, 'clip')}{left_out}{missing})")
    if args.output is not None:
        extractor.mean, extractor.std = measured.mean, measured.std
        if args.frames is not None:
            extractor.max_length = args.frames
        extractor.save_pretrained(args.output)
        print(f"written to {args.output / 'preprocessor_config.json'}")
    return 0
