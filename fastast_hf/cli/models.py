"""`fastast models`: the checkpoints that come with the package."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..loading.bundled import BUNDLED, DEFAULT
from .tables import format_table


def add_parser(commands: Any) -> None:
    """Add `models` to the commands."""
    parser = commands.add_parser(
        "models",
        help="list the checkpoints that come with the package",
        description="List the checkpoints that come with the package. Their names are for --model; a command without "
        "--model takes the default. --labels prints what one of them tells apart.",
    )
    parser.add_argument("--labels", choices=tuple(BUNDLED), metavar="NAME", help="print one's labels, a line each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, or labels."""
    if args.labels:
        print(*config_of(args.labels)["id2label"].values(), sep="\n")
        return 0
    rows = []
    for name, folder in BUNDLED.items():
        from huggingface_hub import ModelCard

        from ..model.feature_extraction_fastast import FastASTFeatureExtractor

        config, card = config_of(name), ModelCard.load(folder / "README.md").data
        extractor = FastASTFeatureExtractor.from_pretrained(folder)
        rate = extractor.sampling_rate
        seconds = f"{extractor.samples_of(extractor.max_length) / rate:g} s"
        size = (folder / "model.safetensors").stat().st_size / 1e6
        labels = [*config["id2label"].values()]
        some = ", ".join(labels[:3]) + ", …"
        default = " (default)" if name == DEFAULT else ""
        rows.append(
            [name + default, f"{len(labels)}: {some}", f"{size:.1f} MB", seconds, str(config["tome_r"]), card.license]
        )
    print(format_table(["model", "labels", "size", "input", "r", "licence"], rows, align="llrrrl"))
    return 0


def config_of(name: str) -> dict[str, Any]:
    """A bundled checkpoint's config.json."""
    return dict(json.loads((BUNDLED[name] / "config.json").read_text(encoding="utf-8")))
