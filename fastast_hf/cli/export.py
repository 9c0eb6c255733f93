"""`fastast export onnx|int8`: a checkpoint to one file for ONNX Runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_merging_options, one_or_list


def add_parser(commands: Any) -> None:
    """Add `export` to the commands."""
    export = commands.add_parser(
        "export",
        help="write a model for ONNX Runtime: one file, float32 or int8",
        description="Write a model as one ONNX file that `fastast classify --model` and Tagger read. It holds labels "
        "and the front end's settings, and fixes how much is merged and how long clips are.",
    )
    export.add_argument(
        "format", choices=("onnx", "int8"), help="onnx: float32; int8: 8-bit integers, a quarter of the size"
    )
    export.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="AST or FastAST checkpoint: folder or Hub id",
    )
    export.add_argument("--model", metavar="MODEL", help="the same, as the other commands take it")
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write or replace (default: model.onnx or model-int8.onnx)",
    )
    add_merging_options(export, nargs="+")
    export.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="length of the clips in frames of 10 ms (default: the checkpoint's)",
    )
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and say what was made."""
    from ..loading.places import check_output
    from ..onnx.export import export_onnx

    if args.model is None:
        raise ValueError("no model to export: give MODEL, an AST or FastAST checkpoint (folder or Hub id)")
    int8 = args.format == "int8"
    path = args.output or Path("model-int8.onnx" if int8 else "model.onnx")
    check_output(path)
    r = one_or_list(args.r)
    model = export_onnx(args.model, path, tome_r=r, tome_schedule=args.schedule, num_frames=args.frames, int8=int8)
    tokens = model.token_schedule()
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, {model.config.max_length} frames, tome_r={model.config.tome_r}: "
        f"{tokens[0]} tokens enter the first layer, {tokens[-1]} the last"
    )
    return 0
