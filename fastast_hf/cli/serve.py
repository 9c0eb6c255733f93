"""`fastast serve`: labels over HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .classify import add_tagger_options
from .options import one_or_list


def add_parser(commands: Any) -> None:
    """Add `serve` to the commands."""
    parser = commands.add_parser(
        "serve",
        help="answer HTTP requests with labels",
        description="Answer HTTP requests with labels, vectors and timelines of sounds, until Ctrl-C or SIGTERM.",
    )
    add_tagger_options(parser)
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="windows at once (default: 8)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, for this machine alone)"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default: 8000; 0 for a free one")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes, each with a model, on a GPU each (default: 1)"
    )
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="answer those alone who send a key of this file, one a line"
    )
    parser.add_argument(
        "--queue", type=int, default=128, metavar="N", help="requests at once; more get 503 (default: 128)"
    )
    parser.add_argument(
        "--max-bytes", type=int, default=2**25, metavar="N", help="of a request (default: 33554432, 32 MiB)"
    )
    parser.add_argument("--max-seconds", type=float, default=600, metavar="S", help="of a recording (default: 600)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        metavar="S",
        help="seconds for a request to arrive, and then to be answered (default: 60)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    for name in ("workers", "queue", "max_bytes", "max_seconds", "timeout"):
        if not getattr(args, name) >= 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name):g}: give 1 or more")
    if not 0 <= args.port < 65536:
        raise ValueError(f"--port is {args.port}: give one from 0 to 65535")
    from ..serving.running import serve
    from ..serving.service import Limits

    names = ("model", "preset", "dtype", "device", "native_length", "batch_size", "speedup")
    model = {name: getattr(args, name) for name in names}
    merging = {"tome_r": one_or_list(args.r) if args.speedup is None else 0, "tome_schedule": args.schedule}
    limits = Limits(args.queue, args.max_bytes, args.max_seconds, args.timeout)
    serve({**model, **merging}, limits, args.host, args.port, args.api_key_file, args.workers)
    return 0
