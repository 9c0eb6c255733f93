"""`fastast push`: a checkpoint to the Hub, and `fastast card`: its card alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `push` and `card` to the commands."""
    push = commands.add_parser(
        "push",
        help="upload a checkpoint to the Hub: weights, code, card, endpoint handler",
        description="Upload a checkpoint's folder in one commit. What was uploaded before is not uploaded again; a "
        "push that was interrupted can be run again. Log in first: hf auth login.",
    )
    push.add_argument("folder", type=Path, metavar="DIR", help="the checkpoint")
    push.add_argument("repo_id", metavar="USER/NAME", help="the repository; made where there is none")
    push.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    push.add_argument("--space", action="store_true", help="push the demo to the Space of the same name, too")
    push.add_argument(
        "--plain", action="store_true", help="push the same weights as stock AST to USER/NAME-ast, too, for the widget"
    )
    push.add_argument("--only-model", action="store_true", help="leave out files that are no part of a checkpoint")
    push.add_argument("--license", metavar="ID", help="as the Hub names it, such as cc-by-4.0 (default: the card's)")
    push.add_argument("--revision", metavar="BRANCH", help="branch to push to (default: main)")
    push.add_argument("--message", default="Upload FastAST", metavar="TEXT", help="of the commit")
    push.set_defaults(run=run_push)
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
    card.set_defaults(run=run_card)


def run_push(args: argparse.Namespace) -> int:
    """Push, and say where it is."""
    from ..hub.publish import push

    made = push(
        args.folder,
        args.repo_id,
        private=args.private,
        space=args.space,
        plain=args.plain,
        only_model=args.only_model,
        license_id=args.license,
        revision=args.revision,
        commit_message=args.message,
    )
    url = str(made.repo_url)
    print(url)
    if args.plain:
        print(f"{url}-ast")
    if args.space:
        print(url.replace(args.repo_id, f"spaces/{args.repo_id}"))
    return 0


def run_card(args: argparse.Namespace) -> int:
    """Write the card, and say where it is."""
    from ..hub.model_card import write_card

    if args.recipe is None:
        print(write_card(args.folder, args.repo_id, args.license))
    elif args.repo_id is None:
        raise ValueError("--recipe makes the card of a checkpoint to come: give it a name with --repo-id USER/NAME")
    else:
        from ..hub.recipe_card import write_recipe_card

        print(write_recipe_card(args.folder, args.recipe, args.repo_id))
    return 0
