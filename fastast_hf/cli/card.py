"""`fastast card`: the card of a checkpoint, or of one to come."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `card` to the commands."""
    card = commands.add_parser(
        "card",
        help="write a checkpoint's model card from its results files",
        description="Write README.md into a checkpoint's folder, from its config, results.json of its training and "
        "results/*.json of fastast evaluate. What a person has written into the card stays.",
    )
    card.add_argument("folder", type=Path, metavar="DIR", help="the checkpoint")
    card.add_argument("--repo-id", metavar="USER/NAME", help="where it will be, for the lines that load it")
    card.add_argument("--license", metavar="ID", help="as the Hub names it, such as cc-by-4.0 (default: the card's)")
    card.add_argument(
        "--recipe", metavar="NAME", help="write the card of what this recipe would train into DIR (needs --repo-id)"
    )
    card.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card, and say where it is."""
    from ..hub.model_card import write_card

    if args.recipe is None:
        print(write_card(args.folder, args.repo_id, args.license))
    elif args.repo_id is None:
        raise ValueError("--recipe makes the card of a checkpoint to come: give it a name with --repo-id USER/NAME")
    else:
        from ..hub.recipe_card import write_recipe_card

        print(write_recipe_card(args.folder, args.recipe, args.repo_id, args.license))
    return 0
