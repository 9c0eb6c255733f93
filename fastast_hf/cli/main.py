"""`fastast COMMAND …`: finds the command, and turns a user's mistake into one line and exit code 2."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from ..errors import OneLineParser, log_in_lines, what_to_do
from ..loading.bundled import bundled
from ..loading.progress import only_downloads_shown
from . import (
    benchmark,
    card,
    classify,
    convert,
    demo,
    distill,
    embed,
    evaluate,
    export,
    listen,
    models,
    push,
    schedule,
    serve,
    stats,
    train,
    tune,
    visualize,
)

COMMANDS = (
    classify,
    listen,
    models,
    embed,
    schedule,
    benchmark,
    tune,
    export,
    convert,
    train,
    distill,
    evaluate,
    stats,
    visualize,
    card,
    push,
    serve,
    demo,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `fastast` with all its commands."""
    parser = OneLineParser(
        prog="fastast",
        description="Audio Spectrogram Transformers, made faster by merging similar tokens.",
        epilog="For completion by the Tab key, pip install argcomplete, and add this to your ~/.bashrc or ~/.zshrc:\n"
        '  eval "$(register-python-argcomplete fastast)"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the versions of fastast and torch")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    for each in commands.choices.values():
        each.set_defaults(parser=each)
        if not each.get_default("takes_the_rest"):  # training has a --debug of transformers'
            each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


class _Version(argparse.Action):
    """Print versions, which takes a moment to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from importlib.metadata import version

        names = ("transformers", "torch")
        print(f"fastast {version('fastast-hf')} ({', '.join(f'{name} {version(name)}' for name in names)})")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default the program's own arguments) names; returns the exit code."""
    replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # whatever letters its encoding lacks
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        from argcomplete import autocomplete

        autocomplete(parser)
    args, rest = parser.parse_known_args(argv)
    if rest and not getattr(args, "takes_the_rest", False):
        args.parser.refuse(rest)
    if args.command is None:
        parser.print_help()
        return 0
    args.rest = rest
    if getattr(args, "model", None):
        args.model = str(bundled(args.model))
    try:
        keep_streams_clean()
        log_in_lines(f"fastast {args.command}")
        code = args.run(args)
        sys.stdout.flush()  # while a reader that has gone can still be told from an error
        return code
    except BrokenPipeError:
        # The reader of our output (head, say) has gone: not an error. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError, StrictDataclassError, MemoryError) as error:
        # What a user can mend arrives as one of these, with a message that says how.
        if args.debug:
            raise
        print(f"fastast {args.command}: {with_option(what_to_do(error), args.parser.names())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fastast {args.command}: stopped", file=sys.stderr)
        return 130


def with_option(message: str, options: Sequence[str]) -> str:
    """The message about a setting as that about its option.

    Example:
        >>> with_option("tome_r is -1: give 0 or more", ["r", "top-k"])
        '--r is -1: give 0 or more'
    """
    name, space, rest = message.partition(" ")
    option = name.removeprefix("tome_").replace("_", "-")
    return f"--{option}{space}{rest}" if option in options else message


def replace_closed_streams() -> None:
    """Print into nothing where the caller has closed stdout or stderr (`>&-`), for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It takes their number, too, which the next file to be opened would get, with all that libraries print.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", errors="replace"))


def keep_streams_clean() -> None:
    """Results alone on stdout; errors, and a terminal's downloads, on stderr."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # which tells of each try to reach the Hub
    only_downloads_shown()


if __name__ == "__main__":
    sys.exit(main())
