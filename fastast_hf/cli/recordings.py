"""What commands share that take recordings: the files, the tagger, and what is told of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..loading.bundled import short_name_of
from .options import one_or_list

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger


def make_tagger(args: argparse.Namespace) -> Tagger:
    """With the model and merging that the arguments ask for."""
    from ..tagging.tagger import Tagger

    tagger = Tagger(
        args.model,
        tome_r=one_or_list(args.r) if args.speedup is None else 0,
        tome_schedule=args.schedule,
        top_k=args.top_k,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        native_length=args.native_length,
        preset=args.preset,
        activation=args.activation,
        threshold=args.threshold,
        pool=args.pool,
    )
    if args.speedup is not None:
        from ..merging.complexity import solve_tome_r

        frames = tagger.feature_extractor.max_length
        tagger.model.set_tome_r(solve_tome_r(tagger.model.config, args.speedup, num_frames=frames))
    return tagger


def sources_of(files: Sequence[Any]) -> list[Any]:
    """What a tagger takes; a path `-` is a sound on stdin."""
    return [{"bytes": sys.stdin.buffer, "path": "-"} if str(file) in ("-", "/dev/stdin") else file for file in files]


def list_files(paths: list[str], command: str = "classify") -> tuple[list[Path], int]:
    """The audio files in `paths`, and how many folders can't be listed; these and what is left out are reported."""
    from ..audio import find_audio

    found = find_audio([file for path in paths for file in matching(path)])
    for line in (*found.errors, found.describe_left_out()):
        if line:
            print(f"fastast {command}: {line}", file=sys.stderr)
    return found.files, len(found.errors)


def matching(path: str) -> list[str]:
    """The files of a pattern that the shell has left as it was; the path itself where it is one."""
    return [path] if os.path.lexists(path) else sorted(glob(path, recursive=True)) or [path]  # noqa: PTH207 - Path has none of absolute ones


def print_errors(results: list[Any], command: str = "classify") -> int:
    """Report each recording that could not be used, a line each; how many there were."""
    errors = [error for error in map(error_of, results) if error]
    for error in errors:
        print(f"fastast {command}: {error}", file=sys.stderr)
    return len(errors)


def error_of(result: Any) -> str:
    """Why a recording could not be used, or not to its end; empty if it could."""
    if isinstance(result, Exception):
        return str(result)
    return str(result.get("error", "")) if isinstance(result, dict) else ""


def count(labelled: int, failed: int, before: int = 0, done: str = "labelled", without: int = 0) -> str:
    """How many files were labelled (or what `done` says), now or by an earlier run, and how many could not be.

    `without` of the labelled ones have no score that reaches the threshold.

    Example:
        >>> count(3, 2, without=1)
        '3 labelled, 1 of them without a label, 2 failed'
    """
    return (
        f"{labelled} {done}"
        + (f", {before} of them before" if before else "")
        + (f", {without} of them without a label" if without else "")
        + (f", {failed} failed" if failed else "")
    )


def describe_merging(tagger: Tagger, labelled: int) -> str:
    """How much the model merged, and what a bundled one knows; nothing where nothing was labelled."""
    if not labelled:
        return ""
    merges, config = tagger.merges(), tagger.model.config
    tokens = tagger.model.token_schedule(tagger.feature_extractor.max_length, merges)
    of_longest = " (of clips that fill the model's input)" if tagger.native_length else ""
    by_preset = merges != config.merges_per_layer()
    r = f"tome_r={merges} by the preset" if by_preset else f"tome_r={config.tome_r}"
    dtype = "" if tagger.dtype_name == "float32" else f", in {tagger.dtype_name}"
    known = short_name_of(config.name_or_path)
    by = f"; {known} knows {config.num_labels} labels" if known else ""
    return f"; {r}: {tokens[0]} tokens enter the first layer, {tokens[-1]} the last{of_longest}{dtype}{by}"
