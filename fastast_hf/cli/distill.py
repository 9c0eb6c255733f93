"""`fastast distill`: launches training/run_kd.py through accelerate."""

from __future__ import annotations

import argparse
from typing import Any

from .train import launch


def add_parser(commands: Any) -> None:
    """Add `distill` to the commands."""
    parser = commands.add_parser(
        "distill",
        add_help=False,
        help="train a FastAST on a corpus with a teacher of another family (--help: all settings)",
    )
    parser.set_defaults(run=run, takes_the_rest=True)


def run(args: argparse.Namespace) -> int:
    """Launch the script; its exit code."""
    return launch("run_kd.py", args.rest)
