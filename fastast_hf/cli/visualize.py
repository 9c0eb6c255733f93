"""`fastast visualize`: a clip's spectrogram and what was merged in it, as a picture."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from .options import add_merging_options, one_or_list

MOVING = (".gif", ".webp")


def add_parser(commands: Any) -> None:
    """Add `visualize` to the commands."""
    parser = commands.add_parser(
        "visualize",
        help="draw which parts of a clip's spectrogram were merged",
        description="Draw the spectrogram of a recording with its labels, and the patches after some layers. Patches "
        "of one colour were merged into one token. A long recording is cut to the model's input. A .gif or .webp "
        "moves from layer to layer. Needs matplotlib.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the recording")
    parser.add_argument("--model", metavar="ID", help="checkpoint: folder or Hub id (default: the bundled checkpoint)")
    add_merging_options(parser)
    parser.add_argument(
        "--layers",
        type=int,
        nargs="+",
        metavar="N",
        help="layers to draw, from 1 (default: three; in a moving picture all)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PICTURE",
        help="picture to write: .png, .pdf or .svg, or .gif or .webp to see one layer after the other",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw and save."""
    from ..demo.animation import animate_merges
    from ..demo.visualization import merge_clip, plot_merges, tagger_that_merges
    from ..loading.places import check_output

    if args.output.suffix not in (".png", ".pdf", ".svg", *MOVING):
        raise ValueError(f"--output is {args.output}: give a name that ends in .png, .pdf, .svg, .gif or .webp")
    check_output(args.output)
    if args.file.is_dir():
        raise ValueError(f"{args.file} is a folder: give one audio file in it")
    tagger = tagger_that_merges(args.model, tome_r=one_or_list(args.r), tome_schedule=args.schedule)
    depth = tagger.model.config.num_hidden_layers
    if args.layers and not all(1 <= layer <= depth for layer in args.layers):
        raise ValueError(f"--layers is {' '.join(map(str, args.layers))}: the model has layers 1 to {depth}")
    moves = args.output.suffix in MOVING
    all_layers = range(depth) if moves else None
    layers = all_layers if args.layers is None else [layer - 1 for layer in args.layers]
    clip = merge_clip(tagger, args.file, layers=layers)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a file's name: a box stands for it
        if moves:
            animate_merges(clip, args.output, args.file.name)
        else:
            plot_merges(clip, args.file.name).savefig(args.output)
    print(args.output)
    return 0
