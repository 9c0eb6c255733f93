"""`fastast card`: the card of a checkpoint, or of one to come."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add `card` to the commands."""
    card = commands.add_parser(
        "card",
        help="write a checkpoint's model card from its results files",
        description="Write README.md into a checkpoint's folder, from its config, its training's results.json and the "
        "results/*.json of fastast evaluate. Your own sections and fields in an existing card stay.",
    )
    card.add_argument("folder", type=Path, metavar="FOLDER", help="the checkpoint")
    card.add_argument("--repo-id", metavar="USER/NAME", help="its name on the Hub, for the lines of code in the card")
    card.add_argument("--license", metavar="ID", help="such as cc-by-4.0, as the Hub names it (default: the card's)")
    card.add_argument(
        "--recipe", metavar="NAME", help="write the card of the model that this recipe trains (needs --repo-id)"
    )
    card.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card, and say where it is."""
    from ..hub.card import write_card, write_recipe_card
    from ..hub.merge import data_of

    if args.recipe is None:
        path = write_card(args.folder, args.repo_id, args.license)
        print(path)
        if data_of(path.read_text(encoding="utf-8")).license is None:
            logger.warning("the card names no license, so nobody may use the model: add --license, such as cc-by-4.0")
    elif args.repo_id is None:
        raise ValueError("--recipe writes the card of a model to come: give its name with --repo-id USER/NAME")
    else:
        from ..training.recipes import find_recipe, read_recipe

        settings = read_recipe(find_recipe(args.recipe))
        print(write_recipe_card(args.folder, args.recipe, settings, args.repo_id, args.license))
    return 0
