"""`fastast convert`: a file that AST's or SSAST's authors released to a checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `convert` to the commands."""
    parser = commands.add_parser(
        "convert",
        help="make a checkpoint of a .pth file of AST's or SSAST's authors",
        description="Make a checkpoint of a .pth file of YuanGongND/ast or YuanGongND/ssast. Only tensors are read. "
        "The file tells neither labels nor the front end's statistics. Strides and length follow from its number of "
        "patches.",
    )
    parser.add_argument("file", help="what the authors' code saved, of any number of labels")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to make")
    labels = "class_labels_indices.csv of the data it was trained on (default: LABEL_0, LABEL_1 …)"
    parser.add_argument("--label-file", type=Path, metavar="CSV", help=labels)
    stride = "frames from one patch to the next, or two numbers, frequency and time (default: found)"
    parser.add_argument("--stride", type=int, nargs="+", metavar="N", help=stride)
    parser.add_argument("--frames", type=int, metavar="N", help="clip length in frames of 10 ms (default: found)")
    parser.add_argument("--mean", type=float, help="of the log-mel values it was trained on (default: AudioSet's)")
    parser.add_argument("--std", type=float, help="their standard deviation (default: AudioSet's)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was made, left out and taken for granted."""
    if len(args.stride or [1]) > 2 or min(args.stride or [1]) < 1:
        raise ValueError(f"--stride is {' '.join(map(str, args.stride))}: give one or two numbers of 1 or more")
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise ValueError(f"{args.output} exists: give a new folder")
    from ..model.feature_extraction_fastast import FastASTFeatureExtractor
    from ..training.start.original import fastast_from_original

    labels = None
    if args.label_file is not None:
        from ..corpora.audioset import read_labels

        labels = read_labels(args.label_file)[0]
    stride = args.stride * 2 if args.stride and len(args.stride) == 1 else args.stride
    model, left_out = fastast_from_original(args.file, labels, stride, args.frames)
    config, statistics = model.config, {name: getattr(args, name) for name in ("mean", "std")}
    extractor = FastASTFeatureExtractor(
        max_length=config.max_length,
        num_mel_bins=config.num_mel_bins,
        **{name: value for name, value in statistics.items() if value is not None},
    )
    model.save_pretrained(args.output)
    extractor.save_pretrained(args.output)
    classifies = hasattr(model, "classifier")
    if None in statistics.values():
        note(f"the front end has AudioSet's mean {extractor.mean:.4f} and std {extractor.std:.4f}, where not given")
    if classifies and labels is None:
        note("the labels are LABEL_0, LABEL_1 …: give their names by --label-file")
    if not classifies:
        note("the file has no head: the folder is an encoder, to train from")
    print(
        f"{args.output}: {config.num_hidden_layers} layers of {config.hidden_size}, "
        + (f"{config.num_labels} labels, " if classifies else "no labels, ")
        + f"strides {config.frequency_stride} and {config.time_stride}, {config.max_length} frames; {len(left_out)} "
        "weights of other heads left out"
    )
    return 0


def note(text: str) -> None:
    """Say on stderr what the file did not tell."""
    print(f"fastast convert: {text}", file=sys.stderr)
