"""`fastast schedule`: tokens and MACs of each layer for an r, or the r for a wanted speed-up, without any weights."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .options import add_merging_options, one_or_list
from .tables import format_table

if TYPE_CHECKING:
    from ..merging.complexity import Complexity
    from ..model.configuration_fastast import FastASTConfig

DEFAULT_MODEL, DEFAULT_LABELS = "MIT/ast-finetuned-audioset-10-10-0.4593", 527


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `schedule` to the parser of `fastast`."""
    parser = subparsers.add_parser(
        "schedule",
        help="show what each layer costs at an r, or find the r for a speed-up",
        description="Show tokens and multiply-accumulates (MACs) of each layer for one clip. Weights are not read.",
    )
    parser.add_argument("--model", metavar="ID", help=f"checkpoint: folder or Hub id (default: {DEFAULT_MODEL})")
    amount = parser.add_mutually_exclusive_group()
    add_merging_options(parser, amount, nargs="+")
    amount.add_argument(
        "--speedup", type=float, metavar="X", help="find the smallest r that takes 1/X of stock AST's MACs"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, metavar="S", help="length of the clip in seconds")
    length.add_argument(
        "--frames", type=int, metavar="N", help="length of the clip in frames of 10 ms (default: the model's)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, or the JSON object."""
    from transformers import ASTConfig

    from ..merging.complexity import clip_frames, complexity, solve_tome_r
    from ..model.configuration_fastast import FastASTConfig

    if args.model is None:
        config = FastASTConfig.from_ast(ASTConfig(num_labels=DEFAULT_LABELS))
    else:
        config = FastASTConfig.from_pretrained(args.model)
    if args.schedule is not None:
        config.tome_schedule = args.schedule
    num_frames = clip_frames(config, args.frames, args.seconds)
    if args.speedup is not None:
        config.tome_r = solve_tome_r(config, args.speedup, num_frames=num_frames)
    elif args.r is not None:
        config.tome_r = one_or_list(args.r)
    cost = complexity(config, num_frames=num_frames)

    if args.json:
        print(json.dumps(_report(args, config, num_frames, cost), indent=2))
    else:
        print(_text(args, config, num_frames, cost))
    return 0


def _report(args: argparse.Namespace, config: FastASTConfig, num_frames: int, cost: Complexity) -> dict[str, Any]:
    """All there is to know, for JSON."""
    layers = [
        {**asdict(layer), "macs": layer.macs, "tokens_asked": asked}
        for layer, asked in zip(cost.layers, config.merges_per_layer(), strict=True)
    ]
    return {
        "model": args.model,
        "tome_r": config.tome_r,
        "tome_schedule": config.tome_schedule,
        "speedup_asked": args.speedup,
        "seconds": args.seconds,
        "num_frames": num_frames,
        **asdict(cost),
        "layers": layers,
        "macs": cost.macs,
        "matching_macs": _matching_macs(cost),
        "speedup": cost.speedup,
        "capped_layers": _capped_layers(config, cost),
    }


def _text(args: argparse.Namespace, config: FastASTConfig, num_frames: int, cost: Complexity) -> str:
    """A heading, the table, and what it comes to."""
    model = f"AST-base (as {DEFAULT_MODEL})" if args.model is None else args.model
    clip = f"{num_frames} frames"
    if args.seconds is not None:
        clip = f"{args.seconds:g} s of audio at 16 kHz ({clip}, no padding)"
    spread = "per layer" if isinstance(config.tome_r, list) else f"{config.tome_schedule} schedule"
    tokens_in, tokens_out = cost.layers[0].tokens_in, cost.tokens_out
    lines = [
        f"{model}, {clip}, r = {config.tome_r} ({spread})",
        "",
        _table(cost),
        "",
        f"{cost.macs / 1e9:.4g} GMACs, where stock AST takes {cost.stock_macs / 1e9:.4g}: at most {cost.speedup:.2f} "
        f"times as fast. {tokens_out} of {tokens_in} tokens are left at the end.",
    ]
    if _matching_macs(cost):
        lines.append("Matching, the choice of tokens to merge, comes on top of the GMACs.")
    if args.speedup is not None:
        lines.append(f"r = {config.tome_r} is the smallest that reaches the {args.speedup:g} asked for.")
    capped = _capped_layers(config, cost)
    if capped:
        lines.append(
            f"The 50 % cap bites in {len(capped)} of {len(cost.layers)} layers, from layer {capped[0]} on: a layer "
            "merges at most half of its patch tokens, fewer than r asks for there."
        )
    return "\n".join(lines)


def _table(cost: Complexity) -> str:
    # Every layer of stock AST has all tokens, and so the same cost.
    stock_layer = (cost.stock_macs - cost.patch_macs - cost.head_macs) // len(cost.layers)
    # Four digits of it, so that small models do not come out as zeros.
    decimals = max(3, 3 - math.floor(math.log10(stock_layer / 1e9)))

    def row(name: str, tokens_in: str, merged: str, macs: int, share: float, matching: str) -> list[str]:
        return [name, tokens_in, merged, f"{macs / 1e9:.{decimals}f}", f"{100 * share:.0f} %", matching]

    rows = [row("patches", "", "", cost.patch_macs, 1, "")]
    for layer in cost.layers:
        matching = f"{layer.matching_macs / 1e9:.{decimals}f}"
        share = layer.macs / stock_layer
        rows.append(row(f"{layer.index}", f"{layer.tokens_in}", f"{layer.tokens_merged}", layer.macs, share, matching))
    rows.append(row("head", "", "", cost.head_macs, 1, ""))
    merged = sum(layer.tokens_merged for layer in cost.layers)
    matching = f"{_matching_macs(cost) / 1e9:.{decimals}f}"
    rows.append(row("total", "", f"{merged}", cost.macs, 1 / cost.speedup, matching))
    return format_table(["layer", "tokens in", "merged", "GMACs", "of stock", "+ matching"], rows, align="rrrrrr")


def _matching_macs(cost: Complexity) -> int:
    return sum(layer.matching_macs for layer in cost.layers)


def _capped_layers(config: FastASTConfig, cost: Complexity) -> list[int]:
    """The layers that merge fewer tokens than they are asked to."""
    asked = config.merges_per_layer()
    return [layer.index for layer in cost.layers if layer.tokens_merged < asked[layer.index]]
