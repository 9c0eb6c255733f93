"""`fastast push`: a checkpoint to the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add `push` to the commands."""
    push = commands.add_parser(
        "push",
        help="upload a checkpoint to the Hub: weights, code, card, endpoint handler",
        description="Upload a checkpoint's folder in one commit. Files that are already there are not uploaded again, "
        "and an interrupted push can be run again. Log in first: hf auth login.",
    )
    push.add_argument("folder", type=Path, metavar="FOLDER", help="the checkpoint")
    push.add_argument("repo_id", metavar="USER/NAME", help="the repository; it is created if there is none")
    push.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    push.add_argument("--space", action="store_true", help="also push the demo, to a Space of the same name")
    push.add_argument(
        "--plain",
        action="store_true",
        help="also push the weights as a stock AST, to USER/NAME-ast",
    )
    push.add_argument("--only-model", action="store_true", help="leave out files that do not belong to a checkpoint")
    push.add_argument(
        "--license", metavar="ID", help="license as the Hub names it, such as cc-by-4.0 (default: the card's)"
    )
    push.add_argument("--revision", metavar="BRANCH", help="branch to push to (default: main)")
    push.add_argument("--message", metavar="TEXT", help="commit message (default: Upload FastAST or teacher)")
    push.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
